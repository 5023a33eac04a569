"""A few steps of training beside torch's AdamW, from the same weights; `benchmarks/parity/train.py` does it at size."""

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import numpy as np
import pytest

from mmjax.batch import Batch, Stream
from mmjax.config import build
from mmjax.tasks import TASKS
from mmjax.training import tree
from mmjax.training.optimizer import Optimizer
from tests.interop.torch_peers import mend_torchvision

pytest.importorskip("torch", reason="torch is not installed: pip install 'mmjax[torch]'")
mend_torchvision()
pytest.importorskip("open_clip", reason="open_clip is not installed: pip install 'mmjax[torch]'")
from benchmarks.parity import sides  # noqa: E402

TOLERANCE = 1e-5  # relative, at every step; over so few of them rounding has not grown
STEPS, ROWS = 8, 8
SIZES = sides.Sizes(width=32, depth=2, heads=4, image_size=32, patch=16, length=8, vocabulary=100, end=99, scan=True)
OPTIONS = Optimizer(1e-3, schedule="constant", warmup=0.0, weight_decay=1.0, clip=0.0, clamp=())


class Ours(NamedTuple):
    start: sides.Start
    losses: list[float]


def batch(step: int) -> Batch:
    """Noise under texts of three to eight ids."""
    rng = np.random.default_rng(step)
    lengths = rng.integers(3, SIZES.length + 1, ROWS)
    mask = np.arange(SIZES.length) < lengths[:, None]
    ids = np.where(mask, rng.integers(1, SIZES.end, mask.shape), SIZES.end).astype(np.int32)
    ids[np.arange(ROWS), lengths - 1] = SIZES.end
    pixels = rng.integers(0, 256, (ROWS, SIZES.image_size, SIZES.image_size, 3), dtype=np.uint8)
    present, index = np.ones(ROWS, bool), np.arange(ROWS, dtype=np.int32)
    return Batch({"image": Stream(pixels, present), "caption": Stream(ids, present, mask)}, present, index, index)


BATCHES = [batch(step) for step in range(STEPS)]


def draw(task):
    """Weights of about the usual sizes; to compile their own drawing would take longer than the training."""
    rng = np.random.default_rng(0)
    start = {"scale": np.log(1 / 0.07), "bias": -10.0}

    def one(name: str, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        base = start.get(name, 1.0 if name.endswith("/scale") else 0.0)
        return (base + 0.1 * rng.normal(size=leaf.shape)).astype(np.float32)

    return tree.map_named(one, jax.eval_shape(task.init, jax.random.key(0), BATCHES[0]))


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Our side of a pairing, run once."""
    known: dict[str, Ours] = {}

    def ours(name: str) -> Ours:
        if name not in known:
            folder: pathlib.Path = tmp_path_factory.mktemp(name)
            pairing = sides.PAIRINGS[name]
            sections = sides.sections(pairing, SIZES, folder)
            task = build(sections.task, TASKS, "task")
            start = sides.begin(pairing, task, sections, draw(task), OPTIONS, folder)
            known[name] = Ours(start, sides.our_losses(start, OPTIONS, BATCHES))
        return known[name]

    return ours


@pytest.mark.parametrize("name", sides.PAIRINGS)
def test_losses_agree_at_every_step(name, train):
    ours = train(name)
    theirs = sides.their_losses(ours.start, OPTIONS, BATCHES)
    assert sides.relative(ours.losses, theirs).max() < TOLERANCE
    assert len(set(theirs)) == STEPS


@pytest.mark.parametrize("mutant", ["weight decay on norms and biases too", "another epsilon"])
def test_another_optimizer_is_rejected(mutant, train):
    ours = train("open_clip_clip")
    every = [name for name, _ in sides.read_model(ours.start).named_parameters()]
    options = dataclasses.replace(OPTIONS, eps=1e-5) if mutant == "another epsilon" else OPTIONS
    decaying = () if mutant == "another epsilon" else every
    theirs = sides.their_losses(ours.start, options, BATCHES, decaying)
    assert sides.relative(ours.losses, theirs).max() > 3 * TOLERANCE
