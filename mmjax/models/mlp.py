"""The position-wise half of a transformer block."""

import functools
from collections.abc import Callable
from typing import Literal

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.models.layers import make_dense

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "swiglu"]


def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x), the approximation that OpenAI's CLIP was trained with; up to 0.02 away from GELU."""
    return x * jax.nn.sigmoid(1.702 * x)


# JAX's own default for `gelu` is the tanh form: both are named here and neither is a default.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
    "swiglu": jax.nn.silu,
}


class Mlp(nn.Module):
    """Two linear maps around an activation; three for SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x)).

    Attributes:
      hidden: width between the maps, of each of the two for SwiGLU.
      activation: "gelu" is the exact erf form.
    """

    hidden: int
    activation: Activation = "gelu"
    bias: bool = True
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        activate = ACTIVATIONS[self.activation]
        up = make_dense(self.hidden, self.dtype, self.bias, name="up")(x)
        if self.activation == "swiglu":
            hidden = activate(make_dense(self.hidden, self.dtype, self.bias, name="gate")(x)) * up
        else:
            hidden = activate(up)
        return make_dense(x.shape[-1], self.dtype, self.bias, name="down")(hidden)
