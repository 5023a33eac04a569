"""Pictures in their own aspect, as a row of patches: NaFlex (SigLIP 2, Tschannen et al. 2025, section 2.4.2)."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from mmjax.data import transforms
from mmjax.data.streams.base import Arrays
from mmjax.data.streams.image import picture
from mmjax.errors import BadItem

PRECISION = 1e-5  # of the scale, and so part of the rule: the reference stops its search there
MOST_SCALE = 100.0


@dataclasses.dataclass(frozen=True)
class PatchStream:
    """Pictures to patches uint8 `[max_patches, patch * patch * 3]`, their mask, and their `position` in the grid.

    A picture is resized so that it divides into as many whole patches as fit, in nearly its own aspect, exactly as
    SigLIP 2's processor does. A patch holds its pixels in reading order, colours last; the patches come in reading
    order. `position` is int32 `[max_patches, 2]`: (row, column) from 0. Padding is zeros.

    Training sees the same patches, some mirrored: a random crop would take away the very aspect that is kept here.

    Attributes:
      field: the raw stream: encoded bytes, or uint8 `[h, w, 3]` or `[h, w]`.
      patch: pixels on a side of a patch.
      max_patches: patches of a row, which is the most that a picture gets.
      interpolation: antialiased; SigLIP 2 takes "bilinear".
      flip: mirror half of the pictures, left to right. Captions that say "left" become wrong.
      root: taken by every stream, the folder that relative paths start from; a picture needs none.
    """

    field: str = "image"
    patch: int = 16
    max_patches: int = 256
    interpolation: transforms.Interpolation = "bilinear"
    flip: bool = False
    root: dataclasses.InitVar[Any] = None

    kind: ClassVar[str] = "image"
    draws: ClassVar[str | None] = None

    def __post_init__(self, root: Any) -> None:
        if self.patch < 1 or self.max_patches < 1:
            raise ValueError(f"patch and max_patches must be at least 1, got {self.patch} and {self.max_patches}")

    def __call__(self, value: bytes | np.ndarray, rng: np.random.Generator | None) -> Arrays:
        image = picture(value, None)
        rows, columns = grid(image.height, image.width, self.patch, self.max_patches)
        if rows * columns > self.max_patches:
            raise BadItem(f"{image.width} x {image.height} pixels: too long for {self.max_patches} patches")
        size = columns * self.patch, rows * self.patch
        pixels = np.asarray(image.resize(size, transforms.FILTERS[self.interpolation]))
        if self.flip and rng is not None and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        out, count = self.blank(), rows * columns
        squares = pixels.reshape(rows, self.patch, columns, self.patch, 3).transpose(0, 2, 1, 3, 4)
        out["data"][:count] = squares.reshape(count, -1)
        out["mask"][:count] = True
        out["position"][:count] = np.indices((rows, columns)).reshape(2, -1).T
        return out

    def blank(self) -> Arrays:
        return {
            "data": np.zeros((self.max_patches, self.patch * self.patch * 3), np.uint8),
            "mask": np.zeros(self.max_patches, bool),
            "position": np.zeros((self.max_patches, 2), np.int32),
        }

    def facts(self) -> dict[str, Any]:
        return {"patch": self.patch}


def grid(height: int, width: int, patch: int, most: int) -> tuple[int, int]:
    """Rows and columns of patches for a picture: the largest scale at which, rounded up, there are at most `most`.

    Source: `get_image_size_for_max_num_patches` of transformers' SigLIP 2, which bisects the scale; so does this,
    step for step, because its precision decides the grid of some sizes.
    """

    def sides(scale: float) -> tuple[int, int]:
        return max(1, math.ceil(height * scale / patch)), max(1, math.ceil(width * scale / patch))

    low, high = PRECISION / 10, MOST_SCALE
    while high - low >= PRECISION:
        scale = (low + high) / 2
        if math.prod(sides(scale)) <= most:
            low = scale
        else:
            high = scale
    return sides(low)
