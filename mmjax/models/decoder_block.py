"""One block of a causal decoder: self-attention with a cache and grouped heads, maybe cross-attention, and an MLP."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from mmjax.models.activations import Activation
from mmjax.models.attention import softmax
from mmjax.models.cache import KeyValues, Reads
from mmjax.models.fused_attention import LOW
from mmjax.models.layers import make_dense
from mmjax.models.mlp import Mlp
from mmjax.models.norms import Norm, NormKind
from mmjax.models.positions import rotate


@dataclasses.dataclass(frozen=True)
class DecoderOptions:
    """What every block of a decoder is.

    Attributes:
      width: features of a token.
      heads, kv_heads: of queries, and of keys and values; several query heads share one of those (Ainslie et al. 2023).
      head_dim: features of a head.
      cross: whether each block reads a context between its two halves (Vaswani et al. 2017).
      qkv_bias, bias: of the maps into attention, and of all others.
    """

    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_dim: int
    activation: Activation = "gelu_tanh"
    norm: NormKind = "layer"
    epsilon: float = 1e-5
    qkv_bias: bool = True
    bias: bool = True
    cross: bool = False
    dropout: float = 0.0
    dtype: str = "float32"


class DecoderBlock(nn.Module):
    """x + attention(norm(x)), maybe x + cross(norm(x), context), then x + mlp(norm(x))."""

    options: DecoderOptions

    def setup(self) -> None:
        o = self.options
        self.norm_attention = Norm(o.norm, o.epsilon)
        self.attention = GroupedAttention(o)
        if o.cross:
            self.norm_cross = Norm(o.norm, o.epsilon)
            self.cross = GroupedAttention(o)
        self.norm_mlp = Norm(o.norm, o.epsilon)
        self.mlp = Mlp(o.mlp_dim, o.activation, o.bias, o.dtype)
        self.drop = nn.Dropout(o.dropout)

    def __call__(
        self,
        x: Float[Array, "b n d"],
        reads: Reads,
        angles: Float[Array, "b n half"] | None = None,
        cached: KeyValues | None = None,
        context: KeyValues | None = None,
        context_mask: Bool[Array, "b c"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "b n d"], KeyValues]:
        """Tokens to tokens, and keys and values of all that was read, these tokens included.

        Args:
          cached: those of the tokens before; None where these are the first.
          context: of what cross-attention reads, see `read_context`.
        """
        y = self.norm_attention(x)
        known = self.attention.keys_values(y, angles)
        known = known if cached is None else cached.extend(known, reads.first)
        x = x + self.drop(self.attention(y, known, reads.allowed, angles), deterministic=not train)
        if context is not None:
            allowed = None if context_mask is None else context_mask[:, None, None]
            x = x + self.drop(self.cross(self.norm_cross(x), context, allowed), deterministic=not train)
        return x + self.drop(self.mlp(self.norm_mlp(x)), deterministic=not train), known

    def read_context(self, context: Float[Array, "b c e"]) -> KeyValues:
        """Keys and values of what cross-attention reads."""
        return self.cross.keys_values(context)


class GroupedAttention(nn.Module):
    """Queries read keys and values that are given; `heads` / `kv_heads` of them read the same ones.

    The weights `[b, heads, n, m]` are sown as `intermediates/weights` when that collection is asked for.
    """

    options: DecoderOptions

    def setup(self) -> None:
        o = self.options
        self.query = make_dense(o.heads * o.head_dim, o.dtype, o.qkv_bias)
        self.key = make_dense(o.kv_heads * o.head_dim, o.dtype, o.qkv_bias)
        self.value = make_dense(o.kv_heads * o.head_dim, o.dtype, o.qkv_bias)
        self.out = make_dense(o.width, o.dtype, o.bias)

    def keys_values(self, x: Float[Array, "b m e"], angles: Float[Array, "b m half"] | None = None) -> KeyValues:
        """Of these tokens, keys turned by their places."""
        key, value = (f(x).reshape(*x.shape[:2], -1, self.options.head_dim) for f in (self.key, self.value))
        key = key if angles is None else rotate(key, angles)
        return KeyValues(key.transpose(0, 2, 3, 1), value.swapaxes(1, 2))

    def __call__(
        self,
        x: Float[Array, "b n d"],
        known: KeyValues,
        allowed: Bool[Array, "b 1 #n m"] | None,
        angles: Float[Array, "b n half"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Reads what is known where it is allowed."""
        query = self.query(x).reshape(*x.shape[:2], -1, self.options.head_dim)
        weights = grouped_weights(query if angles is None else rotate(query, angles), known, allowed)
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "weights", weights.reshape(len(x), -1, *weights.shape[3:]))
        return self.out(read_grouped(weights, known, query.dtype).reshape(*x.shape[:2], -1))


def grouped_weights(
    query: Float[Array, "b n heads dim"], known: KeyValues, allowed: Bool[Array, "b 1 #n m"] | None
) -> Float[Array, "b kv group n m"]:
    """Softmax over what may be read, in float32; head h reads the key and value head h // (heads / kv_heads)."""
    rows, queries, _, dim = query.shape
    key = known.key.astype(query.dtype)
    grouped = query.reshape(rows, queries, key.shape[1], -1, dim).transpose(0, 2, 3, 1, 4)
    logits = jnp.einsum(
        "bkgnd,bkdm->bkgnm", grouped, key, precision=_precision(query.dtype), preferred_element_type=jnp.float32
    )
    logits = logits * dim**-0.5
    return softmax(logits if allowed is None else jnp.where(allowed[:, :, None], logits, LOW))


def read_grouped(
    weights: Float[Array, "b kv group n m"], known: KeyValues, dtype: jnp.dtype
) -> Float[Array, "b n heads dim"]:
    """Values by their weights, in the compute dtype."""
    value = known.value.astype(dtype)
    out = jnp.einsum("bkgnm,bkmd->bkgnd", weights.astype(dtype), value, precision=_precision(dtype))
    return out.transpose(0, 3, 1, 2, 4).reshape(len(value), weights.shape[3], -1, value.shape[-1])


def _precision(dtype: jnp.dtype) -> jax.lax.Precision | None:
    """float32 means float32, as in `make_dense`."""
    return jax.lax.Precision.HIGHEST if dtype == jnp.float32 else None
