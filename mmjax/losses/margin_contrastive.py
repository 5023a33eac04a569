"""Margin contrastive loss: pull pairs together, push everything else past a margin.

Source: Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, eq. 4 (without
its factors of one half), with every non-pair of the batch as a negative.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.losses.pairs import make_pairs, mean_where


def margin_contrastive(
    a: Float[Array, "n d"],
    b: Float[Array, "m d"],
    scale: Float[Array, ""] | float | None = None,
    bias: Float[Array, ""] | float | None = None,
    *,
    valid_a: Bool[Array, " n"] | None = None,
    valid_b: Bool[Array, " m"] | None = None,
    group_a: Int[Array, " n"] | None = None,
    group_b: Int[Array, " m"] | None = None,
    margin: float = 1.0,
) -> Float[Array, ""]:
    """Mean of d_ij^2 over positives plus mean of max(0, margin - d_ij)^2 over the other pairs; d_ij = |a_i - b_j|.

    Args:
      a, b: L2-normalised features, global arrays in any sharding; `b` may have more rows, which are negatives.
      scale, bias: not used: distances have a scale of their own.
      valid_a, valid_b: False for rows that are neither pairs nor negatives, whatever they hold.
      group_a, group_b: rows of equal group are positives of each other; by default rows of equal place.
      margin: distance beyond which a non-pair costs nothing; distances lie in [0, 2].

    Returns:
      Scalar float32. Pairs of a row of `a` without any valid positive do not count; 0 if none counts.
    """
    del scale, bias
    pairs = make_pairs(a, b, valid_a, valid_b, group_a, group_b)
    # Squared distance of unit vectors from their cosine; the clamp keeps rounding from going below zero.
    squared = jnp.maximum(2.0 - 2.0 * pairs.cosine, 0.0)
    # The root has no derivative at 0: those entries take another value's root, which is then not used.
    distance = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)
    shortfall = jnp.square(jnp.maximum(margin - distance, 0.0))
    others = pairs.both & ~pairs.positive & pairs.positive.any(axis=1, keepdims=True)
    return mean_where(squared, pairs.positive) + mean_where(shortfall, others)
