"""Which way of computing a contrastive loss suits its shapes and its devices."""

import logging
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, Mesh
from jaxtyping import Array, Bool, Float, Int

from mmjax.losses.contrastive.blockwise import Marks, Plan, blockwise
from mmjax.losses.contrastive.meeting import Axes
from mmjax.losses.contrastive.tiles import Logits, Rule

log = logging.getLogger(__name__)
Impl = Literal["auto", "dense", "tiled", "gather", "ring"]
ROW_AXES = ("data", "fsdp")
DENSE = 64 << 20  # bytes of all logits that are no trouble
GATHERED = 192 << 20  # bytes of one side's features, of all devices together


class Chosen(NamedTuple):
    """A way that is not "auto", and the mesh axes that rows are split over."""

    impl: Impl
    axes: Axes
    mesh: Mesh | AbstractMesh | None


def choose(
    impl: Impl, a: Float[Array, "n d"], b: Float[Array, "m d"], mesh: Mesh | AbstractMesh | None, name: str
) -> Chosen:
    """What "auto" is here; any other choice is checked against the devices.

    "dense" where the matrix of logits is small, and else "tiled" on one device, "gather" on several while one side fits
    on each of them, "ring" beyond.

    Args:
      mesh: the one in force (`jax.set_mesh`) if None.
      name: of the loss, for the log.

    Raises:
      ValueError: "tiled" for rows that are split over devices.
    """
    mesh = mesh or jax.sharding.get_abstract_mesh()
    axes = tuple(x for x, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if _splits(mesh, x, kind))
    parts = math.prod(mesh.shape[axis] for axis in axes)
    if impl == "tiled" and parts > 1:
        raise ValueError(f"impl 'tiled' is for one device, and rows are split over {parts}; take 'gather' or 'ring'")
    if impl == "auto":
        impl = _automatic(len(a) * len(b) * 4, b.size * b.dtype.itemsize, parts)
        log.info("%s of %d x %d pairs on %d devices: %s", name, len(a), len(b), parts, impl)
    return Chosen("tiled" if parts == 1 and impl in ("gather", "ring") else impl, axes, mesh if axes else None)


def _automatic(logits: int, gathered: int, parts: int) -> Impl:
    if logits <= DENSE:
        return "dense"
    return "tiled" if parts == 1 else "gather" if gathered <= GATHERED else "ring"


def _splits(mesh: Mesh | AbstractMesh, axis: str, kind: AxisType) -> bool:
    return axis in ROW_AXES and mesh.shape[axis] > 1 and kind == AxisType.Auto


def compute(
    rule: Rule,
    chosen: Chosen,
    a: Float[Array, "n d"],
    b: Float[Array, "m d"],
    scale: Float[Array, ""] | float,
    bias: Float[Array, ""] | float | None,
    valid_a: Bool[Array, " n"] | None,
    valid_b: Bool[Array, " m"] | None,
    group_a: Int[Array, " n"] | None,
    group_b: Int[Array, " m"] | None,
    tile: int | None,
) -> Float[Array, ""]:
    """The loss by tiles. Rows that do not divide among the devices are made up with ones that are not valid."""
    assert chosen.impl in ("tiled", "gather", "ring")
    parts = math.prod(chosen.mesh.shape[axis] for axis in chosen.axes) if chosen.mesh else 1
    logits = Logits(jnp.asarray(scale, jnp.float32), jnp.asarray(0.0 if bias is None else bias, jnp.float32))
    valid_a = jnp.ones(len(a), bool) if valid_a is None else valid_a
    valid_b = jnp.ones(len(b), bool) if valid_b is None else valid_b
    if group_a is None or group_b is None:
        group_a, group_b = jnp.arange(len(a)), jnp.arange(len(b))
    marks = Marks(*(_fill(x, parts) for x in (valid_a, valid_b, group_a, group_b)))
    plan = Plan(rule, chosen.impl, chosen.axes, chosen.mesh, tile)
    return blockwise(plan, _fill(a, parts), _fill(b, parts), logits, marks)


def _fill(x: jax.Array, parts: int) -> jax.Array:
    extra = -len(x) % parts
    return jnp.pad(x, [(0, extra)] + [(0, 0)] * (x.ndim - 1)) if extra else x
