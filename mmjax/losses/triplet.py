"""Triplet loss: a positive is more similar than any negative, by a margin.

Source: Faghri et al. 2018, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", eq. 5 and 6.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.losses.pairs import Pairs, make_pairs, mean_where


def triplet(
    a: Float[Array, "n d"],
    b: Float[Array, "m d"],
    scale: Float[Array, ""] | float | None = None,
    bias: Float[Array, ""] | float | None = None,
    *,
    valid_a: Bool[Array, " n"] | None = None,
    valid_b: Bool[Array, " m"] | None = None,
    group_a: Int[Array, " n"] | None = None,
    group_b: Int[Array, " m"] | None = None,
    margin: float = 0.2,
    mining: Literal["hard", "all"] = "hard",
) -> Float[Array, ""]:
    """Mean hinge of rows against columns plus mean hinge of columns against rows.

    With s_ij = a_i . b_j, p the least similar positive of row i (its only one by default) and N(i) its negatives:
      "hard": loss_i = max over j in N(i) of max(0, margin + s_ij - s_ip);
      "all":  loss_i = sum over j in N(i) of max(0, margin + s_ij - s_ip).

    Args:
      a, b: L2-normalised features, global arrays in any sharding; `b` may have more rows, which are negatives.
      scale, bias: not used: cosines are compared as they are.
      valid_a, valid_b: False for rows that are neither pairs nor negatives, whatever they hold.
      group_a, group_b: rows of equal group are positives of each other; by default rows of equal place.
      margin: by how much cosines have to differ.
      mining: "hard" learns from each row's hardest negative alone, which VSE++ found to retrieve better; early in
        training, or with noisy pairs, "all" is steadier.

    Returns:
      Scalar float32. A row without any valid positive does not count; 0 if none counts.
    """
    del scale, bias
    pairs = make_pairs(a, b, valid_a, valid_b, group_a, group_b)
    return _one_way(pairs, margin, mining) + _one_way(pairs.T, margin, mining)


def _one_way(pairs: Pairs, margin: float, mining: Literal["hard", "all"]) -> Float[Array, ""]:
    # Cosines end at 1, so 2 is past every positive.
    positive = jnp.min(jnp.where(pairs.positive, pairs.cosine, 2.0), axis=1, keepdims=True)
    hinge = jnp.maximum(margin + pairs.cosine - positive, 0.0)
    hinge = jnp.where(pairs.both & ~pairs.positive, hinge, 0.0)
    per_row = hinge.max(axis=1) if mining == "hard" else hinge.sum(axis=1)
    return mean_where(per_row, pairs.positive.any(axis=1))
