"""InfoNCE: softmax over the candidates of a batch.

Sources: Oord et al. 2018, eq. 4; in both directions as in CLIP (Radford et al. 2021, figure 3); with several positives
as in Khosla et al. 2020, eq. 2 (the sum over positives outside the logarithm).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.losses.pairs import make_pairs, mean_where


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
        other direction, is divided by its sum over valid pairs.

    Returns:
      Scalar float32. A row without any valid positive does not count; 0 if none counts.
    """
    del bias
    pairs = make_pairs(a, b, valid_a, valid_b, group_a, group_b)
    weight = pairs.positive if target is None else jnp.where(pairs.both, target, 0.0)
    logits, weight = scale * pairs.cosine, weight.astype(jnp.float32)
    return (_one_way(logits, weight, pairs.both) + _one_way(logits.T, weight.T, pairs.both.T)) / 2


def _one_way(logits: Float[Array, "n m"], weight: Float[Array, "n m"], both: Bool[Array, "n m"]) -> Float[Array, ""]:
    """Cross-entropy of each row's softmax with its normalised weights, mean over the rows that have any weight."""
    # A finite stand-in for minus infinity: a row with no valid column then has a finite value and gradient.
    log_softmax = jax.nn.log_softmax(jnp.where(both, logits, -1e30), axis=1)
    total = weight.sum(axis=1)
    share = weight / jnp.where(total > 0, total, 1.0)[:, None]
    return mean_where(-jnp.sum(jnp.where(share > 0, share * log_softmax, 0.0), axis=1), total > 0)
