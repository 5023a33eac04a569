"""From pixels to a grid of vectors."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.models.activations import ACTIVATIONS
from mmjax.models.layers import make_dense
from mmjax.models.norms import Norm


class PatchStem(nn.Module):
    """Cuts the image into squares and maps each linearly (Dosovitskiy et al. 2021).

    A convolution without padding whose stride is its size: pixels at the right and the bottom that make no whole square
    are left out, so 384 pixels in patches of 14 are 27 x 27 squares. The kernel is `[patch * patch * 3, width]` with
    the pixels of a square in reading order, colours last.
    """

    patch: int
    width: int
    bias: bool = True
    dtype: str = "float32"

    @nn.compact
    def __call__(self, pixels: Float[Array, "b height width 3"]) -> Float[Array, "b rows columns d"]:
        """Raises ValueError for an image smaller than one square."""
        batch, height, width, colours = pixels.shape
        p = self.patch
        rows, columns = height // p, width // p
        if not rows or not columns:
            raise ValueError(f"an image of {height} x {width} is smaller than a patch of {p} x {p}")
        squares = pixels[:, : rows * p, : columns * p]
        x = squares.reshape(batch, rows, p, columns, p, colours).transpose(0, 1, 3, 2, 4, 5)
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
            x = Norm("layer", self.epsilon, name=f"norm_{index}")(x)
            x = ACTIVATIONS["gelu_tanh"](x).astype(jnp.dtype(self.dtype))
        return make_dense(self.width, self.dtype, name="embed")(x)


def neighbourhoods(x: Float[Array, "b height width c"]) -> Float[Array, "b rows columns neighbours"]:
    """The 3 x 3 neighbourhood around every second pixel of every second row, zeros outside: im2col."""
    return _threes(_threes(x, axis=2), axis=1)


def _threes(x: Float[Array, "b height width c"], axis: int) -> Float[Array, "b rows columns threes"]:
    """Around every second place of an axis the three places, behind one another on the last axis.

    Places are cut in pairs: a pair and the first of the next one are the three. Strided slices would say the same, but
    XLA compiles them, and their gradients above all, into far more code.
    """
    count = (x.shape[axis] + 1) // 2
    around = [(0, 0)] * x.ndim
    around[axis] = (1, 2 * count + 1 - x.shape[axis])
    x = jnp.pad(x, around)
    pairs = x.reshape(*x.shape[:axis], count + 1, 2, *x.shape[axis + 1 :])
    first, second = jnp.moveaxis(pairs, axis + 1, 0)
    own, after = (jax.lax.slice_in_dim(first, i, i + count, axis=axis) for i in (0, 1))
    return jnp.concatenate([own, jax.lax.slice_in_dim(second, 0, count, axis=axis), after], axis=-1)


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
