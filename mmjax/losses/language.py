"""The loss of a language model: how surprised it is by every next token."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def cross_entropy(
    logits: Float[Array, "b n v"], target: Int[Array, "b n"], mask: Bool[Array, "b n"], smoothing: float = 0.0
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sum over real tokens of -log p(target), in nats, and how many there are; both float32, so that batches add up.

    Args:
      mask: which targets are real; what the others and their logits hold changes nothing, NaN included.
      smoothing: share of each target that is spread evenly over the vocabulary (Szegedy et al. 2016).
    """
    # Before anything is computed: a NaN that is only dropped afterwards still reaches the gradient.
    logits = jnp.where(mask[..., None], logits.astype(jnp.float32), 0)
    all_of_them = jax.nn.logsumexp(logits, axis=-1)
    wanted = jnp.take_along_axis(logits, jnp.where(mask, target, 0)[..., None], axis=-1)[..., 0]
    each = all_of_them - (1 - smoothing) * wanted
    if smoothing:
        each = each - smoothing * logits.mean(axis=-1)
    return jnp.where(mask, each, 0).sum(), mask.sum(dtype=jnp.float32)
