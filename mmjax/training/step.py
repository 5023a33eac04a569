"""One training step: loss, gradients, update, all inside one jit with a donated state."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.batch import Batch
from mmjax.errors import UserError
from mmjax.tasks.base import Loss, Params, Task
from mmjax.training import tree
from mmjax.training.accumulate import Metrics, cached, summed
from mmjax.training.optimizer import Optimizer, clamp, trained, transformation
from mmjax.training.state import TrainState, norm

Step = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]


def make_step(task: Task, options: Optimizer, steps: int) -> Step:
    """The step function `f(state, batch, key) -> (state, metrics)`, to be jitted with the state donated.

    The key of step s is `fold_in(key, s)`, so a resumed run draws what an uninterrupted one does. A non-finite loss,
    gradient or update leaves parameters, moments and average as they were and counts in `state.bad`. As that is known
    before anything is overwritten, the state is updated in place, with no copy of it; but for Lion, whose update reads
    the momentum that it replaces.
    """

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        before = trained(options, state.params)
        loss, metrics, grads = gradients(task, options, state.params, batch, key)
        tx = transformation(options, state.params)
        updates, opt_state = tx.update(grads, state.opt_state, before)
        rate = jnp.asarray(options.rate(steps)(state.step), jnp.float32)
        grad_norm, size = norm(grads), norm(updates)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm) & jnp.isfinite(size)

        def keep(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, old)

        learnt = keep(clamp(options, jax.tree.map(lambda p, u: p - rate * u, before, updates)), before)
        ema = None if state.ema is None else keep(average(options.ema, state.ema, learnt, state.step), state.ema)
        bad = jnp.where(finite, 0, state.bad + 1)
        params = tree.overlay(state.params, learnt)
        metrics = metrics | {
            "loss": loss,
            "gradient_norm": grad_norm,
            "parameter_norm": norm(params),
            "update_norm": jnp.where(finite, rate * size, 0.0),
            "learning_rate": rate,
            "valid": batch.valid.mean(dtype=jnp.float32),
            "bad": bad,
        }
        return TrainState(state.step + 1, params, keep(opt_state, state.opt_state), ema, bad), metrics

    return step


def check_accumulation(options: Optimizer, batch_size: int, ways: int) -> None:
    """Refuses micro-batches that do not divide.

    Args:
      ways: into how many parts the devices split a batch.
    """
    if options.accumulate < 1 or batch_size % (options.accumulate * ways):
        raise UserError(
            f"config.optimizer.accumulate={options.accumulate}: batch_size {batch_size} must divide by accumulate x "
            f"data x fsdp = {options.accumulate} x {ways}"
        )


def gradients(
    task: Task, options: Optimizer, params: Params, batch: Batch, key: jax.Array
) -> tuple[jax.Array, Metrics, Params]:
    """Loss, metrics and gradients of sum(total) / sum(weight) over the batch, by micro-batches where asked.

    Micro-batches change no number but those of dropout, whose keys are each micro-batch's own.

    The gradients are those of the `trained` parameters alone: frozen ones are constants of the differentiated function.
    """

    def total(learning: Params, batch: Batch, key: jax.Array):
        loss = loss_of(task, tree.overlay(params, learning), batch, key)
        return loss.total, (loss.weight, dict(loss.metrics))

    grad_fn, learning = jax.value_and_grad(total, has_aux=True), trained(options, params)
    if options.accumulate == 1:
        (value, (weight, metrics)), grads = grad_fn(learning, batch, key)
    elif task.coupled:
        whole = functools.partial(tree.overlay, params)
        value, weight, metrics, grads = cached(task, whole, learning, batch, key, options.accumulate)
    else:
        value, weight, metrics, grads = summed(grad_fn, learning, batch, key, options.accumulate)
    scale = 1.0 / jnp.maximum(weight, 1e-12)
    return value * scale, metrics, jax.tree.map(lambda g: g * scale, grads)


def loss_of(task: Task, params: Params, batch: Batch, key: jax.Array) -> Loss:
    """The task's loss in training, its two halves with keys of their own."""
    encode_key, loss_key = jax.random.split(key)
    return task.loss(params, task.encode(params, batch, encode_key), batch, loss_key)


def average(decay: float, ema: Any, params: Params, step: jax.Array) -> Any:
    """Running average, with the decay growing from 0 as (1 + s) / (10 + s): early weights would weigh too long."""
    now = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, p: e + (1.0 - now) * (p - e), ema, params)
