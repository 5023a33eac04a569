"""Decoding: every Pillow mode, reduced scale, limits; no bytes whatever raise anything but BadItem."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from mmjax.data.decode import MAX_PIXELS, MIN_SIDE, decode, open_image
from mmjax.errors import BadItem

from .bad_inputs import SMOOTH, encode, exif


def test_arrays_come_back_as_they_are():
    assert decode(SMOOTH) is SMOOTH


@pytest.mark.parametrize("array", [SMOOTH[..., 0], SMOOTH.astype(np.float32), np.zeros((4, 4, 4), np.uint8)])
def test_other_arrays_are_bad(array):
    with pytest.raises(BadItem, match=r"not uint8 \[h, w, 3\]"):
        decode(array)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_are_exact(kind):
    assert (decode(encode(SMOOTH, kind)) == SMOOTH).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_every_orientation(orientation, kind):
    """Against the picture that a camera held that way would have stored."""
    stored = {
        1: SMOOTH,
        2: SMOOTH[:, ::-1],
        3: SMOOTH[::-1, ::-1],
        4: SMOOTH[::-1],
        5: SMOOTH.transpose(1, 0, 2),
        6: np.rot90(SMOOTH),
        7: SMOOTH[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(SMOOTH, -1),
    }[orientation]
    assert (decode(encode(np.ascontiguousarray(stored), kind, exif=exif(orientation))) == SMOOTH).all()


@pytest.mark.parametrize("shortest", [None, 1, 50, 51, 100, 101, 200, 201, 400, 500])
@pytest.mark.parametrize("orientation", [1, 6])
def test_reduced_scale_is_never_smaller_than_asked(shortest, orientation):
    image = np.asarray(Image.fromarray(SMOOTH).resize((600, 400)))
    shape = decode(encode(image, "JPEG", exif=exif(orientation)), shortest).shape[:2]
    assert min(shape) == {None: 400, 1: 50, 50: 50, 51: 100, 100: 100, 101: 200, 200: 200}.get(shortest, 400)
    assert shape[0] / shape[1] == pytest.approx(2 / 3 if orientation == 1 else 3 / 2)


def test_reduced_scale_is_the_same_picture():
    image = np.asarray(Image.fromarray(SMOOTH).resize((640, 480), Image.Resampling.BICUBIC))
    small = decode(encode(image, "JPEG", quality=95), 100).astype(int)
    means = image.reshape(120, 4, 160, 4, 3).mean((1, 3))
    assert np.abs(small - means).max() < 8
    assert np.abs(small[::-1] - means).max() > 50


def test_only_jpeg_is_reduced():
    assert decode(encode(SMOOTH, "PNG"), 2).shape == SMOOTH.shape


def test_the_limit_is_on_declared_pixels():
    data = encode(Image.new("1", (60, 40)), "PNG")
    assert decode(data, max_pixels=2400).shape == (40, 60, 3)
    with pytest.raises(BadItem, match="decompression bomb: 60 x 40 pixels, more than 2,399 in all"):
        decode(data, max_pixels=2399)


def test_the_default_limit_comes_before_any_pixel():
    wide = encode(Image.new("1", (MAX_PIXELS // 4096 + 1, 4096)), "PNG")
    with pytest.raises(BadItem, match="decompression bomb"):
        decode(wide)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_a_side_of_one_pixel_is_no_picture(size):
    with pytest.raises(BadItem, match="too small to be a picture"):
        decode(encode(Image.new("RGB", size), "PNG"))
    assert decode(encode(Image.new("RGB", (MIN_SIDE, MIN_SIDE)), "PNG")).shape == (MIN_SIDE, MIN_SIDE, 3)


def test_16_bit_grey_keeps_its_range():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for kind in ("PNG", "TIFF"):
        pixels = decode(encode(ramp, kind))
        assert (pixels == np.round(ramp / 257)[:, :, None]).all()


def test_half_transparent_is_half_white():
    image = Image.new("RGBA", (4, 4), (200, 100, 0, 128))
    assert decode(encode(image, "PNG"))[0, 0].tolist() == [227, 177, 127]


def test_formats_that_start_programs_are_refused():
    stream = io.BytesIO()
    Image.fromarray(SMOOTH).save(stream, "EPS")
    with pytest.raises(BadItem, match="not an image of a known format"):
        decode(stream.getvalue())


def test_open_image_is_loaded_rgb():
    image = open_image(encode(SMOOTH, "PNG"))
    assert image.mode == "RGB" and (np.asarray(image) == SMOOTH).all()


KINDS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
WHOLE = {kind: encode(SMOOTH, kind) for kind in KINDS}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8))
def test_any_damage_gives_a_picture_or_a_bad_item(kind, changes):
    data = bytearray(WHOLE[kind])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        pixels = decode(bytes(data), max_pixels=10_000)
    except BadItem as error:
        assert "\n" not in str(error)
    else:
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_file_is_refused_or_loses_no_pixel(kind):
    data = WHOLE[kind]
    whole = decode(data)
    refused = 0
    sizes = sorted({*range(0, len(data), 37), *range(len(data) - 40, len(data))})
    for size in sizes:
        try:
            assert (decode(data[:size]) == whole).all(), f"half a picture of {size} bytes"
        except BadItem:
            refused += 1
    assert refused > 0.5 * len(sizes)


def test_a_lenient_decoder_would_give_half_a_picture(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = WHOLE["JPEG"]
    assert (decode(data[:-100]) != decode(data)).any()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data):
    with pytest.raises(BadItem):
        decode(data)
