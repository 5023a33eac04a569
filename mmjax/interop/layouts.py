"""How a tensor of PyTorch lies in memory against ours: pairs of inverse rearrangements, without arithmetic.

Every rule only moves values, so in → out → in gives the same bits.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

Parts = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """One tensor of theirs against one or several of ours.

    Attributes:
      load: their tensor → ours, in the order of the entry's names.
      store: ours → their tensor.
    """

    load: Callable[[np.ndarray], Parts]
    store: Callable[[Sequence[np.ndarray]], np.ndarray]


def _patches(kernel: np.ndarray) -> Parts:
    """`[width, 3, patch, patch]` of a convolution to `[patch * patch * 3, width]`: reading order, colours last."""
    return (kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel)),)


def _convolution(parts: Sequence[np.ndarray]) -> np.ndarray:
    (kernel,) = parts
    side = math.isqrt(len(kernel) // 3)
    return kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)


def split(count: int, axis: int = 0, transpose: bool = True) -> Layout:
    """One tensor that holds `count` of ours side by side along `axis`, as fused projections do.

    Args:
      transpose: whether the parts are `[out, in]`, as torch's Linear keeps them, against our `[in, out]`.
    """
    turn = (lambda x: x.T) if transpose else (lambda x: x)
    return Layout(
        lambda x: tuple(turn(part) for part in np.split(x, count, axis)),
        lambda parts: np.concatenate([turn(part) for part in parts], axis),
    )


PLAIN = Layout(lambda x: (x,), lambda parts: parts[0])
TRANSPOSE = Layout(lambda x: (x.T,), lambda parts: parts[0].T)
PATCHES = Layout(_patches, _convolution)


def lead(count: int) -> Layout:
    """Theirs has `count` leading axes of length one that ours lacks."""

    def load(x: np.ndarray) -> Parts:
        if x.shape[:count] != (1,) * count:
            raise ValueError(f"{list(x.shape)} does not begin with {count} axes of length 1")
        return (x.reshape(x.shape[count:]),)

    return Layout(load, lambda parts: parts[0].reshape((1,) * count + parts[0].shape))
