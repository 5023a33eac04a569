"""The upper half of CoCa's text decoder: text that has read itself reads the picture, block by block."""

import jax
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from mmjax.models.activations import Activation
from mmjax.models.cache import KeyValues, Known, Reads
from mmjax.models.decoder_block import DecoderBlock, DecoderOptions, GroupedAttention
from mmjax.models.layers import make_dense, pin
from mmjax.models.mlp import Mlp
from mmjax.models.norms import Norm, NormKind


class MultimodalDecoder(nn.Module):
    """Causal blocks, each followed by one that reads the picture, then logits (Yu et al. 2022; open_clip's).

    Its tokens are vectors already and have their positions: those of a text tower without its last norm.
    Parameters are `blocks_0/...`, `cross_0/...`, ..., `norm_after` and `head/kernel`.

    Attributes:
      depth: pairs of blocks.
      heads, mlp_dim: of each block.
      width, vocabulary: as of the text tower.
      activation, norm, epsilon, dropout, dtype: see `DecoderOptions`.
    """

    depth: int
    heads: int
    mlp_dim: int
    width: int
    vocabulary: int
    activation: Activation = "gelu"
    norm: NormKind = "layer"
    epsilon: float = 1e-6
    dropout: float = 0.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(f"the decoder is {self.width} wide, which does not divide into {self.heads} heads")

    def setup(self) -> None:
        options = DecoderOptions(
            width=self.width,
            heads=self.heads,
            kv_heads=self.heads,
            head_dim=self.width // self.heads,
            mlp_dim=self.mlp_dim,
            activation=self.activation,
            norm=self.norm,
            epsilon=self.epsilon,
            dropout=self.dropout,
            dtype=self.dtype,
        )
        self.blocks = [DecoderBlock(options) for _ in range(self.depth)]
        self.cross = [CrossBlock(options) for _ in range(self.depth)]
        self.norm_after = Norm(self.norm, self.epsilon)
        self.head = make_dense(self.vocabulary, self.dtype, bias=False)

    def __call__(
        self,
        x: Float[Array, "b n d"],
        reads: Reads,
        context: Known,
        context_mask: Bool[Array, "b c"] | None = None,
        cached: Known | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "b n d"], Known]:
        """Tokens to what `logits` reads, and keys and values of each causal block.

        Args:
          reads: which tokens each one reads, those that are cached included.
          context: of the picture, see `read_context`.
          cached: of the tokens before, one of each block; None where these are the first.
        """
        known = []
        for index, (block, cross) in enumerate(zip(self.blocks, self.cross, strict=True)):
            x, own = block(pin(x), reads, cached=None if cached is None else cached[index], train=train)
            x = cross(x, context[index], context_mask, train)
            known.append(jax.tree.map(pin, own))
        return self.norm_after(x), tuple(known)

    def read_context(self, context: Float[Array, "b c d"]) -> Known:
        """Keys and values of the picture's tokens, for each block."""
        return tuple(cross.read_context(context) for cross in self.cross)

    def logits(self, x: Float[Array, "b n d"]) -> Float[Array, "b n v"]:
        """Of what a call gives, or of some of it, float32."""
        return self.head(x).astype("float32")


class CrossBlock(nn.Module):
    """x + attention(norm(x), norm(context)), then x + mlp(norm(x)): the picture has a norm in each block."""

    options: DecoderOptions

    def setup(self) -> None:
        o = self.options
        self.norm_attention = Norm(o.norm, o.epsilon)
        self.norm_context = Norm(o.norm, o.epsilon)
        self.attention = GroupedAttention(o)
        self.norm_mlp = Norm(o.norm, o.epsilon)
        self.mlp = Mlp(o.mlp_dim, o.activation, o.bias, o.dtype)
        self.drop = nn.Dropout(o.dropout)

    def __call__(
        self,
        x: Float[Array, "b n d"],
        context: KeyValues,
        context_mask: Bool[Array, "b c"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b n d"]:
        """Tokens to tokens; `context` is what `read_context` made of the picture."""
        allowed = None if context_mask is None else context_mask[:, None, None]
        x = x + self.drop(self.attention(self.norm_attention(x), context, allowed), deterministic=not train)
        return x + self.drop(self.mlp(self.norm_mlp(x)), deterministic=not train)

    def read_context(self, context: Float[Array, "b c d"]) -> KeyValues:
        """Keys and values of the picture's tokens."""
        return self.attention.keys_values(self.norm_context(context))
