"""Evaluation pixels equal the reference processors' bit for bit; random boxes keep their promises."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mmjax.data import transforms
from mmjax.data.streams import ImageStream
from tests.interop.torch_peers import mend_torchvision

SIZES = [(1, 1), (37, 23), (23, 37), (224, 224), (225, 223), (301, 97), (50, 800), (640, 11), (1023, 767), (7, 5)]
MODES = ["L", "CMYK", "P", "RGBA", "LA", "1", "YCbCr"]


def picture(width, height, seed=0):
    """Structure at all scales, so that filters differ, with hard edges, so that they overshoot."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((width, height), Image.NEAREST)
    noise = rng.integers(-60, 60, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def files():
    """Encoded pictures of all kinds, by what is special about them."""
    base = picture(173, 120)
    out = {f"{w}x{h}": encoded(picture(w, h), "PNG") for w, h in SIZES if min(w, h) > 1}
    for mode in MODES:
        kind = {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG")
        image = base.quantize(17) if mode == "P" else base.convert(mode)
        out[mode] = encoded(image, kind)
    out["cmyk jpeg"] = encoded(base.convert("CMYK"), "JPEG")
    out["grey jpeg"] = encoded(base.convert("L"), "JPEG")
    out["transparent palette"] = encoded(base.quantize(9), "PNG", transparency=3)
    translucent = base.convert("RGBA")
    translucent.putalpha(base.convert("L"))
    out["translucent"] = encoded(translucent, "PNG")
    for turn in (3, 6, 8, 5):
        exif = Image.Exif()
        exif[0x0112] = turn
        out[f"exif {turn}"] = encoded(base, "JPEG", exif=exif)
    return out


FILES = files()


def reference(name, data, size, interpolation="bicubic"):
    """The processor of `transformers`, fed as its own `load_image` feeds it: upright."""
    mend_torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
        from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    options = {"do_rescale": False, "do_normalize": False, "resample": transforms.FILTERS[interpolation]}
    square = {"height": size, "width": size}
    if name == "clip":
        processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=square, **options)
    else:
        processor = SiglipImageProcessorPil(size=square, **options)
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(processor(images=image)["pixel_values"][0]).transpose(1, 2, 0)


def differing(transform, name, size, interpolation="bicubic"):
    """The pictures on which a transform is not the reference."""
    return [
        what
        for what, data in FILES.items()
        if not np.array_equal(transform(data), reference(name, data, size, interpolation))
    ]


@pytest.mark.parametrize("size", [32, 223, 224])
@pytest.mark.parametrize(("name", "resize"), [("clip", "shortest"), ("siglip", "squash")])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_evaluation_pixels_are_the_references(name, resize, interpolation, size):
    stream = ImageStream(size=size, resize=resize, interpolation=interpolation)
    assert differing(lambda data: stream(data, None)["data"], name, size, interpolation) == []


def rgb(data):
    from mmjax.data.decode import open_image

    return open_image(data)


def rounded_size(data):
    image = rgb(data)
    scale = 32 / min(image.size)
    image = image.resize([max(32, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
    left, top = (image.width - 32) // 2, (image.height - 32) // 2
    return np.asarray(image.crop((left, top, left + 32, top + 32)))


MUTANTS = {
    "bilinear for bicubic": ("clip", lambda data: ImageStream(size=32, interpolation="bilinear")(data, None)["data"]),
    "squash for crop": ("clip", lambda data: ImageStream(size=32, resize="squash")(data, None)["data"]),
    "crop for squash": ("siglip", lambda data: ImageStream(size=32)(data, None)["data"]),
    "antialias lost": (
        "siglip",
        lambda data: np.asarray(
            rgb(data).transform((32, 32), Image.Transform.EXTENT, (0, 0, *rgb(data).size), Image.Resampling.BICUBIC)
        ),
    ),
    "rounded, not truncated": ("clip", rounded_size),
    "EXIF ignored": (
        "siglip",
        lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)),
    ),
    "decoded at reduced scale": ("siglip", lambda data: np.asarray(_reduced(data))),
}


def _reduced(data):
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (32, 32))
    return ImageOps.exif_transpose(image).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_reference_rejects_wrong_rules(mutant):
    name, transform = MUTANTS[mutant]
    assert differing(transform, name, 32)


@pytest.mark.parametrize("shape", [(2, 10_000_000), (10_000_000, 2)])
def test_a_thread_of_a_picture_costs_no_gigabytes(shape):
    image = Image.fromarray(np.full((*shape, 3), 99, np.uint8))
    assert np.asarray(transforms.shortest_edge(image, 224, "bicubic")).min() == 99


@pytest.mark.parametrize("middle", ["floor", "round"])
@pytest.mark.parametrize("shape", [(40_000, 3), (3, 40_001)])
def test_a_thread_is_cropped_where_the_reference_crops(shape, middle):
    image = picture(*shape)  # so long that only its middle is resized
    size = [int(40 * side / min(shape)) for side in shape]
    left, top = (int((side - 32) / 2 if middle == "floor" else round((side - 32) / 2)) for side in size)
    by_size = image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + 32, top + 32))
    ours = np.asarray(transforms.shortest_edge(image, 32, "bicubic", 40, middle)).astype(int)
    assert np.abs(ours - np.asarray(by_size)).max() <= 1  # Pillow keeps the edges of a box as float32


@given(width=st.integers(1, 500), height=st.integers(1, 500), low=st.floats(0.05, 1), seed=st.integers(0, 1000))
@settings(max_examples=200, deadline=None)
def test_random_boxes_lie_inside_and_have_the_area_and_aspect_asked_for(width, height, low, seed):
    rng = np.random.default_rng(seed)
    left, top, right, bottom = transforms.random_box(width, height, (low, 1.0), (0.75, 4 / 3), rng)
    wide, tall = right - left, bottom - top
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    # Whole pixels: half a pixel of rounding on each side.
    assert 0.75 * (tall - 0.5) - 0.5 <= wide <= 4 / 3 * (tall + 0.5) + 0.5
    whole = width / height < 0.75 or width / height > 4 / 3
    assert whole or (wide + 0.5) * (tall + 0.5) >= low * width * height


def test_random_boxes_reach_all_of_the_picture():
    rng = np.random.default_rng(0)
    boxes = np.array([transforms.random_box(40, 30, (0.3, 0.6), (0.75, 4 / 3), rng) for _ in range(500)])
    assert boxes[:, :2].min(0).tolist() == [0, 0]
    assert boxes[:, 2:].max(0).tolist() == [40, 30]


def test_shift_moves_and_fills_with_zeros():
    pixels = np.arange(1, 76, dtype=np.uint8).reshape(5, 5, 3)
    seen = set()
    for seed in range(60):
        moved = transforms.shift(pixels, 2, np.random.default_rng(seed))
        places = np.argwhere(moved[..., 0] == pixels[2, 2, 0])
        ((row, column),) = places.tolist()
        seen.add((row - 2, column - 2))
        expected = np.zeros_like(pixels)
        for y, x in np.ndindex(5, 5):
            if 0 <= y + row - 2 < 5 and 0 <= x + column - 2 < 5:
                expected[y + row - 2, x + column - 2] = pixels[y, x]
        np.testing.assert_array_equal(moved, expected)
    assert {(-2, -2), (2, 2)} <= {(max(-2, a), b) for a, b in seen} and len(seen) > 15


def test_cutout_leaves_the_rest_alone():
    pixels = np.full((9, 9, 3), 5, np.uint8)
    cut = transforms.cutout(pixels, 3, np.random.default_rng(0))
    assert pixels.min() == 5
    assert 3 <= (cut == 0).sum() <= 27 and set(np.unique(cut)) == {0, 5}
