"""Sigmoid loss: every pair a yes-or-no question.

Source: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", eq. 1 and algorithm 1.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh
from jaxtyping import Array, Bool, Float, Int

from mmjax.losses.contrastive.choose import Impl, choose, compute
from mmjax.losses.contrastive.tiles import Tile
from mmjax.losses.pairs import check_groups, make_pairs, mean_where


def sigmoid(
    a: Float[Array, "n d"],
    b: Float[Array, "m d"],
    scale: Float[Array, ""] | float,
    bias: Float[Array, ""] | float | None = None,
    *,
    valid_a: Bool[Array, " n"] | None = None,
    valid_b: Bool[Array, " m"] | None = None,
    group_a: Int[Array, " n"] | None = None,
    group_b: Int[Array, " m"] | None = None,
    mesh: Mesh | AbstractMesh | None = None,
    impl: Impl = "auto",
    tile: int | None = None,
) -> Float[Array, ""]:
    """Mean over rows i of `a` of: sum over valid j of -log sigmoid(y_ij (scale * a_i . b_j + bias)).

    y_ij is +1 where the groups of i and j are equal, else -1.

    Args:
      a, b: L2-normalised features, global arrays in any sharding; `b` may have more rows, which are negatives.
      scale, bias: 10 and -10 at the start in SigLIP: nearly all pairs are negatives. No bias is a bias of 0.
      valid_a, valid_b: False for rows that are neither pairs nor negatives, whatever they hold.
      group_a, group_b: rows of equal group are positives of each other; by default rows of equal place.
      mesh, impl, tile: how it is computed, not what; see `choose`. A tile is so many rows on either side.

    Returns:
      Scalar float32. A row of `a` without any valid positive does not count; 0 if none counts.

    Raises:
      ValueError: groups of one side only.
    """
    check_groups(group_a, group_b)
    chosen = choose(impl, a, b, mesh, "sigmoid")
    if chosen.impl != "dense":
        return compute(Sigmoid(), chosen, a, b, scale, bias, valid_a, valid_b, group_a, group_b, tile)
    pairs = make_pairs(a, b, valid_a, valid_b, group_a, group_b)
    logits = scale * pairs.cosine + (0.0 if bias is None else bias)
    terms = -jax.nn.log_sigmoid(jnp.where(pairs.positive, logits, -logits))
    return mean_where(jnp.sum(jnp.where(pairs.both, terms, 0.0), axis=1), pairs.positive.any(axis=1))


class Met(NamedTuple):
    """What a row knows of the columns that it has met, `[n]` float32 each: their cost, and how many positives."""

    cost: jax.Array
    positives: jax.Array


@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """The sigmoid loss as a `tiles.Rule`: every pair is judged by itself, so columns need know nothing."""

    def empty(self, rows: int, columns: int) -> tuple[Met, tuple[()]]:
        return Met(jnp.zeros(rows, jnp.float32), jnp.zeros(rows, jnp.float32)), ()

    def statistics(self, tile: Tile) -> tuple[Met, tuple[()]]:
        cost = jax.nn.softplus(jnp.where(tile.positive, -tile.logit, tile.logit))
        count = jnp.sum(tile.positive, axis=1, dtype=jnp.float32)
        return Met(jnp.sum(jnp.where(tile.both, cost, 0.0), axis=1), count), ()

    def merge(self, one: Met | tuple[()], other: Met | tuple[()]) -> Met | tuple[()]:
        return jax.tree.map(jnp.add, one, other)

    def merge_devices(self, statistics: Met | tuple[()], axes: tuple[str, ...]) -> Met | tuple[()]:
        return jax.lax.psum(statistics, axes)

    def finish(
        self, rows: Met, columns: tuple[()], total: Callable[[jax.Array], jax.Array]
    ) -> tuple[Float[Array, ""], Float[Array, " n"], tuple[()]]:
        counts = (rows.positives > 0).astype(jnp.float32)
        weight = counts / jnp.maximum(total(counts), 1.0)
        return total(weight * rows.cost), weight, ()

    def slope(self, tile: Tile, rows: Float[Array, " n"], columns: tuple[()]) -> Float[Array, "n m"]:
        del columns
        # For a positive, sigmoid(z) - 1 would lose its digits as z grows.
        slope = jnp.where(tile.positive, -jax.nn.sigmoid(-tile.logit), jax.nn.sigmoid(tile.logit))
        return jnp.where(tile.both, rows[:, None] * slope, 0.0)
