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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from mmjax.bundle import Model, load, save
from mmjax.config import flatten, with_defaults
from mmjax.errors import UserError
from mmjax.exchange.places import check_bundle_place
from mmjax.interop.config_map import TRAINING, essentials, sized
from mmjax.models import ENCODERS
from mmjax.models.stacking import Flat, stacked_as
from mmjax.tasks import TASKS
from mmjax.training.pretrained import other_tokenizers, reads_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mmjax average`."""
    parser.add_argument("--models", required=True, metavar="M,M,...", help="two models or more, bundles or run folders")
    parser.add_argument(
        "--weights",
        metavar="W,W,...",
        help="one for each, 1 in sum (default: equal); write --weights=-0.5,1.5 if below 0",
    )
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR", help="a new folder, or an older bundle")


def run(args: argparse.Namespace) -> int:
    """Averages, saves, and says where."""
    sources = args.models.split(",")
    texts = args.weights.split(",") if args.weights else [f"{1 / len(sources)}"] * len(sources)
    try:
        weights = [float(text) for text in texts]
    except ValueError:
        raise UserError(f"--weights {args.weights}: numbers, such as 0.5,0.5") from None
    check_bundle_place(args.folder, sources)
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
      UserError: numbers that do not fit, or models that are not alike.
    """
    if len(sources) < 2 or len(weights) != len(sources):
        raise UserError(f"average: two models or more and a weight for each, got {len(sources)} and {len(weights)}")
    if not math.isclose(sum(weights), 1.0, abs_tol=1e-6):
        raise UserError(f"average: the weights add up to {sum(weights):g}, not 1; divide them by that")
    models = [load(source) for source in sources]
    for source, model in zip(sources[1:], models[1:], strict=True):
        check_alike(sources[0], models[0], source, model)
    flats = [traverse_util.flatten_dict(model.params, sep="/") for model in models]
    flats = [stacked_as(flat, flats[0]) for flat in flats]
    for source, flat in zip(sources[1:], flats[1:], strict=True):
        check_shapes(sources[0], flats[0], source, flat)
    terms = [(weight, flat) for weight, flat in zip(weights, flats, strict=True) if weight]
    params = {name: _weighted([(weight, np.asarray(flat[name])) for weight, flat in terms]) for name in flats[0]}
    config = dict(models[0].config) | {"average": [list(pair) for pair in zip(sources, weights, strict=True)]}
    return Model(models[0].task, traverse_util.unflatten_dict(params, sep="/"), models[0].streams, config)


def check_alike(source: str, model: Model, other_source: str, other: Model) -> None:
    """Refuses two models whose features depend on other keys of the task, or on other tokenizers, naming them."""
    ours, theirs = (decisive(m.config["task"]) for m in (model, other))
    differ = [
        f"task.{key}: {ours.get(key)!r} and {theirs.get(key)!r}"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ]
    reads, other_reads = (reads_of(m.config["task"]) for m in (model, other))
    odd = other_tokenizers(other.streams, other_reads, model.streams, reads)
    differ += [f"the tokenizer of {name}" for name in odd]
    if differ:
        raise UserError(f"average: {source} and {other_source} are different models: {'; '.join(differ[:8])}")


def decisive(task: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a task on which its features depend, flat: not how it was trained, compiled or first drawn.

    Of an encoder from outside nobody knows which these are: all of its keys count.
    """
    task = with_defaults(task, TASKS, "task")
    if task["name"] not in TASKS:
        return flatten(task)
    if any(tower["name"] not in ENCODERS for tower in task["towers"].values()):
        return {key: value for key, value in flatten(task).items() if key.split(".")[0] not in TRAINING}
    towers = {name: sized(tower, f"task.towers.{name}") for name, tower in task["towers"].items()}
    colours = {name: {key: tower[key] for key in ("mean", "std") if key in tower} for name, tower in towers.items()}
    return essentials(task) | flatten(colours, "towers.")


def check_shapes(source: str, flat: Flat, other_source: str, other: Flat) -> None:
    """Refuses two models whose parameters do not correspond: what no key tells, such as a projection."""
    ours, theirs = ({name: np.shape(value) for name, value in each.items()} for each in (flat, other))
    if differ := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
        raise UserError(f"average: {source} and {other_source} differ in the shapes of {', '.join(differ[:8])}")


def _weighted(terms: Sequence[tuple[float, np.ndarray]]) -> np.ndarray:
    total = sum(weight * value.astype(np.float64) for weight, value in terms)
    return np.asarray(total, np.float32)
