"""Activations by name. The backward pass of GELU keeps its input alone; derived by JAX, it would keep three arrays."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "swiglu", "geglu"]


@jax.custom_vjp
def gelu(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """x times the normal distribution's mass below x (Hendrycks & Gimpel 2016), by erf as in PyTorch: within 1e-6."""
    return _gelu_forward(x)[0]


def _gelu_forward(x):
    wide = x.astype(jnp.float32)
    return (wide * (0.5 + 0.5 * jax.lax.erf(wide * 0.5**0.5))).astype(x.dtype), x


def _gelu_backward(x, gradient):
    # By erf(-x), which is -erf(x): written as in the forward pass, XLA would find it there, and keep it.
    wide = x.astype(jnp.float32)
    below = 0.5 - 0.5 * jax.lax.erf(wide * -(0.5**0.5))
    density = jnp.exp(-0.5 * wide * wide) * (2 * jnp.pi) ** -0.5
    return ((gradient * (below + wide * density)).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


def quick_gelu(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """x * sigmoid(1.702 x), the approximation that OpenAI's CLIP was trained with; up to 0.02 away from GELU."""
    return x * jax.nn.sigmoid(1.702 * x)


# JAX's own default for `gelu` is the tanh form: both are named here and neither is a default.
GATED = ("swiglu", "geglu")  # Shazeer 2020: what they name is the activation of the gate
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
    "swiglu": jax.nn.silu,
    "geglu": partial(jax.nn.gelu, approximate=True),
}
