"""What the contrastive losses share: which pairs are positives, which count, and their similarities."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int


@struct.dataclass
class Pairs:
    """All pairs of a row of `a` with a row of `b`.

    Attributes:
      cosine: `[n, m]` float32 dot products; 0 where a row is not valid.
      both: bool `[n, m]`, both rows are valid.
      positive: bool `[n, m]`, valid pairs that belong together.
    """

    cosine: jax.Array
    both: jax.Array
    positive: jax.Array

    @property
    def T(self) -> "Pairs":
        """The same pairs seen from `b`."""
        return Pairs(self.cosine.T, self.both.T, self.positive.T)


def make_pairs(
    a: Float[Array, "n d"],
    b: Float[Array, "m d"],
    valid_a: Bool[Array, " n"] | None,
    valid_b: Bool[Array, " m"] | None,
    group_a: Int[Array, " n"] | None,
    group_b: Int[Array, " m"] | None,
) -> Pairs:
    """Compares every row of `a` with every row of `b`.

    Rows are valid by default, and each is its own group: row i of `a` belongs with row i of `b`.

    Raises:
      ValueError: groups of one side only.
    """
    check_groups(group_a, group_b)
    valid_a = jnp.ones(len(a), bool) if valid_a is None else valid_a
    valid_b = jnp.ones(len(b), bool) if valid_b is None else valid_b
    if group_a is None or group_b is None:
        group_a, group_b = jnp.arange(len(a)), jnp.arange(len(b))
    # An invalid row may hold NaN, and 0 * NaN is NaN in the gradient: take it out before the matmul, not after.
    a = jnp.where(valid_a[:, None], a.astype(jnp.float32), 0.0)
    b = jnp.where(valid_b[:, None], b.astype(jnp.float32), 0.0)
    both = valid_a[:, None] & valid_b[None, :]
    cosine = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    return Pairs(cosine, both, both & (group_a[:, None] == group_b[None, :]))


def check_groups(group_a: Int[Array, " n"] | None, group_b: Int[Array, " m"] | None) -> None:
    """Raises ValueError for groups of one side only."""
    if (group_a is None) != (group_b is None):
        raise ValueError("give group_a and group_b, or neither")


def mean_where(values: Float[Array, "*shape"], where: Bool[Array, "*shape"]) -> Float[Array, ""]:
    """Mean over the chosen entries; 0 if there are none."""
    return jnp.sum(jnp.where(where, values, 0.0)) / jnp.maximum(jnp.sum(where), 1).astype(jnp.float32)
