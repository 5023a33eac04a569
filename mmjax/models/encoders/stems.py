"""From pixels to a grid of vectors."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.models.layers import make_dense, make_norm
from mmjax.models.mlp import ACTIVATIONS


class PatchStem(nn.Module):
    """Cuts the image into squares and maps each linearly (Dosovitskiy et al. 2021).

    The kernel is `[patch * patch * 3, width]` with the pixels of a square in reading order, colours last.
    """

    patch: int
    width: int
    bias: bool = True
    dtype: str = "float32"

    @nn.compact
    def __call__(self, pixels: Float[Array, "b height width 3"]) -> Float[Array, "b rows columns d"]:
        """Raises ValueError for an image that does not divide into squares."""
        batch, height, width, colours = pixels.shape
        p = self.patch
        if height % p or width % p:
            raise ValueError(f"an image of {height} x {width} does not divide into patches of {p} x {p}")
        x = pixels.reshape(batch, height // p, p, width // p, p, colours).transpose(0, 1, 3, 2, 4, 5)
        return make_dense(self.width, self.dtype, self.bias, name="embed")(x.reshape(*x.shape[:3], -1))


class ConvStem(nn.Module):
    """3 x 3 convolutions of stride 2, each with LayerNorm and GELU, then a linear map (after Xiao et al. 2021).

    Every convolution halves the grid, rounding up: 28 pixels become 14, 7, 4. Each is written as one matmul of the
    gathered 3 x 3 neighbourhoods, which trains faster than `lax.conv` on CPUs. Its kernel is `[9 * channels, width]`,
    neighbours in reading order. GELU is the tanh form, also for speed: no published weights have this stem.

    Attributes:
      widths: channels of each convolution.
    """

    widths: tuple[int, ...]
    width: int
    epsilon: float = 1e-6
    dtype: str = "float32"

    @nn.compact
    def __call__(self, pixels: Float[Array, "b height width 3"]) -> Float[Array, "b rows columns d"]:
        x = pixels.astype(jnp.dtype(self.dtype))
        for index, width in enumerate(self.widths):
            x = make_dense(width, self.dtype, bias=False, name=f"conv_{index}")(neighbourhoods(x))
            x = make_norm("layer", self.epsilon, name=f"norm_{index}")(x)
            x = ACTIVATIONS["gelu_tanh"](x).astype(jnp.dtype(self.dtype))
        return make_dense(self.width, self.dtype, name="embed")(x)


def neighbourhoods(x: Float[Array, "b height width c"]) -> Float[Array, "b rows columns neighbours"]:
    """The 3 x 3 neighbourhood around every second pixel of every second row, zeros outside: im2col."""
    rows, columns = (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2
    padded = jnp.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)))
    shifts = [(i, j) for i in range(3) for j in range(3)]
    taps = [padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for i, j in shifts]
    return jnp.concatenate(taps, axis=-1)


def normalise(
    pixels: jax.Array | np.ndarray,
    present: jax.Array | np.ndarray,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Float[Array, "b height width 3"]:
    """uint8, or floats in [0, 1], to (value - mean) / std per colour; zeros where `present` `[b, ...]` is False."""
    values = jnp.asarray(pixels, jnp.float32) / (255.0 if pixels.dtype == jnp.uint8 else 1.0)
    values = (values - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)
    present = present.reshape(present.shape + (1,) * (values.ndim - present.ndim))
    return jnp.where(present, values, 0.0)
