"""An encoder: a Linen module from a stream to `Encoded`."""

import jax.numpy as jnp
from flax import linen as nn

from mmjax.batch import Stream
from mmjax.models.encoded import Encoded


class Average(nn.Module):
    """Mean colour through one dense layer.

    Attributes:
      width: features.
    """

    width: int = 16

    @nn.compact
    def __call__(self, stream: Stream, train: bool = False) -> Encoded:
        pixels = stream.data.astype(jnp.float32) / 255.0
        mean = nn.Dense(self.width, name="dense")(pixels.mean((1, 2)))
        return Encoded(tokens=mean[:, None], mask=None, position=None, pooled=mean)
