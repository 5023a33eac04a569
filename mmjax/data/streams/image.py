"""Pictures as uint8 squares."""

import dataclasses
import math
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from mmjax.data import fast, transforms
from mmjax.data.decode import open_image
from mmjax.data.streams.base import Arrays
from mmjax.errors import BadItem


@dataclasses.dataclass(frozen=True)
class ImageStream:
    """Pictures to uint8 `[size, size, 3]`.

    Evaluation takes `resize`, exactly as CLIP ("shortest") or SigLIP ("squash") does. Training takes a random crop
    where `crop_scale` is given, and else the same as evaluation; then flip, shift and cutout.

    Attributes:
      field: the raw stream: encoded bytes, or uint8 `[h, w, 3]` or `[h, w]`.
      size: pixels on a side.
      resize: "shortest": the short side to `size`, then the square in the middle; "squash": all of it into the square.
      interpolation: antialiased; CLIP and SigLIP take "bicubic".
      resize_to: of "shortest": the short side before the square in the middle is cut out, as DINOv2 takes 224 pixels
        out of 256; None for `size`.
      middle: of "shortest": which middle, where it falls between two pixels; see `transforms.shortest_edge`.
      crop_scale: range of the random crop's share of the area; None for no random crop.
      crop_ratio: range of its width / height.
      resampler: of random crops: "pillow", or "opencv", which is faster and needs `pip install mmjax[fast]`.
      flip: mirror half of the pictures, left to right. Captions that say "left" become wrong.
      shift: move by up to so many pixels each way, zeros coming in.
      cutout: side of a square of zeros at a random place; 0 for none.
      root: taken by every stream, the folder that relative paths start from; a picture needs none.
    """

    field: str = "image"
    size: int = 224
    resize: transforms.Resize = "shortest"
    interpolation: transforms.Interpolation = "bicubic"
    resize_to: int | None = None
    middle: transforms.Middle = "floor"
    crop_scale: transforms.Range | None = (0.5, 1.0)
    crop_ratio: transforms.Range = (3 / 4, 4 / 3)
    resampler: Literal["pillow", "opencv"] = "pillow"
    flip: bool = False
    shift: int = 0
    cutout: int = 0
    root: dataclasses.InitVar[Any] = None

    kind: ClassVar[str] = "image"
    draws: ClassVar[str | None] = None

    def __post_init__(self, root: Any) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")
        if self.resize_to is not None and (self.resize_to < self.size or self.resize != "shortest"):
            raise ValueError(
                f"resize_to must be at least size, and resize 'shortest'; "
                f"got {self.resize_to} for size {self.size} and resize {self.resize!r}"
            )
        if not 0 <= self.shift < self.size:
            raise ValueError(f"shift must lie in [0, size), got {self.shift}")
        if self.cutout < 0:
            raise ValueError(f"cutout must not be negative, got {self.cutout}")
        if self.crop_scale and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale must be (low, high) within (0, 1], got {self.crop_scale}")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio must be (low, high), got {self.crop_ratio}")

    def __call__(self, value: bytes | np.ndarray, rng: np.random.Generator | None) -> Arrays:
        if rng is None:
            return {"data": self._whole(value)}
        return {"data": self._augmented(self._whole(value) if self.crop_scale is None else self._crop(value, rng), rng)}

    def _whole(self, value: bytes | np.ndarray) -> np.ndarray:
        untouched = self.resize_to in (None, self.size)
        square = self.size, self.size, 3
        if untouched and isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.shape == square:
            return value
        image = picture(value, None)
        if self.resize == "squash":
            return np.asarray(transforms.squash(image, self.size, self.interpolation))
        crop = transforms.shortest_edge(image, self.size, self.interpolation, self.resize_to, self.middle)
        return np.asarray(crop)

    def _crop(self, value: bytes | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assert self.crop_scale
        # The smallest square crop still has `size` pixels a side, so decoding at reduced scale costs no detail.
        shortest = math.ceil(self.size / math.sqrt(self.crop_scale[0]))
        if self.resampler == "opencv":
            pixels = fast.picture(value, shortest) if isinstance(value, bytes) else np.asarray(picture(value, None))
            box = transforms.random_box(pixels.shape[1], pixels.shape[0], self.crop_scale, self.crop_ratio, rng)
            return fast.resample(pixels, self.size, box)
        image = picture(value, shortest)
        box = transforms.random_box(*image.size, self.crop_scale, self.crop_ratio, rng)
        return np.asarray(transforms.resample(image, self.size, self.interpolation, box))

    def _augmented(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.flip and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if self.shift:
            pixels = transforms.shift(pixels, self.shift, rng)
        if self.cutout:
            pixels = transforms.cutout(pixels, self.cutout, rng)
        return pixels

    def blank(self) -> Arrays:
        return {"data": np.zeros((self.size, self.size, 3), np.uint8)}

    def facts(self) -> dict[str, Any]:
        return {}


def picture(value: bytes | np.ndarray, shortest: int | None) -> Image.Image:
    """The raw value of an image stream as an RGB picture; `shortest` as in `decode.open_image`. Raises BadItem."""
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint8 or value.ndim not in (2, 3) or value.shape[2:] not in ((), (3,)):
            raise BadItem(f"the image is an array {value.dtype}{list(value.shape)}, not uint8 [h, w, 3] or [h, w]")
        return Image.fromarray(value).convert("RGB")
    return open_image(value, shortest)
