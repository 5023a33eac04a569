"""Sigmoid loss: every pair a yes-or-no question.

Source: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", eq. 1 and algorithm 1.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.losses.pairs import make_pairs, mean_where


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
) -> Float[Array, ""]:
    """Mean over rows i of `a` of: sum over valid j of -log sigmoid(y_ij (scale * a_i . b_j + bias)).

    y_ij is +1 where the groups of i and j are equal, else -1.

    Args:
      a, b: L2-normalised features, global arrays in any sharding; `b` may have more rows, which are negatives.
      scale, bias: 10 and -10 at the start in SigLIP: nearly all pairs are negatives. No bias is a bias of 0.
      valid_a, valid_b: False for rows that are neither pairs nor negatives, whatever they hold.
      group_a, group_b: rows of equal group are positives of each other; by default rows of equal place.

    Returns:
      Scalar float32. A row of `a` without any valid positive does not count; 0 if none counts.
    """
    pairs = make_pairs(a, b, valid_a, valid_b, group_a, group_b)
    logits = scale * pairs.cosine + (0.0 if bias is None else bias)
    terms = -jax.nn.log_sigmoid(jnp.where(pairs.positive, logits, -logits))
    return mean_where(jnp.sum(jnp.where(pairs.both, terms, 0.0), axis=1), pairs.positive.any(axis=1))
