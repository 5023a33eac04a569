"""What every encoder hands on: a row of tokens per example, and one vector that stands for it."""

import jax
from flax import struct


@struct.dataclass
class Encoded:
    """One encoded stream of a batch.

    Attributes:
      tokens: `[b, n, d]`, after the encoder's final norm once `pool` has run.
      mask: bool `[b, n]`, which tokens others may read; None where all are real.
      position: int32 `[b, n]` (text) or `[b, n, 2]` (row and column of a patch, from 1; the class token is at 0, 0).
      pool_at: int32 `[b]`, the token that `pool` takes; None for rules that mix tokens.
      pooled: `[b, d]`; None before `pool`.
    """

    tokens: jax.Array
    mask: jax.Array | None = None
    position: jax.Array | None = None
    pool_at: jax.Array | None = None
    pooled: jax.Array | None = None
