"""Average the parameters of models of one architecture: a fine-tuned one with its start, or several fine-tuned ones.

A model between a zero-shot model and what it was fine-tuned to keeps more of what the first could do (Wortsman et al.
2022, "WiSE-FT"); the mean of several fine-tuned from one start is better than each ("Model soups", the same year).

Examples:
  mmjax average --models runs/quickstart,runs/finetuned runs/wise
  mmjax average --models runs/quickstart,runs/finetuned --weights 0.25,0.75 runs/wise
"""

import argparse
import math
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from flax import traverse_util

from mmjax.bundle import Model, load, save
from mmjax.config import flatten, with_defaults
from mmjax.errors import UserError
from mmjax.tasks import TASKS
from mmjax.training.pretrained import other_tokenizers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mmjax average`."""
    parser.add_argument("--models", required=True, metavar="M,M,...", help="two models or more, bundles or run folders")
    parser.add_argument(
        "--weights",
        metavar="W,W,...",
        help="one for each, 1 in sum (default: equal); write --weights=-0.5,1.5 if below 0",
    )
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR", help="where the bundle is written")


def run(args: argparse.Namespace) -> int:
    """Averages, saves, and says where."""
    sources = args.models.split(",")
    texts = args.weights.split(",") if args.weights else [f"{1 / len(sources)}"] * len(sources)
    try:
        weights = [float(text) for text in texts]
    except ValueError:
        raise UserError(f"--weights {args.weights}: numbers, such as 0.5,0.5") from None
    save(args.folder, average(sources, weights))
    terms = " + ".join(f"{weight:g} x {source}" for source, weight in zip(sources, weights, strict=True))
    print(f"{args.folder} = {terms}", file=sys.stderr)
    return 0


def average(sources: Sequence[str], weights: Sequence[float]) -> Model:
    """The model whose every parameter is the sum of the weights times the models' own.

    Sums are taken in float64. A model of weight 0 takes no part, so the weights (1, 0) give the first bit by bit. Task,
    transforms and config are the first model's.

    Args:
      sources: two or more, whatever `mmjax.load` reads.
      weights: one for each, 1 in sum; negative ones extrapolate.

    Raises:
      UserError: numbers that do not fit, or models whose task sections or shapes differ.
    """
    if len(sources) < 2 or len(weights) != len(sources):
        raise UserError(f"average: two models or more and a weight for each, got {len(sources)} and {len(weights)}")
    if not math.isclose(sum(weights), 1.0, abs_tol=1e-6):
        raise UserError(f"average: the weights add up to {sum(weights):g}, not 1; divide them by that")
    models = [load(source) for source in sources]
    for source, model in zip(sources[1:], models[1:], strict=True):
        check_alike(sources[0], models[0], source, model)
    flats = [traverse_util.flatten_dict(model.params, sep="/") for model in models]
    terms = [(weight, flat) for weight, flat in zip(weights, flats, strict=True) if weight]
    params = {name: _weighted([(weight, np.asarray(flat[name])) for weight, flat in terms]) for name in flats[0]}
    config = dict(models[0].config) | {"average": [list(pair) for pair in zip(sources, weights, strict=True)]}
    return Model(models[0].task, traverse_util.unflatten_dict(params, sep="/"), models[0].streams, config)


def check_alike(source: str, model: Model, other_source: str, other: Model) -> None:
    """Refuses two models of different task sections or tokenizers, naming them; equal sections give equal shapes."""
    ours, theirs = (flatten(with_defaults(m.config["task"], TASKS, "task")) for m in (model, other))
    differ = [
        f"task.{key}: {ours.get(key)!r} and {theirs.get(key)!r}"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ]
    differ += [f"the tokenizer of {name}" for name in other_tokenizers(model.streams, other.streams)]
    if differ:
        raise UserError(f"average: {source} and {other_source} are different models: {'; '.join(differ[:8])}")


def _weighted(terms: Sequence[tuple[float, np.ndarray]]) -> np.ndarray:
    total = sum(weight * value.astype(np.float64) for weight, value in terms)
    return np.asarray(total, np.float32)
