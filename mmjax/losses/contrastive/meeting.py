"""How the two sides meet: on one device, or with each device holding its rows of both.

Inside `shard_map`: arrays are a device's own rows, and what is returned of rows and columns is of its own as well.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from mmjax.losses.contrastive.tiles import Gradients, Logits, Rule, Side, sweep, sweep_gradients

Way = Literal["tiled", "gather", "ring"]
Axes = tuple[str, ...]


def meet(way: Way, axes: Axes, rule: Rule, a: Side, b: Side, logits: Logits, tile: int | None) -> tuple[Any, Any]:
    """Statistics of every row and every column."""
    if way == "ring":
        return _ring(axes, rule, a, b, logits, tile)
    rows, _ = rule.empty(len(a.rows), len(b.rows))
    if way == "tiled":
        return sweep(rule, a, b, logits, rows, tile)
    rows, columns = sweep(rule, a, _gather(b, axes), logits, rows, tile)
    return rows, _own(rule.merge_devices(columns, axes), len(b.rows), axes)


def meet_gradients(
    way: Way,
    axes: Axes,
    rule: Rule,
    a: Side,
    b: Side,
    logits: Logits,
    rows: Any,
    columns: Any,
    tile: int | None,
) -> Gradients:
    """Gradients; those of scale and bias are added up over all devices."""
    if way == "tiled":
        return sweep_gradients(rule, a, b, logits, rows, columns, tile)
    if way == "ring":
        grads = _ring_gradients(axes, rule, a, b, logits, rows, columns, tile)
    else:
        grads = sweep_gradients(rule, a, _gather(b, axes), logits, rows, _gather(columns, axes), tile)
        grads = grads._replace(b=jax.lax.psum_scatter(grads.b, axes, scatter_dimension=0, tiled=True))
    return grads._replace(logits=jax.lax.psum(grads.logits, axes))


def _ring(axes: Axes, rule: Rule, a: Side, b: Side, logits: Logits, tile: int | None) -> tuple[Any, Any]:
    """Columns travel around all devices, and what is known of them travels along: one turn serves both directions.

    The statistics of columns arrive while those of the tile at hand are computed, and only then are the two merged; so
    no transfer waits for a computation of the same step, nor the other way round.
    """
    rows, columns = rule.empty(len(a.rows), len(b.rows))

    def step(carry: tuple[Side, Any, Any], _: None) -> tuple[tuple[Side, Any, Any], None]:
        b, rows, columns = carry
        following, arrived = _pass_on(b, axes), _pass_on(columns, axes)
        rows, columns = sweep(rule, a, b, logits, rows, tile)
        return (following, rows, rule.merge(arrived, columns)), None

    (_, rows, columns), _ = jax.lax.scan(step, (b, rows, columns), length=_devices(axes))
    return rows, _pass_on(columns, axes)  # the last stop of a column is one before its home


def _ring_gradients(
    axes: Axes, rule: Rule, a: Side, b: Side, logits: Logits, rows: Any, columns: Any, tile: int | None
) -> Gradients:
    """As `_ring`: columns travel, their gradients one step behind them."""
    grad_a, grad_b = (jnp.zeros(side.rows.shape, jnp.float32) for side in (a, b))
    zero = jnp.zeros((), jnp.float32)
    start = (b, columns, grad_b), (grad_a, Logits(zero, zero))

    def step(carry: Any, _: None) -> tuple[Any, None]:
        (b, columns, grad_b), (grad_a, sums) = carry
        (following, knowledge), arrived = _pass_on((b, columns), axes), _pass_on(grad_b, axes)
        new = sweep_gradients(rule, a, b, logits, rows, columns, tile)
        kept = grad_a + new.a, jax.tree.map(jnp.add, sums, new.logits)
        return ((following, knowledge, arrived + new.b), kept), None

    ((_, _, grad_b), (grad_a, sums)), _ = jax.lax.scan(step, start, length=_devices(axes))
    return Gradients(grad_a, _pass_on(grad_b, axes), sums)


def _pass_on(tree: Any, axes: Axes) -> Any:
    """To the device before this one, from the one after it."""
    count = _devices(axes)
    ring = [(device, (device - 1) % count) for device in range(count)]
    return jax.tree.map(lambda x: jax.lax.ppermute(x, axes, ring), tree)


def _gather(tree: Any, axes: Axes) -> Any:
    """The rows of all devices."""
    return jax.tree.map(lambda x: jax.lax.all_gather(x, axes, tiled=True), tree)


def _own(tree: Any, rows: int, axes: Axes) -> Any:
    """This device's part of what all of them hold."""
    start = jax.lax.axis_index(axes) * rows
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows), tree)


def _devices(axes: Axes) -> int:
    return jax.lax.axis_size(axes)
