"""The gradients of a batch too large to be computed at once, from micro-batches, and equal to those of the whole."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.batch import Batch
from mmjax.mesh import ROWS
from mmjax.tasks.base import Loss, Params, Task

Metrics = dict[str, jax.Array]
Gradients = tuple[jax.Array, jax.Array, Metrics, Params]  # value, weight, metrics, gradients of the value


def summed(grad_fn: Callable, params: Params, batch: Batch, key: jax.Array, count: int) -> Gradients:
    """Sums of totals, weights and gradients over micro-batches, for a loss that takes each row alone.

    Args:
      grad_fn: f(params, batch, key) -> ((total, (weight, metrics)), gradients).

    Returns:
      Metrics are their means.
    """
    micro = split(batch, count)

    def body(sums: Any, item: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        batch, index = item
        (value, (weight, metrics)), grads = grad_fn(params, batch, jax.random.fold_in(key, index))
        return jax.tree.map(jnp.add, sums, (value, weight, metrics, grads)), None

    first = jax.tree.map(lambda x: x[0], micro)
    shapes = jax.eval_shape(lambda: grad_fn(params, first, key))
    (value, (weight, metrics)), grads = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    sums, _ = jax.lax.scan(body, (value, weight, metrics, grads), (micro, jnp.arange(count)))
    value, weight, metrics, grads = sums
    return value, weight, {name: x / count for name, x in metrics.items()}, grads


def cached(
    task: Task, whole: Callable[[Params], Params], params: Params, batch: Batch, key: jax.Array, count: int
) -> Gradients:
    """For a loss that mixes rows: GradCache (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size").

    Features of all micro-batches first, nothing kept to differentiate them; then the loss of the whole batch and its
    gradients by the features; then each micro-batch once more, with dropout of the same keys, to pass those on to the
    parameters. So one micro-batch's activations exist at a time, for one more forward pass.

    Args:
      whole: what `task` reads, from the parameters that are differentiated.
    """
    encode_key, loss_key = jax.random.split(key)
    items = split(batch, count), jnp.arange(count)

    def encode(params: Params, item: tuple[Batch, jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
        batch, index = item
        return _by_kind(task.encode(whole(params), batch, jax.random.fold_in(encode_key, index)))

    def loss_of(params: Params, real: list[jax.Array], other: list[jax.Array]) -> tuple[jax.Array, Loss]:
        loss = task.loss(whole(params), _tree(shapes, real, other), batch, loss_key)
        return loss.total, loss

    shapes = jax.eval_shape(lambda: task.encode(whole(params), jax.tree.map(lambda x: x[0], items[0]), encode_key))
    _, parts = jax.lax.scan(lambda _, item: (None, encode(params, item)), None, items)
    real, other = jax.tree.map(_join, parts)
    (total, loss), (grads, of_features) = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)(params, real, other)

    def body(grads: Params, item: Any) -> tuple[Params, None]:
        *item, cotangents = item
        _, pull, _ = jax.vjp(lambda params: encode(params, tuple(item)), params, has_aux=True)
        return jax.tree.map(jnp.add, grads, pull(cotangents)[0]), None

    cotangents = jax.tree.map(lambda x: _share(x, count), of_features)
    grads, _ = jax.lax.scan(body, grads, (*items, cotangents))
    return total, loss.weight, dict(loss.metrics), grads


def split(tree: Any, count: int) -> Any:
    """Leaves [b, ...] → [count, b / count, ...]; row r goes to micro-batch r mod count, so devices keep their rows."""

    def one(x: jax.Array) -> jax.Array:
        parts = x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)
        if jax.sharding.get_abstract_mesh().empty:
            return parts
        return jax.lax.with_sharding_constraint(parts, jax.sharding.PartitionSpec(None, *ROWS))

    return jax.tree.map(one, tree)


def _join(x: jax.Array) -> jax.Array:
    """Back from `split`; a number without rows, such as a logit scale, is the same in every micro-batch."""
    return x[0] if x.ndim == 1 else x.swapaxes(0, 1).reshape(-1, *x.shape[2:])


def _share(cotangent: jax.Array, count: int) -> jax.Array:
    """Each micro-batch's part of a gradient; that of a number without rows goes to one of them, not to each."""
    if cotangent.ndim:
        return split(cotangent, count)
    return jnp.zeros(count, cotangent.dtype).at[0].set(cotangent)


def _by_kind(features: Any) -> tuple[list[jax.Array], list[jax.Array]]:
    """Leaves that have gradients, and the others, such as masks."""
    leaves = jax.tree.leaves(features)
    return [x for x in leaves if _real(x)], [x for x in leaves if not _real(x)]


def _tree(shapes: Any, real: list[jax.Array], other: list[jax.Array]) -> Any:
    """Back from `_by_kind`."""
    leaves, structure = jax.tree.flatten(shapes)
    rest = iter(real), iter(other)
    return jax.tree.unflatten(structure, [next(rest[0] if _real(x) else rest[1]) for x in leaves])


def _real(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)
