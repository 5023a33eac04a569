"""Pixels of every family's reference processor, on nasty pictures; their configs in, out and in again."""

import functools
import io
import json
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmjax.config import build
from mmjax.data.streams import STREAMS, ImageStream
from mmjax.data.streams.patches import grid
from mmjax.errors import BadItem, UserError
from mmjax.interop.processors import (
    KINDS,
    differences,
    from_open_clip,
    image_section,
    preprocessor_config,
    to_open_clip,
)
from mmjax.models.encoders.stems import normalise
from tests.data.test_transforms import FILES, encoded, picture
from tests.interop.torch_peers import import_open_clip, mend_torchvision

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
# As the checkpoints on the Hub have them, with a small size; old ones have a bare number and a feature extractor.
CONFIGS = {
    "clip": {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "crop_size": 56,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "resample": 3,
        "size": 56,
    },
    "chinese_clip": {
        "image_processor_type": "ChineseCLIPImageProcessor",
        "crop_size": {"height": 57, "width": 57},
        "size": {"shortest_edge": 57},
        "do_convert_rgb": True,
        "rescale_factor": 0.00392156862745098,
    },
    "siglip": {
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "SiglipProcessor",
        "do_convert_rgb": None,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "size": {"height": 56, "width": 56},
    },
    "siglip2": {
        "image_processor_type": "Siglip2ImageProcessorFast",
        "do_convert_rgb": True,
        "max_num_patches": 40,
        "patch_size": 8,
        "data_format": "channels_first",
    },
    "vit": {"feature_extractor_type": "ViTFeatureExtractor", "size": 56, "image_mean": [0.485, 0.456, 0.406]},
    "dinov2": {
        "image_processor_type": "BitImageProcessor",
        "crop_size": {"height": 56, "width": 56},
        "do_center_crop": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "size": {"shortest_edge": 64},
    },
}
# Very long ones; and margins of 3 pixels, half of which is rounded down here and up there.
SIZES = [(2, 90), (900, 9), (9, 900), (59, 56), (57, 60)]
PICTURES = FILES | {f"{w}x{h}": encoded(picture(w, h), "PNG") for w, h in SIZES}
UPRIGHT = {name: ImageOps.exif_transpose(Image.open(io.BytesIO(data))) for name, data in PICTURES.items()}


@functools.cache
def reference(kind):
    """The processor of transformers that needs no torch, from the config as it is on the Hub."""
    mend_torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import models

        module = {"dinov2": "bit"}.get(kind, kind)
        name = KINDS[kind]
        processors = getattr(getattr(models, module), f"image_processing_pil_{module}")
        return getattr(processors, f"{name}Pil")(**CONFIGS[kind])


def whole_reference(kind, name, **options):
    image = UPRIGHT[name]
    if kind in ("vit", "siglip"):  # these convert nothing, and then fail on grey pictures and lose an alpha channel
        from transformers.image_transforms import convert_to_rgb

        image = Image.fromarray(convert_to_rgb(image, return_numpy=True))
    return reference(kind)(images=image, **options)


def stream_of(section):
    return build(section, STREAMS, "data.streams.image")


def wrong_pixels(stream, kind):
    """The pictures whose uint8 pixels are not the reference's; of patches, also masks and grids."""
    out = []
    for name, data in PICTURES.items():
        ours = stream(data, None)
        theirs = whole_reference(kind, name, do_rescale=False, do_normalize=False)
        pixels = np.asarray(theirs["pixel_values"][0])
        same = np.array_equal(ours["data"], pixels if pixels.ndim == 2 else pixels.transpose(1, 2, 0))
        if kind == "siglip2":
            same &= np.array_equal(ours["mask"], np.asarray(theirs["pixel_attention_mask"][0]))
            rows, columns = theirs["spatial_shapes"][0]
            same &= np.array_equal(ours["position"][ours["mask"]], list(np.ndindex(rows, columns)))
        if not same:
            out.append(name)
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_the_references(kind):
    assert wrong_pixels(stream_of(image_section(CONFIGS[kind]).section), kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_values_after_normalising_are_the_references(kind):
    """Not bit for bit: XLA turns a division by a constant into a product with its reciprocal, numpy divides.

    That is one unit in the last place of x / 255 and of the quotient by std, at values up to 2.7: below 1e-6.
    """
    processing = image_section(CONFIGS[kind])
    stream = stream_of(processing.section)
    for name, data in PICTURES.items():
        ours = stream(data, None)
        theirs = np.asarray(whole_reference(kind, name)["pixel_values"][0])
        pixels = ours["data"]
        if kind == "siglip2":
            pixels = pixels[ours["mask"]].reshape(1, -1, 64, 3)
            theirs = theirs[ours["mask"]].reshape(-1, 64, 3)
        else:
            pixels, theirs = pixels[None], theirs.transpose(1, 2, 0)
        values = np.asarray(normalise(pixels, np.ones(1, bool), processing.mean, processing.std))[0]
        assert np.abs(values - theirs).max() <= 1e-6, name


def mutated(kind, **changes):
    return stream_of(image_section(CONFIGS[kind]).section | changes)


MUTANTS = {
    "bilinear for bicubic": ("clip", mutated("clip", interpolation="bilinear")),
    "bicubic for bilinear": ("vit", mutated("vit", interpolation="bicubic")),
    "squash for crop": ("chinese_clip", mutated("chinese_clip", resize="squash")),
    "crop for squash": ("siglip", mutated("siglip", resize="shortest")),
    "resized to the crop": ("dinov2", mutated("dinov2", resize_to=None)),
    "torchvision's middle": ("clip", mutated("clip", middle="round")),
    "patches of bicubic": ("siglip2", mutated("siglip2", interpolation="bicubic")),
    "fewer patches": ("siglip2", mutated("siglip2", max_patches=39)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_reference_rejects_wrong_rules(mutant):
    kind, stream = MUTANTS[mutant]
    assert wrong_pixels(stream, kind)


def test_the_reference_rejects_resizing_without_antialias():
    def stream(data, rng):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        box = 0, 0, *image.size
        small = image.transform((56, 56), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
        return {"data": np.asarray(small)}

    assert "301x97" in wrong_pixels(stream, "siglip")


def test_the_grid_of_patches_is_the_references():
    mend_torchvision()
    from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches

    sizes = [(h, w) for h in (1, 2, 15, 16, 17, 224, 375, 640, 4001) for w in (1, 2, 100, 256, 500, 1023, 60_000)]
    for patch, most in ((16, 256), (14, 729), (16, 1), (8, 40)):
        for height, width in sizes:
            expected = get_image_size_for_max_num_patches(height, width, patch, most)
            assert tuple(patch * n for n in grid(height, width, patch, most)) == expected


# Where a picture is not one to read plainly, mmjax decides by itself, and the reference by how it was opened.


def test_a_rotated_picture_is_turned_upright_as_load_image_does_and_a_bare_processor_does_not(tmp_path):
    mend_torchvision()
    from transformers.image_utils import load_image

    data = FILES["exif 6"]
    (tmp_path / "turned.jpg").write_bytes(data)
    ours = stream_of(image_section(CONFIGS["siglip"]).section)(data, None)["data"].transpose(2, 0, 1)
    options = dict(do_rescale=False, do_normalize=False)
    loaded = reference("siglip")(images=load_image(str(tmp_path / "turned.jpg")), **options)["pixel_values"][0]
    bare = reference("siglip")(images=Image.open(io.BytesIO(data)), **options)["pixel_values"][0]
    np.testing.assert_array_equal(ours, loaded)
    assert (ours != bare).any()


def test_sixteen_bits_are_scaled_where_the_reference_clips():
    values = np.linspace(0, 65535, 60 * 60).reshape(60, 60).astype(np.uint16)
    data = encoded(Image.fromarray(values), "PNG")
    ours = stream_of(image_section(CONFIGS["siglip"]).section)(data, None)["data"]
    options = dict(do_rescale=False, do_normalize=False)
    eight = Image.fromarray(((values.astype(int) + 128) // 257).astype(np.uint8)).convert("RGB")
    scaled = reference("siglip")(images=eight, **options)["pixel_values"][0].transpose(1, 2, 0)
    np.testing.assert_array_equal(ours, scaled)
    clipped = reference("siglip")(images=Image.open(io.BytesIO(data)).convert("RGB"), **options)["pixel_values"][0]
    assert (np.asarray(clipped) == 255).mean() > 0.9


def test_one_pixel_is_no_picture_here_and_one_there():
    data = encoded(picture(1, 1), "PNG")
    with pytest.raises(BadItem, match="too small to be a picture"):
        ImageStream(size=8)(data, None)
    one = np.asarray(Image.open(io.BytesIO(data)))
    ours = ImageStream(size=56, resize="squash")(one, None)["data"].transpose(2, 0, 1)  # an array is taken as it is
    options = dict(do_rescale=False, do_normalize=False, input_data_format="channels_last")
    np.testing.assert_array_equal(ours, reference("siglip")(images=one, **options)["pixel_values"][0])


@pytest.mark.parametrize("kind", KINDS)
def test_configs_go_out_as_they_came_in_and_auto_classes_load_them(kind, tmp_path):
    mend_torchvision()
    from transformers import AutoImageProcessor

    processing = image_section(CONFIGS[kind])
    out = preprocessor_config(kind, processing.section, processing.mean, processing.std)
    assert image_section(json.loads(json.dumps(out))) == processing
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(out))
    loaded = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    assert type(loaded).__name__ == f"{KINDS[kind]}Pil"
    image = UPRIGHT["301x97"]
    ours, theirs = (processor(images=image)["pixel_values"][0] for processor in (loaded, reference(kind)))
    np.testing.assert_array_equal(ours, theirs)
    assert image_section(loaded.to_dict()) == processing, "what transformers writes is read, too"


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_that_names_no_processor_is_read_by_the_familys(kind, tmp_path):
    mend_torchvision()
    from transformers import AutoConfig, AutoImageProcessor

    config = {key: value for key, value in CONFIGS[kind].items() if not key.endswith("_type")}
    assert image_section(config, kind) == image_section(CONFIGS[kind])
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    AutoConfig.for_model(kind).save_pretrained(tmp_path)
    assert type(AutoImageProcessor.from_pretrained(tmp_path, backend="pil")).__name__ == f"{KINDS[kind]}Pil"


def test_a_processor_that_does_not_normalise_has_mean_0_and_std_1():
    processing = image_section(CONFIGS["siglip"] | {"do_normalize": False})
    assert (processing.mean, processing.std) == ((0.0,) * 3, (1.0,) * 3)


def test_augmentation_stays_behind():
    section = image_section(CONFIGS["clip"]).section
    trained = section | {"flip": True, "crop_scale": (0.5, 1.0)}
    assert preprocessor_config("clip", trained, CLIP_MEAN, CLIP_STD) == preprocessor_config(
        "clip", section, CLIP_MEAN, CLIP_STD
    )


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("clip", {"do_resize": False}, "do_resize is False: every picture .* set it to True"),
        ("clip", {"do_rescale": False}, "do_rescale is False"),
        ("clip", {"rescale_factor": 1 / 127.5}, "rescale_factor is 0.0078.* set it to 1 / 255"),
        ("clip", {"resample": 0}, "resample is 0: set it to 3"),
        ("clip", {"do_center_crop": False}, "do_center_crop is False: mmjax needs squares"),
        ("clip", {"crop_size": 60}, "crop_size is 60: mmjax pads no picture; set it to 56 or less"),
        ("clip", {"crop_size": {"height": 56, "width": 50}}, "crop_size is .* mmjax takes squares"),
        ("siglip", {"size": {"height": 56, "width": 50}}, "size is .* mmjax takes squares"),
        ("siglip", {"size": {"shortest_edge": 56, "longest_edge": 90}}, "size is .* mmjax takes squares"),
        ("siglip", {"size": {"longest_edge": 90}}, "size is .* mmjax takes squares"),
        ("siglip", {"do_center_crop": True, "crop_size": 50}, "crop_size is 50: mmjax crops nothing"),
        ("vit", {"do_pad": True}, "do_pad is True: mmjax knows no such key of a ViTImageProcessor"),
        ("vit", {"size_divisor": 32}, "size_divisor is 32"),
        ("vit", {"image_mean": [0.5]}, "image_mean is .* three colours"),
        ("vit", {"feature_extractor_type": "GLPNFeatureExtractor"}, "image_processor_type is 'GLPN.*mmjax knows CLIP"),
        ("vit", {"feature_extractor_type": None}, "image_processor_type is None"),
    ],
)
def test_what_cannot_be_followed_exactly_is_refused(kind, change, message):
    with pytest.raises(UserError, match=message):
        image_section(CONFIGS[kind] | change)


@pytest.mark.parametrize(
    ("kind", "section", "message"),
    [
        ("siglip2", {"name": "image"}, "cannot go out as Siglip2ImageProcessor, which takes 'patches'"),
        ("clip", {"name": "patches"}, "cannot go out as CLIPImageProcessor"),
        ("blip", {"name": "image"}, "no image processor for 'blip'; known: clip"),
    ],
)
def test_what_a_kind_cannot_say_is_refused(kind, section, message):
    with pytest.raises(UserError, match=message):
        preprocessor_config(kind, section, CLIP_MEAN, CLIP_STD)


# open_clip

OPEN_CLIP = {
    "shortest": {"size": 56},
    "squash": {"size": (56, 56), "resize_mode": "squash", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    "bilinear": {"size": [57, 57], "interpolation": "bilinear"},
}


@pytest.mark.parametrize("name", OPEN_CLIP)
def test_pixels_are_open_clips(name):
    """On RGB pictures: it resizes before it converts, a palette by the nearest pixel, and turns nothing upright."""
    import_open_clip()
    from open_clip.transform import PreprocessCfg, image_transform_v2

    processing = from_open_clip(OPEN_CLIP[name])
    stream = stream_of(processing.section)
    transform = image_transform_v2(PreprocessCfg(**OPEN_CLIP[name]), is_train=False)
    mutant = stream_of(processing.section | {"middle": "floor"})
    differ = set()
    for what, data in PICTURES.items():
        image = Image.open(io.BytesIO(data))
        if image.mode != "RGB" or "exif" in what:
            continue
        theirs = transform(image).numpy().transpose(1, 2, 0)
        pixels = np.round((theirs * np.float64(processing.std) + processing.mean) * 255)
        np.testing.assert_array_equal(stream(data, None)["data"], pixels, what)
        values = normalise(stream(data, None)["data"][None], np.ones(1, bool), processing.mean, processing.std)[0]
        assert np.abs(values - theirs).max() <= 1e-6
        differ |= {what} if (mutant(data, None)["data"] != pixels).any() else set()
    assert bool(differ) == (name != "squash"), "the middle of transformers is another one"


@pytest.mark.parametrize("name", OPEN_CLIP)
def test_open_clips_configs_go_out_as_they_came_in(name):
    import_open_clip()
    from open_clip.transform import PreprocessCfg

    processing = from_open_clip(OPEN_CLIP[name])
    out = to_open_clip(processing.section, processing.mean, processing.std)
    assert from_open_clip(json.loads(json.dumps(out))) == processing
    assert PreprocessCfg(**out).size == processing.section["size"]


def test_the_models_size_stands_in_for_one_that_is_not_given():
    assert from_open_clip({"mean": [0.5] * 3}, size=336).section["size"] == 336
    assert from_open_clip({"size": 224, "interpolation": "random"}, size=336).section["size"] == 224


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize_mode": "longest"}, "resize_mode is 'longest': mmjax pads no picture"),
        ({"size": (56, 64)}, "size is .* mmjax takes squares"),
        ({"mode": "L"}, "mode is 'L'"),
        ({"interpolation": "nearest"}, "interpolation is 'nearest'"),
    ],
)
def test_what_open_clip_has_and_mmjax_has_not_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        from_open_clip(change)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "patches"}, "takes square pictures"),
        (
            {"name": "image", "size": 224, "resize_to": 256},
            "resize_to is 256: open_clip crops nothing .* set it to 224",
        ),
        ({"name": "image", "interpolation": "lanczos"}, "interpolation is 'lanczos'"),
    ],
)
def test_what_mmjax_has_and_open_clip_has_not_is_refused(section, message):
    with pytest.raises(UserError, match=message):
        to_open_clip(section, CLIP_MEAN, CLIP_STD)


def test_what_the_other_library_does_otherwise_is_told():
    cropped = from_open_clip({}).section
    assert differences("open_clip", cropped) == []
    assert "transformers crops as 'floor'" in differences("hf", cropped)[0]
    assert "open_clip crops as 'round'" in differences("open_clip", image_section(CONFIGS["clip"]).section)[0]
    for kind in KINDS:
        assert differences("hf", image_section(CONFIGS[kind]).section) == []
    assert differences("open_clip", image_section(CONFIGS["siglip"]).section) == []
