"""Answers a question about a picture, word by word as they come.

example:
  mmjax ask --model runs/world_vqa photo.png "what colour is the star?"
  mmjax ask --model bundle --among yes,no --json photo.jpg "is there a dog?"
"""

import argparse
import json
import sys
from typing import Any

from mmjax.errors import UserError
from mmjax.inference import decoding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax ask` takes."""
    parser.add_argument("file", metavar="FILE", help="a picture")
    parser.add_argument("question", metavar="QUESTION", help="what is asked, in quotes")
    parser.add_argument("--model", required=True, metavar="M", help="a bundle or run folder, hf:... or open_clip:...")
    parser.add_argument("--among", metavar="A,B,C", help="the only answers that may be given, comma-separated")
    decoding.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the answer with log-probabilities of its tokens")


def run(args: argparse.Namespace) -> int:
    """Asks and prints."""
    if not args.question.strip():
        raise UserError("the question is empty: ask something, in quotes")
    among = decoding.listed(args.among)
    from mmjax.start import start_jax

    start_jax()
    import jax

    from mmjax import load
    from mmjax.items import read
    from mmjax.writing import write_one

    model = load(args.model)
    model.check_writes(asked=True)
    how, task = decoding.decoding_of(args, model), model.task
    picture = read(task.image, model.streams[task.image], args.file)
    row = {task.image: picture, task.prompt: model.question(args.question)}
    if args.json or how.beams > 1 or hasattr(task, "choose"):
        (written,) = model.write([row], how, 1, args.seed, among)
        told: dict[str, Any] = {"file": args.file, "question": args.question, **decoding.as_json(written)}
        print(json.dumps(told, indent=2, ensure_ascii=False) if args.json else written.text)
        return 0
    answers = None if among is None else model.choices(among)
    tokenizer = model.streams[task.text].loaded()
    key = jax.random.fold_in(jax.random.key(args.seed), 0)  # as of the first batch
    for piece, _ in write_one(task, model.params, tokenizer, row, how, answers, key):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()
    return 0
