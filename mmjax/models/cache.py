"""What a decoder has read: keys and values of every block, which the next token reads instead of computing them."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int


@struct.dataclass
class Reads:
    """Who may read whom.

    Attributes:
      real: which slots hold a token; padding is read by nobody.
      free: which slots are read by all tokens, also those before them: a prefix such as an image.
      first: the slot of the first query.
    """

    real: Bool[Array, "b m"]
    free: Bool[Array, "b m"]
    first: Int[Array, ""]

    def allowed(self, queries: int) -> Bool[Array, "b 1 n m"]:
        """Which slot each query reads: real ones, before it or free."""
        slots = jnp.arange(self.real.shape[1])
        before = slots <= self.first + jnp.arange(queries)[:, None]
        return (self.real[:, None] & (before | self.free[:, None]))[:, None]


@struct.dataclass
class KeyValues:
    """Of one block, or of all with a leading axis."""

    key: Float[Array, "*depth b m heads dim"]
    value: Float[Array, "*depth b m heads dim"]

    def extend(self, new: "KeyValues", first: Int[Array, ""]) -> "KeyValues":
        """With new ones from the slot `first` on."""

        def put(old: jax.Array, new: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), first, axis=-3)

        return KeyValues(put(self.key, new.key), put(self.value, new.value))


@struct.dataclass
class Cache:
    """All that a decoder goes on from.

    Attributes:
      blocks: of the tokens that were read, `[depth, b, m, heads, dim]`.
      context: of what cross-attention reads, computed once; None for a decoder without it.
      context_mask: which of it is real.
      real, free: see `Reads`.
      filled: slots in use; the next token takes this one, in every row.
    """

    blocks: KeyValues
    context: KeyValues | None
    context_mask: Bool[Array, "b c"] | None
    real: Bool[Array, "b m"]
    free: Bool[Array, "b m"]
    filled: Int[Array, ""]

    def take(self, rows: Int[Array, " k"]) -> "Cache":
        """These rows of it, in this order; one may be taken several times, as beams do."""

        blocks, context = jax.tree.map(lambda a: jnp.take(a, rows, axis=1), (self.blocks, self.context))
        mask = None if self.context_mask is None else self.context_mask[rows]
        return Cache(blocks, context, mask, self.real[rows], self.free[rows], self.filled)
