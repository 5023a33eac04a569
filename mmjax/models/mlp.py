"""The position-wise half of a transformer block."""

from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.models.activations import ACTIVATIONS, GATED, Activation
from mmjax.models.layers import make_dense


class Mlp(nn.Module):
    """Two linear maps around an activation; three with a gate (Shazeer 2020): down(activate(gate(x)) * up(x)).

    Attributes:
      hidden: width between the maps, of each of the two where there is a gate.
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
        if self.activation in GATED:
            hidden = activate(make_dense(self.hidden, self.dtype, self.bias, name="gate")(x)) * up
        else:
            hidden = activate(up)
        return make_dense(x.shape[-1], self.dtype, self.bias, name="down")(hidden)
