"""Images as lists of patches, each image at its own size and aspect (NaFlex, SigLIP 2, Tschannen et al. 2025)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from mmjax.batch import Stream
from mmjax.models.encoders.stems import normalise
from mmjax.models.layers import make_dense


class ListStem(nn.Module):
    """Maps each patch of a list linearly; the parameters are those of `PatchStem`."""

    width: int
    bias: bool = True
    dtype: str = "float32"

    @nn.compact
    def __call__(self, patches: Float[Array, "b n values"]) -> Float[Array, "b n d"]:
        return make_dense(self.width, self.dtype, self.bias, name="embed")(patches)


def read_patches(
    stream: Stream, patch: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Float[Array, "b n values"], Int[Array, "b n 2"], Bool[Array, "b n"]]:
    """Normalised pixels, row and column from 0, and mask of every patch. What padding holds is taken out of all three.

    Padding has pixels of zero after normalisation and stands at (0, 0), as in `Siglip2ImageProcessor`'s batches.

    Raises:
      ValueError: the stream does not say where its patches are, or they are no squares of `patch` pixels.
    """
    if stream.position is None or stream.data.ndim != 3 or stream.data.shape[-1] != patch * patch * 3:
        shape = stream.data.shape
        raise ValueError(f"stem 'naflex' reads patches [b, n, {patch * patch * 3}] with positions, got {shape}")
    batch, count, values = stream.data.shape
    mask = jnp.broadcast_to(stream.present[:, None], (batch, count))
    mask = mask if stream.mask is None else mask & stream.mask
    pixels = normalise(stream.data.reshape(batch, count, patch * patch, 3), mask, mean, std)
    position = jnp.where(mask[..., None], stream.position, 0)
    return pixels.reshape(batch, count, values), position, mask


def resized_rows(table: Float[Array, "grid grid d"], position: Int[Array, "b n 2"]) -> Float[Array, "b n d"]:
    """Each patch's vector of the square table resized to its own image, whose size is its largest position plus one.

    The same numbers as `torch.nn.functional.interpolate(mode="bilinear", align_corners=False, antialias=True)`, which
    works axis by axis, so that a patch's weights on the table are those of its row times those of its column.
    """
    grid, width = table.shape[1:]
    row, column = (axis_weights(position[..., axis], grid) for axis in (0, 1))
    weights = (row[..., :, None] * column[..., None, :]).reshape(*position.shape[:2], grid * grid)
    return jnp.matmul(weights, table.reshape(grid * grid, width), precision=jax.lax.Precision.HIGHEST)


def axis_weights(place: Int[Array, "b n"], grid: int) -> Float[Array, "b n grid"]:
    """How much each of `grid` values contributes to each place along one axis: a triangle around its centre.

    Where an image has more patches than the table, the triangle reaches to the next value (bilinear); where it has
    fewer, as far as they are apart (antialias). Torch cuts the triangle off where it has come down to zero anyway.
    """
    step = grid / (place.max(axis=1) + 1).astype(jnp.float32)[:, None, None]
    centre = step * (place[..., None] + 0.5)
    distance = (jnp.arange(grid) + 0.5 - centre) / jnp.maximum(step, 1.0)
    weights = jnp.maximum(1.0 - jnp.abs(distance), 0.0)
    return weights / weights.sum(axis=-1, keepdims=True)
