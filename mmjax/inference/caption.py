"""Writes a caption for each picture.

example:
  mmjax caption --model runs/world_caption photos/ 'more/*.jpg'
  mmjax caption --model bundle --beams 3 --json photo.jpg
  mmjax caption --model runs/world_caption --word circle --out circle.png photo.png
"""

import argparse
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from mmjax.errors import UserError
from mmjax.inference import decoding

BATCH = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax caption` takes."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a picture, a folder of pictures, or a pattern")
    parser.add_argument("--model", required=True, metavar="M", help="a bundle or run folder, hf:... or open_clip:...")
    decoding.add_arguments(parser)
    parser.add_argument("--word", metavar="W", help="show where this word of the caption looks, in the picture --out")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE.png", help="the picture that --word makes")
    parser.add_argument("--json", action="store_true", help="print texts with log-probabilities of their tokens")


def run(args: argparse.Namespace) -> int:
    """Writes and prints. Returns 1 if a file could not be read."""
    if (args.word is None) != (args.out is None):
        raise UserError("--word and --out go together: a word of the caption, and the picture of where it looks")
    from mmjax.start import start_jax

    start_jax()
    from mmjax import load
    from mmjax.inference.files import pictures

    model, files = load(args.model), list(dict.fromkeys(pictures(args.files)))
    model.check_writes(asked=False)
    how = decoding.decoding_of(args, model)
    if args.word is not None:
        return _look(args, model, files, how)
    results = []
    for file, written in _captioned(model, files, how, args.seed):
        results.append({"file": file, **decoding.as_json(written)})
        if not args.json:
            print(f"{file}: {decoding.on_one_line(written.text)}", flush=True)
    if args.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    return 0 if len(results) == len(files) else 1


def _captioned(model: Any, files: list[str], how: Any, seed: int) -> Iterator[tuple[str, Any]]:
    """(file, its text) of each file that can be read; the others are named on stderr."""
    from mmjax import progress
    from mmjax.inference.reading import readable

    name, read = model.task.image, []

    def rows() -> Iterator[dict[str, Any]]:
        for file in files:
            for row in readable("caption", name, model.streams[name], [file]).values():
                read.append(file)
                yield {name: row}

    with progress.bar("captioning", len(files)) as advance:
        for number, written in enumerate(model.write(rows(), how, BATCH, seed)):
            yield read[number], written
            advance()


def _look(args: argparse.Namespace, model: Any, files: list[str], how: Any) -> int:
    """The picture of where a word of one caption looks."""
    from mmjax.inference.look import look

    if len(files) != 1:
        raise UserError(f"--word looks at one picture, got {len(files)}")
    text = look(model, files[0], how, args.seed, args.word, args.out)
    print(f"{files[0]}: {decoding.on_one_line(text)}\n{args.out}")
    return 0
