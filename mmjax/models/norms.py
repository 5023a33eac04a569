"""LayerNorm and RMSNorm, whose backward pass needs their input and a number or two of each row, and nothing else.

Derived by JAX, it would keep three arrays as large as the input.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

NormKind = Literal["layer", "rms"]


class Norm(nn.Module):
    """Over the last axis, computed and returned in float32.

    Attributes:
      kind: "layer" (Ba et al. 2016) with `scale` and `bias`, or "rms" (Zhang & Sennrich 2019) with `scale`.
      epsilon: added to the variance or to the mean square.
    """

    kind: NormKind
    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        scale = jnp.asarray(self.param("scale", nn.initializers.ones_init(), x.shape[-1:], jnp.float32))
        if self.kind == "rms":
            return rms_norm(self.epsilon, x, scale)
        bias = jnp.asarray(self.param("bias", nn.initializers.zeros_init(), x.shape[-1:], jnp.float32))
        return layer_norm(self.epsilon, x, scale, bias)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def layer_norm(
    epsilon: float, x: Float[Array, "*b d"], scale: Float[Array, " d"], bias: Float[Array, " d"]
) -> Float[Array, "*b d"]:
    """scale * (x - mean) / sqrt(variance + epsilon) + bias."""
    return _layer_norm_forward(epsilon, x, scale, bias)[0]


def _layer_norm_forward(epsilon, x, scale, bias):
    wide = x.astype(jnp.float32)
    mean = wide.mean(axis=-1, keepdims=True)
    # Two passes: the mean of squares less the square of the mean loses small variances around a large mean.
    inverse = jax.lax.rsqrt(jnp.square(wide - mean).mean(axis=-1, keepdims=True) + epsilon)
    return (wide - mean) * inverse * scale + bias, (x, mean, inverse, scale)


def _layer_norm_backward(epsilon, kept, gradient):
    del epsilon
    x, mean, inverse, scale = kept
    normed = (x.astype(jnp.float32) - mean) * inverse
    inner = gradient * scale
    along = (inner * normed).mean(axis=-1, keepdims=True)
    to_x = inverse * (inner - inner.mean(axis=-1, keepdims=True) - normed * along)
    return to_x.astype(x.dtype), _sum_rows(gradient * normed), _sum_rows(gradient)


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def rms_norm(epsilon: float, x: Float[Array, "*b d"], scale: Float[Array, " d"]) -> Float[Array, "*b d"]:
    """scale * x / sqrt(mean square + epsilon)."""
    return _rms_norm_forward(epsilon, x, scale)[0]


def _rms_norm_forward(epsilon, x, scale):
    wide = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.square(wide).mean(axis=-1, keepdims=True) + epsilon)
    return wide * inverse * scale, (x, inverse, scale)


def _rms_norm_backward(epsilon, kept, gradient):
    del epsilon
    x, inverse, scale = kept
    normed = x.astype(jnp.float32) * inverse
    inner = gradient * scale
    to_x = inverse * (inner - normed * (inner * normed).mean(axis=-1, keepdims=True))
    return to_x.astype(x.dtype), _sum_rows(gradient * normed)


rms_norm.defvjp(_rms_norm_forward, _rms_norm_backward)


def _sum_rows(x: Float[Array, "*b d"]) -> Float[Array, " d"]:
    # Axis by axis: rows and heads may be split over different axes of a mesh, which no single axis could be.
    return x.sum(axis=tuple(range(x.ndim - 1)))
