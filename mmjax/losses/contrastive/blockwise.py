"""A contrastive loss as one differentiable function of global arrays, computed tile by tile."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from mmjax.losses.contrastive.meeting import Axes, Way, meet, meet_gradients
from mmjax.losses.contrastive.tiles import Logits, Rule, Side


class Plan(NamedTuple):
    """How a loss is computed: all that is known before any number is.

    Attributes:
      rule: which loss.
      way: how the sides meet.
      axes: mesh axes that rows are split over; none on one device.
      mesh: what they are axes of.
      tile: rows of a tile, None to have them chosen.
    """

    rule: Rule
    way: Way
    axes: Axes
    mesh: Mesh | AbstractMesh | None
    tile: int | None


class Marks(NamedTuple):
    """What is no function of parameters: which rows count, and the group of each."""

    valid_a: Bool[Array, " n"]
    valid_b: Bool[Array, " m"]
    group_a: Int[Array, " n"]
    group_b: Int[Array, " m"]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def blockwise(
    plan: Plan, a: Float[Array, "n d"], b: Float[Array, "m d"], logits: Logits, marks: Marks
) -> Float[Array, ""]:
    """The loss of all pairs. Rows and columns divide among the devices of the plan.

    Its gradients are as exact as the loss: logits are computed anew for them and compared with kept sums of each row
    and column, so that memory grows with rows and columns and not with their product.
    """
    return _forward(plan, a, b, logits, marks)[0]


def _forward(plan: Plan, a: jax.Array, b: jax.Array, logits: Logits, marks: Marks) -> tuple[jax.Array, Any]:
    def own(a: jax.Array, b: jax.Array, logits: Logits, marks: Marks) -> Any:
        sides = _sides(a, b, marks)
        rows, columns = meet(plan.way, plan.axes, plan.rule, *sides, logits, plan.tile)
        return plan.rule.finish(rows, columns, partial(_total, plan.axes))

    row = P(plan.axes)
    loss, rows, columns = _spread(plan, own, (row, row, P(), row), (P(), row, row))(a, b, logits, marks)
    return loss, (a, b, logits, marks, rows, columns)


def _backward(plan: Plan, kept: Any, cotangent: jax.Array) -> Any:
    def own(a: jax.Array, b: jax.Array, logits: Logits, marks: Marks, rows: Any, columns: Any) -> Any:
        sides = _sides(a, b, marks)
        return tuple(meet_gradients(plan.way, plan.axes, plan.rule, *sides, logits, rows, columns, plan.tile))

    row = P(plan.axes)
    grads = _spread(plan, own, (row, row, P(), row, row, row), (row, row, P()))(*kept)
    a, b = kept[:2]
    of_a, of_b, of_logits = jax.tree.map(lambda g: cotangent * g, grads)
    return of_a.astype(a.dtype), of_b.astype(b.dtype), of_logits, None


blockwise.defvjp(_forward, _backward)


def _spread(plan: Plan, function: Any, inputs: Any, outputs: Any) -> Any:
    """The function on each device's own rows."""
    if not plan.axes:
        return function
    # Loops start from zeros, which vary over no axis yet: the check of varying axes would want them marked.
    return jax.shard_map(function, mesh=plan.mesh, in_specs=inputs, out_specs=outputs, check_vma=False)


def _sides(a: jax.Array, b: jax.Array, marks: Marks) -> tuple[Side, Side]:
    return Side(a, marks.valid_a, marks.group_a), Side(b, marks.valid_b, marks.group_b)


def _total(axes: Axes, x: jax.Array) -> jax.Array:
    return jax.lax.psum(jnp.sum(x), axes) if axes else jnp.sum(x)
