"""Where a token is: sin-cos tables that are added to tokens, and rotations that are applied to queries and keys."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Positions = Literal["learned", "sincos", "rotary", "none"]


def _frequencies(count: int, base: float) -> np.ndarray:
    """1, ..., down to just above 1 / base, in geometric steps."""
    return base ** -(np.arange(count, dtype=np.float64) / count)


def sincos_1d(positions: np.ndarray, width: int, base: float = 10_000.0) -> np.ndarray:
    """Sine table of Vaswani et al. 2017, float32 `[n, width]`: the sines, then the cosines, of falling frequencies."""
    if width % 2:
        raise ValueError(f"sincos positions need an even width, got {width}")
    angles = np.asarray(positions, np.float64)[:, None] * _frequencies(width // 2, base)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def sincos_2d(rows: int, columns: int, width: int, base: float = 10_000.0) -> np.ndarray:
    """Sine table of a grid in reading order (Chen et al. 2021), float32 `[rows * columns, width]`.

    The first half of each vector tells the row, the second half the column.
    """
    if width % 4:
        raise ValueError(f"sincos positions of images need a width that divides by 4, got {width}")
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.concatenate([sincos_1d(place, width // 2, base) for place in (row, column)], axis=1)


def rotary_angles(
    position: Int[Array, "b n"] | Int[Array, "b n axes"], head_dim: int, base: float = 10_000.0
) -> Float[Array, "b n half"]:
    """Angles of rotary position embedding (Su et al. 2021), one per pair of a head's features.

    Args:
      position: along one axis, or along several (row and column): each axis then turns an equal share of the features,
        as in the axial form of Heo et al. 2024.

    Raises:
      ValueError: `head_dim` does not divide into pairs for every axis.
    """
    if position.ndim == 2:
        position = position[..., None]
    axes = position.shape[-1]
    if head_dim % (2 * axes):
        raise ValueError(f"rotary positions along {axes} axes need heads that divide by {2 * axes}, got {head_dim}")
    frequencies = jnp.asarray(_frequencies(head_dim // 2 // axes, base), jnp.float32)
    angles = position[..., None].astype(jnp.float32) * frequencies
    return angles.reshape(*position.shape[:2], head_dim // 2)


def rotate(x: Float[Array, "b n heads dim"], angles: Float[Array, "b n half"]) -> Float[Array, "b n heads dim"]:
    """Turns the pairs (feature i, feature i + dim / 2) of every head by `angles`, in float32."""
    cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)
