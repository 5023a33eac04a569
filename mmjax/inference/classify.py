"""Tells which of your labels each picture shows; nothing is trained.

Without a bias in the model (CLIP) the probabilities of a picture's labels sum to 1: one label is right. With one
(SigLIP) each label is judged by itself, and none or several may be likely.

example:
  mmjax classify --model runs/quickstart --labels "red circle,blue square" photos/ 'more/*.jpg'
  mmjax classify --model bundle --prompts cifar10 --top 3 --json photos/ > labels.json
"""

import argparse
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mmjax.errors import UserError

BATCH = 64
TEMPLATE = "a photo of a {}."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax classify` takes."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a picture, a folder of pictures, or a pattern")
    parser.add_argument("--model", required=True, metavar="M", help="a bundle or run folder, hf:... or open_clip:...")
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument("--labels", metavar="A,B,C", help="the labels, comma-separated")
    labels.add_argument("--labels-file", type=pathlib.Path, metavar="FILE", help="the labels, one a line")
    labels.add_argument("--prompts", metavar="P", help="labels and templates: a shipped set, imagenet, or a .json file")
    parser.add_argument(
        "--template", action="append", metavar="T", help=f'text with {{}} for the label; repeatable ("{TEMPLATE}")'
    )
    parser.add_argument("--top", type=int, default=5, metavar="K", help="labels to tell for a picture (default: 5)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Classifies and prints. Returns 1 if a file could not be read."""
    if args.top < 1:
        raise UserError(f"--top must be at least 1, got {args.top}")
    labels, templates = labels_of(args)
    from mmjax.start import start_jax

    start_jax()
    from mmjax import load
    from mmjax.inference.files import pictures

    model = load(args.model)
    classes = class_features(model, labels, templates)
    files, results = list(dict.fromkeys(pictures(args.files))), []
    for file, probabilities in scored(model, classes, files):
        found = best(labels, probabilities, args.top)
        results.append({"file": file, "labels": found})
        if not args.json:
            told = "  ".join(f"{one['label']} {one['probability']:.3f}" for one in found)
            print(f"{file}: {told}", flush=True)
    if args.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    return 0 if len(results) == len(files) else 1


def labels_of(args: argparse.Namespace) -> tuple[Sequence[str], Sequence[str]]:
    """Labels and templates."""
    if args.prompts:
        from mmjax.evaluation.prompts import load

        if args.template:
            raise UserError("--template goes with --labels or --labels-file; --prompts bring their own templates")
        prompts = load(args.prompts)
        return prompts.classes, prompts.templates
    where = f"--labels-file {args.labels_file}" if args.labels_file else "--labels"
    try:
        lines = args.labels_file.read_text("utf-8").splitlines() if args.labels_file else args.labels.split(",")
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: {getattr(error, 'strerror', None) or error}") from None
    labels = [line.strip() for line in lines if line.strip()]
    if not labels:
        raise UserError(f"{where}: there is no label")
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise UserError(f"{where}: the label {twice[0]!r} stands there twice")
    return labels, args.template or (TEMPLATE,)


def class_features(model: Any, labels: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """Features float32 `[k, d]` of the labels."""
    from mmjax import progress
    from mmjax.inference.finite import check_finite
    from mmjax.items import chunks

    parts = []
    with progress.bar("embedding labels", len(labels)) as advance:
        for chunk in chunks(labels, max(1, 8 * BATCH // len(templates))):
            parts.append(model.label_features(chunk, templates))
            check_finite(parts[-1], [f"the label {label!r}" for label in chunk].__getitem__)
            advance(len(chunk))
    return np.concatenate(parts)


def scored(model: Any, classes: np.ndarray, files: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each file that can be read, with its probabilities `[k]`; the others are named on stderr."""
    from mmjax import progress
    from mmjax.inference.finite import check_finite
    from mmjax.inference.reading import readable
    from mmjax.items import chunks, embed

    name = model.stream_name("image")
    stream = model.streams[name]
    with progress.bar("classifying", len(files)) as advance:
        for chunk in chunks(files, BATCH):
            rows = readable("classify", name, stream, chunk)
            features = embed(model.task, model.params, name, stream, rows.values(), BATCH)
            check_finite(features, list(rows).__getitem__)
            yield from zip(rows, model.probabilities(features, classes) if rows else (), strict=True)
            advance(len(chunk))


def best(labels: Sequence[str], probabilities: np.ndarray, top: int) -> list[dict[str, Any]]:
    """The `top` likeliest labels, likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"label": labels[i], "probability": float(probabilities[i])} for i in order]
