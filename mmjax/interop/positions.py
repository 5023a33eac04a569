"""Position tables for pictures of another size, resized as torch's `interpolate` does."""

import dataclasses
import math
from typing import Literal

import numpy as np
from jaxtyping import Float

CUBIC = -0.75  # torch's; JAX's and Pillow's kernels have -0.5


@dataclasses.dataclass(frozen=True)
class Resize:
    """How a family resizes its table.

    Attributes:
      extra: rows before the grid, such as the class token's, which stay as they are.
      method: the kernel.
      antialias: whether shrinking widens the kernel, as torch does when asked to.
      unasked: whether the reference resizes it for any picture it is given, where others refuse all but one size.
    """

    extra: int
    method: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = False
    unasked: bool = False


def resize_table(table: Float[np.ndarray, "n d"], rows: int, rule: Resize) -> Float[np.ndarray, "m d"]:
    """A table of a square grid, after `extra` rows, for another number of rows in all; the same number is the identity.

    Raises:
      ValueError: either number is no square after the extra rows.
    """
    if len(table) == rows:
        return table
    old, new = _side(len(table) - rule.extra), _side(rows - rule.extra)
    grid = table[rule.extra :].reshape(old, old, -1)
    weights = kernel(old, new, rule.method, rule.antialias).astype(np.float32)
    resized = np.einsum("ri,cj,ijd->rcd", weights, weights, grid, optimize=True).astype(np.float32)
    return np.concatenate([table[: rule.extra], resized.reshape(new * new, -1)])


def kernel(old: int, new: int, method: Literal["bicubic", "bilinear"], antialias: bool) -> Float[np.ndarray, "new old"]:
    """Weight of each old sample in each new one along an axis, as `interpolate(align_corners=False)` has them.

    Without antialiasing samples outside stand for the edge; with it they are left out and the rest is normalised.
    """
    scale = old / new
    centres = scale * (np.arange(new) + 0.5)
    cubic = method == "bicubic"
    if not antialias:
        return _clamped(centres - 0.5, old, cubic)
    stretch = max(scale, 1.0)
    support = (2.0 if cubic else 1.0) * stretch
    places = np.arange(old) + 0.5
    low, high = np.floor(centres - support + 0.5), np.floor(centres + support + 0.5)
    inside = (np.arange(old) >= low[:, None]) & (np.arange(old) < high[:, None])
    # torch's antialiased kernel is Pillow's, with -0.5.
    weights = np.where(inside, _curve((places - centres[:, None]) / stretch, cubic, -0.5), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _clamped(places: np.ndarray, old: int, cubic: bool) -> np.ndarray:
    if not cubic:
        places = np.maximum(places, 0.0)
    base = np.floor(places).astype(int)
    weights = np.zeros((len(places), old))
    for tap in range(-1, 3) if cubic else range(2):
        share = _curve(places - (base + tap), cubic, CUBIC)
        np.add.at(weights, (np.arange(len(places)), np.clip(base + tap, 0, old - 1)), share)
    return weights


def _curve(x: np.ndarray, cubic: bool, a: float) -> np.ndarray:
    """The interpolation kernel: a triangle, or Keys' cubic with parameter `a`."""
    x = np.abs(x)
    if not cubic:
        return np.maximum(1.0 - x, 0.0)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _side(cells: int) -> int:
    side = math.isqrt(cells)
    if cells < 1 or side * side != cells:
        raise ValueError(f"a position table of {cells} cells is no square grid")
    return side
