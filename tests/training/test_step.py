"""Accumulation is one big batch, and a non-finite step changes nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.batch import Batch, Stream
from mmjax.training.optimizer import Optimizer
from mmjax.training.state import initializer
from mmjax.training.step import gradients, make_step
from tests.my_lab.tasks import MeanColour


def make_batch(rows=12, bad=(3,)):
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 8, 8, 3)).astype(np.uint8)
    valid = ~np.isin(np.arange(rows), bad)
    index = np.arange(rows, dtype=np.int32)
    return jax.tree.map(jnp.asarray, Batch({"image": Stream(pixels, valid)}, valid, index, index))


def accumulated(count, naive=False):
    task, batch = MeanColour(), make_batch()
    params = task.init(jax.random.key(0), batch)
    if not naive:
        return gradients(task, Optimizer(learning_rate=1.0, accumulate=count), params, batch, jax.random.key(1))
    parts = [jax.tree.map(lambda x, i=i: x[i::count], batch) for i in range(count)]
    each = [gradients(task, Optimizer(learning_rate=1.0), params, part, jax.random.key(1)) for part in parts]
    return jax.tree.map(lambda *x: sum(x) / count, *each)


def test_accumulation_equals_one_batch():
    loss, _, grads = accumulated(1)
    for count in (2, 3):
        other_loss, _, other = accumulated(count)
        assert other_loss == pytest.approx(float(loss), rel=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), other, grads)


def test_averaging_micro_batches_is_rejected():
    """The mutant: rows weigh unequally, so a mean of means is another loss."""
    loss, _, _ = accumulated(1)
    naive, _, _ = accumulated(3, naive=True)
    assert float(naive) != pytest.approx(float(loss), rel=1e-4)


@dataclasses.dataclass(frozen=True)
class Exploding(MeanColour):
    """NaN as soon as row 5 is in the batch and valid."""

    def loss(self, params, features, batch, rng):
        loss = super().loss(params, features, batch, rng)
        spoiled = (batch.valid & (batch.index == 5)).any()
        return loss.replace(total=jnp.where(spoiled, jnp.nan, loss.total))


def test_a_non_finite_update_changes_nothing_either():
    """Adam with no epsilon divides nothing by nothing where there is no gradient."""
    task, options, batch = MeanColour(), Optimizer(learning_rate=0.1, eps=0.0), make_batch(bad=range(12))
    state = jax.jit(initializer(task, options, batch))(jax.random.key(0))
    after, metrics = jax.jit(make_step(task, options, 10))(state, batch, jax.random.key(0))
    assert metrics["bad"] == 1 and np.isfinite(metrics["loss"]) and np.isfinite(metrics["gradient_norm"])
    for name in ("params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(state, name))


@pytest.mark.parametrize(("name", "copies"), [("adamw", False), ("adafactor", False), ("sgd", False), ("lion", True)])
def test_a_step_copies_nothing_of_the_state(name, copies):
    """Outputs lie where the inputs lay, and no input is read again once it is overwritten; Lion's is."""
    task, batch = MeanColour(), make_batch()
    options = Optimizer(learning_rate=0.1, name=name, weight_decay=0.1, ema=0.9)
    state = jax.jit(initializer(task, options, batch))(jax.random.key(0))
    step = jax.jit(make_step(task, options, 10), donate_argnums=0).lower(state, batch, jax.random.key(0)).compile()
    assert any(" copy(" in line and "f32[" in line for line in step.as_text().splitlines()) == copies


def test_a_non_finite_step_changes_nothing_but_the_step():
    task, options = Exploding(), Optimizer(learning_rate=0.1, ema=0.9)
    good, bad = make_batch(bad=(5,)), make_batch()
    state = jax.jit(initializer(task, options, good))(jax.random.key(0))
    step = jax.jit(make_step(task, options, 10))
    state, metrics = step(state, good, jax.random.key(0))
    assert metrics["bad"] == 0 and metrics["update_norm"] > 0
    after, metrics = step(state, bad, jax.random.key(0))
    assert metrics["bad"] == 1 and not np.isfinite(metrics["loss"])
    for name in ("params", "opt_state", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(state, name))
    assert after.step == 2
    after, metrics = step(after, bad, jax.random.key(0))
    assert metrics["bad"] == 2
    _, metrics = step(after, good, jax.random.key(0))
    assert metrics["bad"] == 0
