"""What a decoder has read: keys and values of every block, which the next token reads instead of computing them."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int


@struct.dataclass
class Reads:
    """Who may read whom.

    Attributes:
      allowed: which slot each query reads.
      first: the slot of the first query; the others follow it.
    """

    allowed: Bool[Array, "b 1 n m"]
    first: Int[Array, ""]


def reads_of_text(real: Bool[Array, "b n"], free: Bool[Array, "b n"]) -> Reads:
    """Of tokens in their order: each reads the real ones up to itself, and all that are free.

    Args:
      real: which tokens are no padding, which nobody reads.
      free: which are read by all tokens, also those before them: a prefix such as an image.
    """
    slots = jnp.arange(real.shape[1])
    before = slots <= slots[:, None]
    return Reads((real[:, None] & (before | free[:, None]))[:, None], jnp.int32(0))


@struct.dataclass
class KeyValues:
    """Of one block, in the order in which matmuls read them. With a leading axis, of all blocks."""

    key: Float[Array, "*depth b heads dim m"]
    value: Float[Array, "*depth b heads m dim"]

    def extend(self, new: "KeyValues", first: Int[Array, ""]) -> "KeyValues":
        """With new ones from the slot `first` on; under jit the arrays are changed where they lie."""

        def put(old: jax.Array, new: jax.Array, axis: int) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), first, axis)

        return KeyValues(put(self.key, new.key, -1), put(self.value, new.value, -2))

    def widen(self, more: int) -> "KeyValues":
        """With so many slots more."""
        return KeyValues(_pad(self.key, -1, more), _pad(self.value, -2, more))


Known = tuple[KeyValues, ...]  # one of each block, or a single one, of all of them


@struct.dataclass
class Cache:
    """All that a decoder goes on from.

    Beams of a row share its slots: what they have in common is held once, each new token takes a slot of its own, and
    a beam is the slots that it reads. So beams change places by a table of bools, and no key moves.

    Attributes:
      blocks: of the tokens that were read.
      context: of what cross-attention reads, computed once; None for a decoder without it.
      context_mask: which of it is real.
      real: which slots each beam reads; a fresh cache has one beam.
      filled: slots in use; the next tokens, one of each beam, take those from here on.
      prompt: how many of them were in use at first.
    """

    blocks: Known
    context: Known | None
    context_mask: Bool[Array, "b c"] | None
    real: Bool[Array, "b k m"]
    filled: Int[Array, ""]
    prompt: int = struct.field(pytree_node=False)

    def widen(self, more: int) -> "Cache":
        """With so many slots more."""
        blocks = tuple(kv.widen(more) for kv in self.blocks)
        return dataclasses.replace(self, blocks=blocks, real=_pad(self.real, -1, more))

    def take(self, index: Int[Array, "b j"]) -> "Cache":
        """These beams of each row, in this order; one may be taken several times.

        More beams than there were get more slots, as many for each as the cache had behind the prompt; that is for a
        fresh cache.
        """
        real = jnp.take_along_axis(self.real, index[:, :, None], axis=1)
        beams, slots = self.real.shape[1:]
        more = (index.shape[1] - beams) * (slots - self.prompt) // beams
        return dataclasses.replace(self, real=real).widen(more)


def _pad(x: jax.Array, axis: int, more: int) -> jax.Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, more)
    return jnp.pad(x, widths) if more else x
