"""What encoders have in common: a size, the options of their blocks, and the three steps embed, blocks, pool."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.batch import Stream
from mmjax.models.activations import Activation
from mmjax.models.attention import Implementation
from mmjax.models.encoded import Encoded
from mmjax.models.encoders.sizes import Size, resolve_size
from mmjax.models.layers import make_dense
from mmjax.models.norms import Norm, NormKind
from mmjax.models.positions import Positions, rotary_angles
from mmjax.models.remat import Remat
from mmjax.models.transformer import BlockOptions, Transformer


class Encoder(nn.Module):
    """Base of the image and the text encoder. Calling it runs `embed`, all `blocks` and `pool`.

    Attributes:
      size: name in `SIZES`; or give `width` and `depth`, and `heads` and `mlp_dim` if not width / 64 and 4 width.
      positions: "learned" and "sincos" are added to the tokens; "rotary" turns queries and keys; "none".
      activation, norm_first, norm, epsilon, qkv_bias, bias, qk_norm, layer_scale, dropout, attention: see
        `BlockOptions`.
      drop_path, scan, remat: see `Transformer`.
      pre_norm: a norm before the first block, as in CLIP's image tower and in BERT.
      final_norm: a norm after the last block, before pooling.
      head: what the pooled vector goes through: "tanh", a linear map and a tanh, as in BERT's and ViT's "pooler".
      dtype: of the matmuls and of the activations between blocks; parameters, norms and softmax are float32.
    """

    size: str | None = None
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    mlp_dim: int | None = None
    positions: Positions = "learned"
    activation: Activation = "gelu"
    norm_first: bool = True
    norm: NormKind = "layer"
    epsilon: float = 1e-6
    qkv_bias: bool = True
    bias: bool = True
    qk_norm: bool = False
    layer_scale: float | None = None
    dropout: float = 0.0
    drop_path: float = 0.0
    pre_norm: bool = False
    final_norm: bool = True
    head: Literal["none", "tanh"] = "none"
    scan: bool = False
    remat: Remat = "none"
    attention: Implementation = "auto"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dimensions  # noqa: B018  # a wrong size is refused where it is written, not at the first batch

    @property
    def dimensions(self) -> Size:
        """Width, depth, heads and MLP width, by name or as given."""
        return resolve_size(self.size, self.width, self.depth, self.heads, self.mlp_dim)

    causal = False

    def setup(self) -> None:
        size = self.dimensions
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(BlockOptions) if hasattr(self, f.name)}
        self.options = BlockOptions(**own | {"heads": size.heads, "mlp_dim": size.mlp_dim})
        self.transformer = Transformer(self.options, size.depth, self.drop_path, self.scan, self.remat)
        self.dropout_tokens = nn.Dropout(self.dropout)
        self.norm_before = Norm(self.norm, self.epsilon) if self.pre_norm else None
        self.norm_after = Norm(self.norm, self.epsilon) if self.final_norm else None
        self.head_map = make_dense(size.width, "float32", name="head") if self.head == "tanh" else None

    def __call__(self, stream: Stream, train: bool = False) -> Encoded:
        return self.pool(self.blocks(self.embed(stream, train), train=train))

    def vector(self, stream: Stream, train: bool = False) -> Float[Array, "b d"]:
        """What a call gives as `pooled`, without the tokens of the last block that pooling does not read.

        While intermediates are watched, the last block shows all of its tokens.
        """
        read = None if self.is_mutable_collection("intermediates") else self.pooled_tokens
        pooled = self.pool(self.blocks(self.embed(stream, train), train=train, read=read)).pooled
        assert pooled is not None  # `pool` fills it
        return pooled

    @property
    def pooled_tokens(self) -> int | None:
        """How many tokens, the first of them, `pool` reads; None for all."""
        return None

    def embed(self, stream: Stream, train: bool = False) -> Encoded:
        """Tokens `[b, n, d]` as the first block reads them. Rows that are not present come out finite."""
        raise NotImplementedError

    def blocks(
        self,
        encoded: Encoded,
        first: int = 0,
        last: int | None = None,
        train: bool = False,
        read: int | None = None,
    ) -> Encoded:
        """Runs blocks `first` up to and without `last`, so that others can step in between; `read`: `Transformer`."""
        angles = None
        if self.positions == "rotary":
            assert encoded.position is not None
            angles = rotary_angles(encoded.position, self.dimensions.width // self.dimensions.heads)
        mask = self.attention_mask(encoded)
        tokens = self.transformer(encoded.tokens, mask, angles, first, last, train, read)
        return dataclasses.replace(encoded, tokens=tokens)

    def attention_mask(self, encoded: Encoded) -> jax.Array | None:
        """Which tokens the blocks may read, `[b, n]`; None for all."""
        return encoded.mask

    def pool(self, encoded: Encoded) -> Encoded:
        """Norms the tokens and fills `pooled`."""
        raise NotImplementedError

    def enter(self, tokens: jax.Array, train: bool) -> jax.Array:
        """What all tokens go through before the first block: dropout, norm, compute dtype."""
        tokens = self.dropout_tokens(tokens, deterministic=not train)
        return (self.norm_before(tokens) if self.norm_before else tokens).astype(jnp.dtype(self.dtype))

    def leave(self, tokens: jax.Array) -> jax.Array:
        """What all tokens go through after the last block: the norm, in float32."""
        return self.norm_after(tokens) if self.norm_after else tokens.astype(jnp.float32)

    def finish(self, pooled: jax.Array) -> jax.Array:
        """What the pooled vector goes through at last: the head, in float32."""
        pooled = pooled.astype(jnp.float32)
        return jnp.tanh(self.head_map(pooled)) if self.head_map else pooled


def vector(tower: nn.Module, stream: Stream, train: bool = False) -> Float[Array, "b d"]:
    """The pooled vector of any tower: an `Encoder`, or a module of the user's own that returns `Encoded`."""
    return tower.vector(stream, train) if isinstance(tower, Encoder) else tower(stream, train).pooled
