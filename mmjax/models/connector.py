"""What image tokens go through on their way to a decoder."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from mmjax.batch import Stream
from mmjax.models.activations import ACTIVATIONS
from mmjax.models.attention import Attention
from mmjax.models.layers import make_dense
from mmjax.models.mlp import Mlp
from mmjax.models.norms import Norm

EPSILON = 1e-5  # of a resampler's norms


@dataclasses.dataclass(frozen=True)
class Connection:
    """How image tokens reach the decoder.

    Attributes:
      reads: "cross", every block of the decoder attends to them (VisionEncoderDecoder, CapPa); "prefix", they stand
        before the text and all tokens read them (PaliGemma, LLaVA).
      connector: what they go through first: "none", for an encoder as wide as the decoder; a "linear" map; an "mlp" of
        two maps with a GELU between (LLaVA 1.5, Liu et al. 2023); a "resampler" (Flamingo, Alayrac et al. 2022).
      queries, depth: of a resampler, the tokens that it makes of each picture and its blocks.
    """

    reads: Literal["cross", "prefix"] = "cross"
    connector: Literal["none", "linear", "mlp", "resampler"] = "linear"
    queries: int = 64
    depth: int = 2

    def __post_init__(self) -> None:
        if self.queries < 1 or self.depth < 1:
            raise ValueError(f"queries and depth must be at least 1, got {self.queries} and {self.depth}")


class Connector(nn.Module):
    """Tokens of one width to tokens of another.

    Attributes:
      connection: which way.
      width: of the decoder.
      heads: of a resampler's attention.
    """

    connection: Connection
    width: int
    heads: int
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "b n d"], mask: Bool[Array, "b n"]
    ) -> tuple[Float[Array, "b m e"], Bool[Array, "b m"]]:
        """Tokens, and which of them are real: all that a resampler makes of a row with anything in it.

        Raises:
          ValueError: "none" between different widths.
        """
        how = self.connection
        if how.connector == "none" and tokens.shape[-1] != self.width:
            raise ValueError(
                f"connector 'none' needs one width, got image tokens {tokens.shape[-1]} wide and a decoder {self.width}"
            )
        if how.connector == "linear":
            tokens = make_dense(self.width, self.dtype, name="map")(tokens)
        elif how.connector == "mlp":
            hidden = ACTIVATIONS["gelu"](make_dense(self.width, self.dtype, name="up")(tokens))
            tokens = make_dense(self.width, self.dtype, name="down")(hidden)
        elif how.connector == "resampler":
            tokens = make_dense(self.width, self.dtype, name="map")(tokens)
            tokens = Resampler(how.queries, how.depth, self.heads, self.dtype, name="resampler")(tokens, mask)
            mask = jnp.broadcast_to(mask.any(axis=1, keepdims=True), tokens.shape[:2])
        return tokens, mask


class Resampler(nn.Module):
    """Learned queries read all tokens and themselves, block by block, however many tokens there are.

    Each block: q + attention(norm(q), [norm(tokens), norm(q)]), then q + mlp(norm(q)). Source: the "perceiver
    resampler" of Alayrac et al. 2022, whose time embeddings pictures have no use for.
    """

    queries: int
    depth: int
    heads: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, tokens: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b q d"]:
        rows, _, width = tokens.shape
        table = self.param("queries", nn.initializers.normal(width**-0.5), (self.queries, width))
        x = jnp.broadcast_to(jnp.asarray(table), (rows, self.queries, width))
        mask = jnp.concatenate([mask, jnp.ones((rows, self.queries), bool)], axis=1)
        for i in range(self.depth):
            own = Norm("layer", EPSILON, name=f"norm_attention_{i}")(x)
            read = jnp.concatenate([Norm("layer", EPSILON, name=f"norm_tokens_{i}")(tokens), own], axis=1)
            x = x + Attention(self.heads, dtype=self.dtype, name=f"attention_{i}")(own, read, mask)
            x = x + Mlp(4 * width, dtype=self.dtype, name=f"mlp_{i}")(Norm("layer", EPSILON, name=f"norm_mlp_{i}")(x))
        return Norm("layer", EPSILON, name="norm_after")(x)


def shown(stream: Stream, tokens: jax.Array, mask: jax.Array | None) -> Bool[Array, "b n"]:
    """Which tokens `[b, n, d]` of a stream may be read: the real ones of rows that are there."""
    there = jnp.broadcast_to(jnp.asarray(stream.present)[:, None], tokens.shape[:2])
    return there if mask is None else there & mask
