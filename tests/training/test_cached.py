"""Cached accumulation: micro-batches that meet in one loss give the gradients of the whole batch, dropout included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from mmjax.batch import Batch
from mmjax.config import build
from mmjax.mesh import MeshShape, make_mesh, put_batch
from mmjax.tasks import TASKS
from mmjax.training import accumulate
from mmjax.training.accumulate import split
from mmjax.training.optimizer import Optimizer
from mmjax.training.step import gradients
from tests.models.batches import images, texts

ROWS = 24
KEY = jax.random.key(3)


def make_task(dropout=0.0, loss="info_nce", depth=1):
    tower = {"width": 16, "depth": depth, "heads": 2, "pooling": "mean", "dropout": dropout}
    section = {
        "name": "align",
        "towers": {
            "image": {"name": "vit", "patch": 8, **tower},
            "text": {"name": "text", "vocabulary": 20, "length": 6, **tower},
        },
        "streams": {"image": "image", "caption": "text"},
        "pairs": (("image", "caption"),),
        "dim": 8,
        "loss": loss,
        **({"bias_init": -2.0, "scale_init": 10.0} if "sigmoid" in str(loss) else {}),
    }
    return build(section, TASKS, "task")


def make_batch():
    """Texts of unequal lengths, one row that is not valid, and groups of two."""
    index = np.arange(ROWS, dtype=np.int32)
    valid = index != 5
    streams = {"image": images(ROWS), "caption": texts(lengths=[1 + i % 6 for i in range(ROWS)])}
    return jax.tree.map(jnp.asarray, Batch(streams, jnp.asarray(valid), index, index // 2))


@functools.cache
def start(dropout=0.0, loss="info_nce", depth=1):
    task, batch = make_task(dropout, loss, depth), make_batch()
    return task, task.init(jax.random.key(0), batch), batch


def run(count, dropout=0.0, loss="info_nce", key=KEY, **options):
    task, params, batch = start(dropout, loss)
    step = jax.jit(lambda p, b, k: gradients(task, Optimizer(1e-3, accumulate=count, **options), p, b, k))
    return step(params, batch, key)


def uncached(count, dropout):
    """The same micro-batches with the same keys, differentiated as a whole: what caching must equal."""
    task, params, batch = start(dropout)
    encode_key, loss_key = jax.random.split(KEY)

    def loss(params):
        parts = [
            task.encode(params, jax.tree.map(lambda x: x[i], split(batch, count)), jax.random.fold_in(encode_key, i))  # noqa: B023
            for i in range(count)
        ]
        features = {
            name: jnp.stack([part[name] for part in parts], 1).reshape(ROWS, -1) for name in ("image", "caption")
        }
        out = task.loss(params, features | {"scale": parts[0]["scale"]}, batch, loss_key)
        return out.total / out.weight

    return jax.jit(jax.value_and_grad(loss))(params)


def assert_same(actual, wanted, tolerance=1e-5):
    """Of each leaf's largest, with a floor of 1e-3 of the tree's; a key's bias has no true gradient, only rounding."""
    floor = 1e-3 * max(float(jnp.abs(x).max()) for x in jax.tree.leaves(wanted))
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(wanted), strict=True):
        scale = max(float(jnp.abs(y).max()), 100 * floor if "'key'" in str(path) and "bias" in str(path) else floor)
        assert float(jnp.abs(x - y).max()) <= tolerance * scale, path


@pytest.mark.parametrize("loss", ["info_nce", "sigmoid", pytest.param("triplet", marks=pytest.mark.slow)])
@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_equals_one_batch(loss, count):
    value, metrics, grads = run(count, loss=loss)
    wanted, wanted_metrics, wanted_grads = run(1, loss=loss)
    assert value == pytest.approx(float(wanted), rel=1e-5)
    assert_same(grads, wanted_grads)
    assert_same(metrics, wanted_metrics)
    assert loss == "triplet" or float(grads["scale"]) != 0


def test_dropout_draws_the_same_in_both_passes():
    value, _, grads = run(3, dropout=0.3)
    wanted, wanted_grads = uncached(3, 0.3)
    assert value == pytest.approx(float(wanted), rel=1e-5)
    assert_same(grads, wanted_grads)
    with pytest.raises(AssertionError):  # mutant: without dropout these are other gradients
        assert_same(grads, run(3)[2])


def test_a_scale_whose_gradient_every_micro_batch_adds_is_rejected(monkeypatch):
    """Mutant of trap 9: k times too large."""
    real = accumulate._share
    each = lambda x, count: real(x, count) if x.ndim else jnp.broadcast_to(x, (count,))  # noqa: E731
    monkeypatch.setattr(accumulate, "_share", each)
    _, _, grads = run(3)
    _, _, wanted = run(1)
    np.testing.assert_allclose(grads["scale"], 3 * wanted["scale"], rtol=1e-4)
    with pytest.raises(AssertionError):
        assert_same(grads, wanted)


def test_adding_up_the_losses_of_micro_batches_is_rejected():
    """Mutant: fewer negatives for every row are another loss."""
    task, params, batch = start()
    parts = [gradients(task, Optimizer(1e-3), params, jax.tree.map(lambda x: x[i::3], batch), KEY) for i in range(3)]  # noqa: B023
    wanted, _, wanted_grads = run(1)
    assert float(sum(p[0] for p in parts) / 3) < 0.8 * float(wanted)
    with pytest.raises(AssertionError):
        assert_same(jax.tree.map(lambda *x: sum(x) / 3, *(p[2] for p in parts)), wanted_grads)


def test_what_is_frozen_costs_no_gradient():
    _, _, grads = run(3, freeze=("^towers_image/",))
    _, _, wanted = run(1, freeze=("^towers_image/",))
    assert set(grads) == set(wanted) and "towers_image" not in grads
    assert_same(grads, wanted)


@pytest.mark.parametrize("impl", ["ring", pytest.param("gather", marks=pytest.mark.slow)])
def test_micro_batches_meet_in_a_ring_of_eight_devices(impl):
    _, _, wanted = run(1)
    task, params, batch = start(loss=FrozenDict({"name": "info_nce", "impl": impl}))
    mesh = make_mesh(MeshShape(2, 4, 1))
    with jax.set_mesh(mesh), jax.default_matmul_precision("highest"):
        step = jax.jit(lambda p, b, k: gradients(task, Optimizer(1e-3, accumulate=3), p, b, k))
        _, _, grads = step(params, put_batch(jax.device_get(batch), mesh), KEY)
    assert_same(grads, wanted)


@pytest.mark.slow
def test_micro_batches_take_less_memory():
    def scratch(count):
        task, params, batch = start(depth=4)
        big = jax.tree.map(lambda x: jnp.concatenate([x] * 32), batch)
        step = jax.jit(lambda p, b, k: gradients(task, Optimizer(1e-3, accumulate=count), p, b, k))
        return step.lower(params, big, KEY).compile().memory_analysis().temp_size_in_bytes

    assert scratch(8) < scratch(1) / 3
