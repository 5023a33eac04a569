"""InfoNCE: softmax over the candidates of a batch.

Sources: Oord et al. 2018, eq. 4; in both directions as in CLIP (Radford et al. 2021, figure 3); with several positives
as in Khosla et al. 2020, eq. 2 (the sum over positives outside the logarithm).
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

NONE = -1e30  # a finite stand-in for minus infinity: what has met no valid pair keeps finite values and gradients


def info_nce(
    a: Float[Array, "n d"],
    b: Float[Array, "m d"],
    scale: Float[Array, ""] | float,
    bias: Float[Array, ""] | float | None = None,
    *,
    valid_a: Bool[Array, " n"] | None = None,
    valid_b: Bool[Array, " m"] | None = None,
    group_a: Int[Array, " n"] | None = None,
    group_b: Int[Array, " m"] | None = None,
    target: Float[Array, "n m"] | None = None,
    mesh: Mesh | AbstractMesh | None = None,
    impl: Impl = "auto",
    tile: int | None = None,
) -> Float[Array, ""]:
    """Mean cross-entropy of rows over columns, and of columns over rows, averaged.

    With z_ij = scale * a_i . b_j and P(i) the valid positives of row i:
      loss_i = - mean over p in P(i) of log( exp z_ip / sum over valid j of exp z_ij ).

    Args:
      a, b: L2-normalised features, global arrays in any sharding; `b` may have more rows, which are negatives.
      scale: inverse temperature.
      bias: not used: a constant changes no softmax.
      valid_a, valid_b: False for rows that are neither pairs nor negatives, whatever they hold.
      group_a, group_b: rows of equal group are positives of each other; by default rows of equal place.
      target: in place of groups, a non-negative weight of each pair as a positive. Each row, and each column for the
        other direction, is divided by its sum over valid pairs. As large as the logits, so these are kept too.
      mesh, impl, tile: how it is computed, not what; see `choose`. A tile is so many rows on either side.

    Returns:
      Scalar float32. A row without any valid positive does not count; 0 if none counts.

    Raises:
      ValueError: groups of one side only; a target with an `impl` that never holds a matrix of its size.
    """
    del bias
    check_groups(group_a, group_b)
    if target is not None and impl not in ("auto", "dense"):
        raise ValueError(f"a target is as large as all logits, which impl {impl!r} never holds; take 'dense'")
    chosen = choose(impl, a, b, mesh, "info_nce") if target is None else None
    if chosen and chosen.impl != "dense":
        return compute(InfoNce(), chosen, a, b, scale, None, valid_a, valid_b, group_a, group_b, tile)
    pairs = make_pairs(a, b, valid_a, valid_b, group_a, group_b)
    weight = pairs.positive if target is None else jnp.where(pairs.both, target, 0.0)
    logits, weight = scale * pairs.cosine, weight.astype(jnp.float32)
    return (_one_way(logits, weight, pairs.both, 1) + _one_way(logits, weight, pairs.both, 0)) / 2


def _one_way(
    logits: Float[Array, "n m"], weight: Float[Array, "n m"], both: Bool[Array, "n m"], axis: int
) -> Float[Array, ""]:
    """Cross-entropy of softmaxes along an axis with their normalised weights, mean over those that have any weight."""
    log_softmax = jax.nn.log_softmax(jnp.where(both, logits, NONE), axis=axis)
    total = weight.sum(axis=axis)
    share = weight / jnp.expand_dims(jnp.where(total > 0, total, 1.0), axis)
    return mean_where(-jnp.sum(jnp.where(share > 0, share * log_softmax, 0.0), axis=axis), total > 0)


class Met(NamedTuple):
    """What a row knows of the columns that it has met, `[n]` float32 each.

    Attributes:
      top: the largest logit.
      total: sum of exp(logit - top). Without the largest taken off it overflows from a scale of 89 on.
      near: sum of the positives' logits.
      positives: how many.
    """

    top: jax.Array
    total: jax.Array
    near: jax.Array
    positives: jax.Array


class Pull(NamedTuple):
    """What a row must know for its gradient, `[n]` float32 each.

    Attributes:
      top: the largest logit.
      weight: of the row in the loss, over the sum of exp(logit - top) of all columns.
      share: of each of its positives in the row's weight.
    """

    top: jax.Array
    weight: jax.Array
    share: jax.Array


@dataclasses.dataclass(frozen=True)
class InfoNce:
    """InfoNCE as a `tiles.Rule`."""

    def empty(self, rows: int, columns: int) -> tuple[Met, Met]:
        return _nobody(rows), _nobody(columns)

    def statistics(self, tile: Tile) -> tuple[Met, Met]:
        return _meet(tile.logit, tile.both, tile.positive, 1), _meet(tile.logit, tile.both, tile.positive, 0)

    def merge(self, one: Met, other: Met) -> Met:
        top = jnp.maximum(one.top, other.top)
        total = one.total * jnp.exp(one.top - top) + other.total * jnp.exp(other.top - top)
        return Met(top, total, one.near + other.near, one.positives + other.positives)

    def merge_devices(self, statistics: Met, axes: tuple[str, ...]) -> Met:
        top = jax.lax.pmax(statistics.top, axes)
        total = statistics.total * jnp.exp(statistics.top - top)
        return Met(top, *jax.lax.psum((total, statistics.near, statistics.positives), axes))

    def finish(
        self, rows: Met, columns: Met, total: Callable[[jax.Array], jax.Array]
    ) -> tuple[Float[Array, ""], Pull, Pull]:
        (loss_a, pull_a), (loss_b, pull_b) = _finish(rows, total), _finish(columns, total)
        return loss_a + loss_b, pull_a, pull_b

    def slope(self, tile: Tile, rows: Pull, columns: Pull) -> Float[Array, "n m"]:
        rows, columns = Pull(*(x[:, None] for x in rows)), Pull(*(x[None, :] for x in columns))
        # Not exp(logit - log of the sum): at a scale of 1000 that logarithm is rounded to 6e-5.
        chosen = rows.weight * jnp.exp(jnp.where(tile.both, tile.logit - rows.top, NONE))
        chosen += columns.weight * jnp.exp(jnp.where(tile.both, tile.logit - columns.top, NONE))
        return chosen - jnp.where(tile.positive, rows.share + columns.share, 0.0)


def _nobody(rows: int) -> Met:
    zero = jnp.zeros(rows, jnp.float32)
    return Met(zero + NONE, zero, zero, zero)


def _meet(logits: Float[Array, "n m"], both: Bool[Array, "n m"], positive: Bool[Array, "n m"], axis: int) -> Met:
    top = jnp.max(jnp.where(both, logits, NONE), axis=axis)
    total = jnp.sum(jnp.where(both, jnp.exp(logits - jnp.expand_dims(top, axis)), 0.0), axis=axis)
    near = jnp.sum(jnp.where(positive, logits, 0.0), axis=axis)
    return Met(top, total, near, jnp.sum(positive, axis=axis, dtype=jnp.float32))


def _finish(met: Met, total: Callable[[jax.Array], jax.Array]) -> tuple[Float[Array, ""], Pull]:
    """Half of the mean over the rows that have any positive."""
    counts, count = met.positives > 0, jnp.maximum(met.positives, 1.0)
    sum_exp = jnp.where(counts, met.total, 1.0)
    weight = jnp.where(counts, 0.5, 0.0) / jnp.maximum(total(counts.astype(jnp.float32)), 1.0)
    loss = total(weight * jnp.where(counts, met.top - met.near / count + jnp.log(sum_exp), 0.0))
    return loss, Pull(met.top, weight / sum_exp, weight / count)
