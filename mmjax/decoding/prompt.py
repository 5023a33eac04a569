"""What a search for the next tokens starts from, what it calls, and what it gives."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import struct
from jaxtyping import Array, Bool, Float, Int

# One more token of each beam of each row, to the logits behind it and the cache with it: `Decoder.step`. Parameters are
# arguments of the compiled program where it is a `jax.tree_util.Partial` of them.
Step = Callable[[Int[Array, " bk"], Any], tuple[Float[Array, "bk v"], Any]]

# A cache with these beams of each row in this order: `Cache.take`.
Take = Callable[[Any, Int[Array, "b k"]], Any]


@struct.dataclass
class Prompt:
    """What rows hold before the first new token.

    Attributes:
      logits: behind the last real token of each row.
      cache: what `Step` goes on from; it has room for all new tokens.
      ids, mask: what the rules that look back see, and which of it is real; prompts may differ in length.
    """

    logits: Float[Array, "b v"]
    cache: Any
    ids: Int[Array, "b p"]
    mask: Bool[Array, "b p"]


class Generated(NamedTuple):
    """What came out.

    Attributes:
      ids: new tokens; padding behind the one that ends a row.
      mask: which of them are real, the end included.
      logprobs: of each under the model's own distribution, before any rule or temperature; 0 for padding.
      score: of each row: their sum; of beams what they were ranked by, see `Decoding.length_penalty`.
    """

    ids: Int[Array, "b n"]
    mask: Bool[Array, "b n"]
    logprobs: Float[Array, "b n"]
    score: Float[Array, " b"]
