"""From a picture of any size to a square: the resizing rules of CLIP and SigLIP, and random crops for training.

Pillow does the resampling, antialiased, so the results are those of the reference processors bit for bit.
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Interpolation = Literal["bicubic", "bilinear", "lanczos"]
Resize = Literal["shortest", "squash"]
Middle = Literal["floor", "round"]
Number = int | float
Range = tuple[Number, Number]  # lowest, highest
Box = tuple[Number, Number, Number, Number]  # left, top, right, bottom in pixels of the source

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
MOST_RESIZED = 2**24  # pixels; of what would be larger only the middle is made, or 2 x 60,000 would need gigabytes
CROP_TRIES = 10


def shortest_edge(
    image: Image.Image,
    size: int,
    interpolation: Interpolation,
    resize_to: int | None = None,
    middle: Middle = "floor",
) -> Image.Image:
    """CLIP's rule: the short side to `resize_to`, then the square of `size` in the middle.

    Args:
      resize_to: at least `size`; None for `size` itself.
      middle: where the margin is an odd number of pixels: "floor" as `transformers` crops, "round" (half to even) as
        torchvision does, and with it OpenAI's own code and `open_clip`.
    """
    short = min(image.size)
    # Truncated and not rounded, in this order of multiplying: as the references do.
    wide, high = (int((resize_to or size) * side / short) for side in image.size)
    margins = wide - size, high - size
    left, top = (margin // 2 if middle == "floor" else round(margin / 2) for margin in margins)
    if wide * high > MOST_RESIZED:
        x, y = image.width / wide, image.height / high
        return _resampled_part(image, size, interpolation, (left * x, top * y, (left + size) * x, (top + size) * y))
    return image.resize((wide, high), FILTERS[interpolation]).crop((left, top, left + size, top + size))


def _resampled_part(image: Image.Image, size: int, interpolation: Interpolation, box: Box) -> Image.Image:
    """A box to a square by what the whole picture would give there, within a level or two of rounding.

    Across, then down, as Pillow enlarges a whole picture; of a box it may turn that round, and each pass rounds.
    """
    reach = math.ceil(4 * max(1, (box[2] - box[0]) / size, (box[3] - box[1]) / size))  # beyond any filter's
    near = int(box[0]) - reach, int(box[1]) - reach, int(box[2]) + reach + 1, int(box[3]) + reach + 1
    left, top = max(0, near[0]), max(0, near[1])
    image = image.crop((left, top, min(image.width, near[2]), min(image.height, near[3])))
    across = box[0] - left, 0, box[2] - left, image.height
    image = image.resize((size, image.height), FILTERS[interpolation], across)
    return resample(image, size, interpolation, (0, box[1] - top, size, box[3] - top))


def squash(image: Image.Image, size: int, interpolation: Interpolation) -> Image.Image:
    """SigLIP's rule: the whole picture into a square, whatever its aspect."""
    return resample(image, size, interpolation, None)


def resample(image: Image.Image, size: int, interpolation: Interpolation, box: Box | None) -> Image.Image:
    """A box of the picture, or all of it, to a square; no copy of the box is made."""
    return image.resize((size, size), FILTERS[interpolation], box=box)


def random_box(width: int, height: int, scale: Range, ratio: Range, rng: np.random.Generator) -> Box:
    """A box of random area and aspect within the picture (Szegedy et al., "Going deeper with convolutions", 2015).

    Args:
      scale: range of the box's share of the area, drawn uniformly.
      ratio: range of width / height, drawn uniformly in its logarithm.

    Returns:
      The first of ten draws that fits; where none does, the largest box in the middle whose aspect lies in `ratio`.
    """
    draws = rng.random((CROP_TRIES, 4)).tolist()
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for area, aspect, x, y in draws:
        wanted = width * height * (scale[0] + area * (scale[1] - scale[0]))
        shape = math.exp(low + aspect * (high - low))
        wide, tall = round(math.sqrt(wanted * shape)), round(math.sqrt(wanted / shape))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = int(x * (width - wide + 1)), int(y * (height - tall + 1))
            return left, top, left + wide, top + tall
    return _middle(width, height, min(width, height * ratio[1]), min(height, width / ratio[0]))


def _middle(width: int, height: int, wide: Number, tall: Number) -> Box:
    return (width - wide) / 2, (height - tall) / 2, (width + wide) / 2, (height + tall) / 2


def shift(pixels: UInt8[np.ndarray, "h w 3"], most: int, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Moves the picture by up to `most` pixels each way; zeros come in at the edges."""
    down, right = rng.integers(-most, most + 1, size=2).tolist()
    height, width = pixels.shape[:2]
    out = np.zeros_like(pixels)
    out[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = pixels[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return out


def cutout(pixels: UInt8[np.ndarray, "h w 3"], side: int, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Zeros in a square whose middle is anywhere in the picture (DeVries and Taylor, 2017)."""
    height, width = pixels.shape[:2]
    top, left = (int(rng.integers(0, n)) - side // 2 for n in (height, width))
    out = pixels.copy()
    out[max(top, 0) : top + side, max(left, 0) : left + side] = 0
    return out
