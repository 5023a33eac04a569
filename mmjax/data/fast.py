"""Random crops of pictures by libjpeg-turbo and OpenCV, about three times as fast as by Pillow.

JPEGs decode to the same pixels as by Pillow. OpenCV's cubic filter is a little sharper (a = -0.75 against -0.5), so a
crop differs from Pillow's by one or two levels: nothing to augmentation, but evaluation stays with Pillow.
"""

import functools
import importlib.util

import numpy as np
from jaxtyping import UInt8

from mmjax.data.decode import MAX_PIXELS, MIN_SIDE, decode
from mmjax.data.transforms import Box
from mmjax.errors import UserError

Pixels = UInt8[np.ndarray, "h w 3"]


def check() -> None:
    """Raises UserError where the libraries are missing."""
    missing = [name for name in ("cv2", "simplejpeg") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"an image stream with resampler 'opencv' needs {' and '.join(missing)}: pip install 'mmjax[fast]', "
            "or take resampler 'pillow'"
        )


def picture(data: bytes, shortest: int) -> Pixels:
    """As `decode.decode`, faster for ordinary JPEGs. Raises BadItem."""
    import simplejpeg

    # An orientation would have to be applied: pictures with EXIF take the slow way.
    if data[:2] == b"\xff\xd8" and b"Exif\0\0" not in data:
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if colours in ("YCbCr", "Gray") and min(height, width) >= MIN_SIDE and height * width <= MAX_PIXELS:
                return simplejpeg.decode_jpeg(data, min_height=shortest, min_width=shortest, min_factor=2)
        except ValueError:
            pass  # Pillow says what is wrong with it
    return decode(data, shortest)


def resample(pixels: Pixels, size: int, box: Box) -> UInt8[np.ndarray, "size size 3"]:
    """A box of whole pixels to a square: cubic where it grows, averaged over areas where it shrinks."""
    left, top, right, bottom = map(round, box)
    grows = size >= max(right - left, bottom - top)
    filter_ = _cv2().INTER_CUBIC if grows else _cv2().INTER_AREA
    return _cv2().resize(pixels[top:bottom, left:right], (size, size), interpolation=filter_)


@functools.cache
def _cv2():
    import cv2

    cv2.setNumThreads(1)  # the loader has threads or processes of its own
    return cv2
