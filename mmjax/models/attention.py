"""Multi-head attention: by XLA, by a kernel of ours on TPUs, or by cuDNN through `jax.nn.dot_product_attention`."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from mmjax.models.fused_attention import LOW, fits, fused_attention
from mmjax.models.layers import make_dense, platform
from mmjax.models.norms import Norm, NormKind
from mmjax.models.positions import rotate

Implementation = Literal["auto", "xla", "fused", "cudnn"]


class Attention(nn.Module):
    """Self- or cross-attention.

    A query that may read no key (a fully masked row) gets zeros, and passes zeros back, instead of NaN.
    The weights `[b, heads, n, m]` are sown as `intermediates/weights` when that collection is asked for.

    Attributes:
      heads: their number; the width divides by it.
      causal: a query reads no key after its own place.
      qk_norm: norms queries and keys per head (Dehghani et al. 2023), which keeps logits bounded in large models.
      implementation: "auto" takes a fused kernel where one can run: "fused" on TPUs, "cudnn" on GPUs; else "xla".
    """

    heads: int
    causal: bool = False
    qkv_bias: bool = True
    bias: bool = True
    qk_norm: bool = False
    norm: NormKind = "layer"
    epsilon: float = 1e-6
    implementation: Implementation = "auto"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        context: Float[Array, "b m d"] | None = None,
        mask: Bool[Array, "b m"] | None = None,
        angles: Float[Array, "b keys half"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Reads `context` (default: `x` itself) where `mask` is True; `angles` rotate queries and keys by place.

        Where `x` is shorter than the context, its rows are the first ones for `causal` and `angles`.
        """
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"width {width} does not divide into {self.heads} heads")
        context = x if context is None else context
        query, key, value = self._project(x, "query"), self._project(context, "key"), self._project(context, "value")
        if self.qk_norm:
            query = Norm(self.norm, self.epsilon, name="query_norm")(query).astype(self.dtype)
            key = Norm(self.norm, self.epsilon, name="key_norm")(key).astype(self.dtype)
        if angles is not None:
            query, key = rotate(query, angles[:, : query.shape[1]]), rotate(key, angles)
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "weights", attention_weights(query, key, mask, self.causal))
        out = attend(query, key, value, mask, self.causal, self.implementation)
        return make_dense(width, self.dtype, self.bias, name="out")(out.reshape(x.shape))

    def _project(self, x: jax.Array, name: str) -> jax.Array:
        """`[b, n, d]` to `[b, n, heads, d / heads]`."""
        flat = make_dense(x.shape[-1], self.dtype, self.qkv_bias, name=name)(x)
        return flat.reshape(*x.shape[:-1], self.heads, -1)


def attend(
    query: Float[Array, "b n heads dim"],
    key: Float[Array, "b m heads dim"],
    value: Float[Array, "b m heads dim"],
    mask: Bool[Array, "b m"] | None = None,
    causal: bool = False,
    implementation: Implementation = "auto",
) -> Float[Array, "b n heads dim"]:
    """Softmax attention in the arrays' dtype with the softmax in float32; zeros for a query that may read no key."""
    chosen = choose(implementation, query, key, mask)
    if chosen == "fused":
        out = fused_attention(query, key, value, mask, causal, interpret=platform() != "tpu")
    elif chosen == "cudnn":
        among = None if mask is None else mask[:, None, None, :]
        out = jax.nn.dot_product_attention(query, key, value, mask=among, is_causal=causal, implementation="cudnn")
    else:
        out = _attend_heads_first(query, key, value, mask, causal)
    return out if mask is None else jnp.where(_reads_any(mask, query.shape[1], causal)[..., None, None], out, 0)


def choose(
    implementation: Implementation,
    query: Float[Array, "b n heads dim"],
    key: Float[Array, "b m heads dim"],
    mask: Bool[Array, "b m"] | None,
) -> Literal["xla", "fused", "cudnn"]:
    """What "auto" means here: the kernel of the accelerator, for the types and shapes that it takes."""
    if implementation != "auto":
        return implementation
    if platform() == "tpu":
        return "fused" if fits(query, key) else "xla"
    suits = (
        query.shape[1] > 1
        and query.dtype in (jnp.bfloat16, jnp.float16)
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= 128
    )
    # A mask travels as a bias, whose gradient kernel wants even lengths.
    even = mask is None or (query.shape[1] % 2 == 0 and mask.shape[1] % 2 == 0)
    return "cudnn" if platform() == "gpu" and suits and even else "xla"


def attention_weights(
    query: Float[Array, "b n heads dim"],
    key: Float[Array, "b m heads dim"],
    mask: Bool[Array, "b m"] | None = None,
    causal: bool = False,
) -> Float[Array, "b heads n m"]:
    """The weights by which `attend` averages values, in float32. A row sums to 1, or to 0 if it reads nothing."""
    logits = jnp.einsum("bnhd,bmhd->bhnm", query, key, preferred_element_type=jnp.float32) / query.shape[-1] ** 0.5
    return jax.nn.softmax(logits, where=_allowed(logits.shape[-2:], mask, causal), axis=-1)


def _attend_heads_first(
    query: Float[Array, "b n heads dim"],
    key: Float[Array, "b m heads dim"],
    value: Float[Array, "b m heads dim"],
    mask: Bool[Array, "b m"] | None,
    causal: bool,
) -> Float[Array, "b n heads dim"]:
    """As `jax.nn.dot_product_attention` by XLA, with heads before tokens, the order that matmuls on a CPU want."""
    query, key, value = (x.swapaxes(1, 2) for x in (query, key, value))
    # float32 means float32, as in `make_dense`.
    precision = jax.lax.Precision.HIGHEST if query.dtype == jnp.float32 else None
    matmul = partial(jnp.matmul, precision=precision)
    logits = matmul(query, key.swapaxes(2, 3), preferred_element_type=jnp.float32) * query.shape[-1] ** -0.5
    if causal or mask is not None:
        logits = jnp.where(_allowed(logits.shape[-2:], mask, causal), logits, LOW)
    return matmul(softmax(logits).astype(value.dtype), value).swapaxes(1, 2)


@jax.custom_vjp
def softmax(logits: Float[Array, "*b m"]) -> Float[Array, "*b m"]:
    """Over the last axis; the backward pass needs the result alone. Derived by JAX, it would keep two arrays more."""
    return jax.nn.softmax(logits, axis=-1)


def _softmax_forward(logits):
    weights = jax.nn.softmax(logits, axis=-1)
    return weights, weights


def _softmax_backward(weights, gradient):
    return (weights * (gradient - (gradient * weights).sum(axis=-1, keepdims=True)),)


softmax.defvjp(_softmax_forward, _softmax_backward)


def _allowed(shape: tuple[int, ...], mask: Bool[Array, "b m"] | None, causal: bool) -> Bool[Array, "_ 1 n m"]:
    """Which key `[.., m]` each query `[.., n]` may read."""
    allowed = jnp.ones(shape, bool)
    allowed = (jnp.tril(allowed) if causal else allowed)[None, None]
    return allowed if mask is None else allowed & mask[:, None, None, :]


def _reads_any(mask: Bool[Array, "b m"], queries: int, causal: bool) -> Bool[Array, "b n"]:
    """Whether each query has at least one key to read."""
    if causal:
        return jnp.cumsum(mask, axis=1)[:, :queries] > 0
    return jnp.broadcast_to(mask.any(axis=1, keepdims=True), (len(mask), queries))
