"""Encoded images to uint8 RGB, whatever they are; or BadItem, never a warning, never half a picture."""

import io
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mmjax.errors import BadItem

MAX_PIXELS = 2**26  # 8192 x 8192; more is refused before any pixel is decoded
MIN_SIDE = 2  # a picture one pixel wide is a web page's spacer
# Never all that Pillow knows: some of its formats start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

# The limit above refuses what Pillow would only warn of; and a damaged file is listed with its reason, by its reader.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(
    image: bytes | np.ndarray, shortest: int | None = None, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of an encoded image, upright, on white where it is transparent.

    Args:
      image: a file's content; or uint8 `[h, w, 3]`, which comes back as it is.
      shortest: the caller needs no more than this many pixels on the short side, so a JPEG may be decoded at 1/2, 1/4
        or 1/8 of its size as long as its short side stays that long.
      max_pixels: width times height beyond which it is refused.

    Raises:
      BadItem: with one line that says why it cannot be used.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise BadItem(f"the image is an array {image.dtype}{list(image.shape)}, not uint8 [h, w, 3]")
        return image
    return np.array(open_image(image, shortest, max_pixels))


def open_image(data: bytes, shortest: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """As `decode`, as a loaded Pillow image of mode RGB, for a caller that resizes with Pillow."""
    if not data:
        raise BadItem("the image has zero bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse(image.size, max_pixels)
            if shortest:
                image.draft(None, (shortest, shortest))  # JPEG alone; never smaller than asked for
            image.load()
            return to_rgb(upright(image))
    except BadItem:
        raise
    except Image.UnidentifiedImageError:
        raise BadItem("not an image of a known format") from None
    except Image.DecompressionBombError:  # Pillow's own limit, which comes before the size is known here
        raise BadItem(f"decompression bomb: more than {max_pixels:,} pixels") from None
    except Exception as error:  # what damaged files raise in Pillow's plugins has no common class
        what = "is truncated" if "truncated" in str(error).lower() else f"does not decode: {_one_line(error)}"
        raise BadItem(f"the image {what}") from None


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; as it is where EXIF is absent or damaged."""
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF is no reason to lose the picture
        turn = None
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: 16-bit grey scaled to 8 bits, transparency composited on white, CMYK by Pillow's formula."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # 16-bit grey, also in 32-bit integers; convert("L") would clip it to white
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise BadItem("float pixels have no known range; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _refuse(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise BadItem(f"decompression bomb: {width} x {height} pixels, more than {max_pixels:,} in all")
    if min(size) < MIN_SIDE:
        raise BadItem(f"{width} x {height} pixels: too small to be a picture")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
