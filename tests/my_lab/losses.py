"""A loss: a pure function of two sets of features."""

import jax.numpy as jnp


def squared_distance(
    a, b, scale, bias=None, *, valid_a=None, valid_b=None, group_a=None, group_b=None, weight: float = 1.0
):
    """Mean squared distance of the pairs: it collapses, but it shows the signature."""
    del scale, bias, group_a, group_b
    both = valid_a & valid_b
    distance = jnp.where(both[:, None], a - b, 0.0)
    return weight * jnp.sum(distance**2) / jnp.maximum(both.sum(), 1)
