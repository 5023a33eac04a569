"""Image preprocessing, in and out: theirs as a section of our image stream, with the tower's mean and std; and back.

What mmjax cannot do exactly as the reference does is refused by the name of its key: pixels that are nearly right give
a model that is nearly right, and nobody notices.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mmjax.errors import UserError

Config = Mapping[str, Any]
Section = Mapping[str, Any]
Library = Literal["hf", "open_clip"]


@dataclasses.dataclass(frozen=True)
class ImageProcessing:
    """How a model sees a picture.

    Attributes:
      section: of `mmjax.data.streams`: name "image" or "patches", no augmentation.
      mean, std: per colour, of pixels in [0, 1]; attributes of the image encoder.
    """

    section: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]


CLIP = dict(image_mean=(0.48145466, 0.4578275, 0.40821073), image_std=(0.26862954, 0.26130258, 0.27577711))
HALVES = dict(image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5))
_ALL = dict(do_resize=True, do_rescale=True, rescale_factor=1 / 255, do_normalize=True)
_SHORTEST = dict(resample=3, size={"shortest_edge": 224}, do_center_crop=True, crop_size=224, **CLIP, **_ALL)
# What a file leaves out, by the class that reads it; and whether a bare number as size means both sides.
DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": dict(_SHORTEST),
    "ChineseCLIPImageProcessor": dict(_SHORTEST),
    "BitImageProcessor": dict(_SHORTEST),
    "SiglipImageProcessor": dict(resample=3, size={"height": 224, "width": 224}, **HALVES, **_ALL),
    "ViTImageProcessor": dict(resample=2, size=224, default_to_square=True, **HALVES, **_ALL),
    "Siglip2ImageProcessor": dict(resample=2, patch_size=16, max_num_patches=256, **HALVES, **_ALL),
}
KINDS = {
    "clip": "CLIPImageProcessor",
    "chinese_clip": "ChineseCLIPImageProcessor",
    "siglip": "SiglipImageProcessor",
    "siglip2": "Siglip2ImageProcessor",
    "vit": "ViTImageProcessor",
    "dinov2": "BitImageProcessor",
}
INTERPOLATIONS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # the numbers are Pillow's
# Keys that change no pixel here: names, what our stream does anyway, and how transformers moves arrays about.
IDLE = {
    *("image_processor_type", "feature_extractor_type", "processor_class", "auto_map", "_valid_processor_keys"),
    *("do_convert_rgb", "default_to_square", "data_format", "input_data_format", "return_tensors"),
    *("use_fast", "device", "disable_grouping", "image_seq_length"),
}


def image_section(preprocessor: Config, family: str | None = None) -> ImageProcessing:
    """Reads a `preprocessor_config.json`, or the `image_processor` part of a `processor_config.json`.

    Args:
      family: one of `KINDS`: whose processor reads a config that names none, as `AutoImageProcessor` chooses it.

    Raises:
      UserError: an image processor that is not known here, or a key whose value mmjax cannot follow exactly.
    """
    kind = _kind(preprocessor, family)
    given = {key: value for key, value in preprocessor.items() if value is not None}
    config = DEFAULTS[kind] | given
    for key in sorted(given.keys() - DEFAULTS[kind].keys() - IDLE - {"do_center_crop", "crop_size"}):
        if given[key]:
            raise _refused(key, given[key], f"mmjax knows no such key of a {kind}; take it out if it changes no pixel")
    _require(config, "do_resize", True, "every picture of a stream has the same size")
    _require(config, "do_rescale", True, "the encoder divides by 255 itself")
    if abs(config["rescale_factor"] * 255 - 1) > 1e-6:
        raise _refused("rescale_factor", config["rescale_factor"], "the encoder divides by 255; set it to 1 / 255")
    if config["resample"] not in INTERPOLATIONS:
        raise _refused("resample", config["resample"], "set it to 3 (bicubic), 2 (bilinear) or 1 (lanczos)")
    section = _patches(config) if kind == "Siglip2ImageProcessor" else _square(config)
    plain = ((0.0,) * 3, (1.0,) * 3)
    mean, std = (_colours(config, key) for key in ("image_mean", "image_std")) if config["do_normalize"] else plain
    return ImageProcessing(section, mean, std)


def preprocessor_config(kind: str, section: Section, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """The `preprocessor_config.json` that gives `transformers` the evaluation pixels of a stream.

    The inverse of `image_section`. See `differences` for what it cannot say.

    Args:
      kind: one of `KINDS`.
      section: of the stream; keys that it leaves out have the stream's defaults, and augmentation is left behind.

    Raises:
      UserError: the kind has no such preprocessing.
    """
    if kind not in KINDS:
        raise UserError(f"no image processor for {kind!r}; known: {', '.join(KINDS)}")
    wanted = "patches" if kind == "siglip2" else "image"
    if section["name"] != wanted:
        raise UserError(f"an image stream {section['name']!r} cannot go out as {KINDS[kind]}, which takes {wanted!r}")
    resample = {name: number for number, name in INTERPOLATIONS.items()}
    default = "bilinear" if wanted == "patches" else "bicubic"
    return {
        "image_processor_type": KINDS[kind],
        **_ALL,
        "resample": resample[section.get("interpolation", default)],
        "image_mean": list(mean),
        "image_std": list(std),
        **(_patch_keys(section) if wanted == "patches" else _square_keys(section)),
    }


OPEN_CLIP = dict(size=224, mode="RGB", interpolation="bicubic", resize_mode="shortest", fill_color=0)
OPEN_CLIP |= dict(mean=CLIP["image_mean"], std=CLIP["image_std"])


def from_open_clip(preprocess_cfg: Config, size: int | None = None) -> ImageProcessing:
    """Reads the `preprocess_cfg` of an `open_clip_config.json` or of a loaded model.

    Args:
      size: of the model's `vision_cfg`, for a config that gives none.

    Raises:
      UserError: a key whose value mmjax cannot follow exactly.
    """
    given = {key: value for key, value in preprocess_cfg.items() if value is not None}
    config = OPEN_CLIP | ({} if size is None else {"size": size}) | given
    _require(config, "mode", "RGB", "mmjax reads colours")
    if config["resize_mode"] not in ("shortest", "squash"):
        raise _refused("resize_mode", config["resize_mode"], "mmjax pads no picture; set it to 'shortest' or 'squash'")
    # "random" is of training: open_clip itself takes bicubic wherever it does not train.
    interpolation = "bicubic" if config["interpolation"] == "random" else config["interpolation"]
    if interpolation not in ("bicubic", "bilinear"):
        raise _refused("interpolation", interpolation, "set it to 'bicubic' or 'bilinear'")
    resize = config["resize_mode"]
    section = _image(_side(config["size"], "size"), resize, interpolation)
    section["middle"] = "round" if resize == "shortest" else "floor"
    return ImageProcessing(section, _colours(config, "mean"), _colours(config, "std"))


def to_open_clip(section: Section, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """The `preprocess_cfg` that gives `open_clip` the evaluation pixels of a stream; the inverse of `from_open_clip`.

    See `differences` for what it cannot say.

    Raises:
      UserError: open_clip has no such preprocessing.
    """
    if section["name"] != "image":
        raise UserError(f"an image stream {section['name']!r} cannot go out to open_clip, which takes square pictures")
    size, resize_to = section.get("size", 224), section.get("resize_to")
    if resize_to not in (None, size):
        raise _refused("resize_to", resize_to, f"open_clip crops nothing that it has resized; set it to {size}")
    interpolation = section.get("interpolation", "bicubic")
    if interpolation not in ("bicubic", "bilinear"):
        raise _refused("interpolation", interpolation, "open_clip takes 'bicubic' or 'bilinear'")
    own = dict(size=size, interpolation=interpolation, resize_mode=section.get("resize", "shortest"))
    return OPEN_CLIP | own | {"mean": list(mean), "std": list(std)}


def differences(library: Library, section: Section) -> list[str]:
    """What an export's preprocessing does otherwise than the stream, one line each, to be told to the user."""
    wanted = "floor" if library == "hf" else "round"
    crops = section["name"] == "image" and section.get("resize", "shortest") == "shortest"
    if not crops or section.get("middle", "floor") == wanted:
        return []
    other = "transformers" if library == "hf" else "open_clip"
    return [
        f"middle is {section.get('middle', 'floor')!r}, but {other} crops as {wanted!r}: "
        "a picture whose margin is an odd number of pixels may be cropped one pixel further"
    ]


def _kind(config: Config, family: str | None) -> str:
    """The class that reads a config, without the endings of its faster or slower twins."""
    named = (config.get(key) for key in ("image_processor_type", "feature_extractor_type"))
    name = next(filter(None, named), KINDS[family] if family else "")
    kind = name.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    if kind not in DEFAULTS:
        raise _refused("image_processor_type", name or None, f"mmjax knows {', '.join(DEFAULTS)}")
    return kind


def _square(config: Config) -> dict[str, Any]:
    """The section of a processor that gives squares."""
    size, interpolation = config["size"], INTERPOLATIONS[config["resample"]]
    if isinstance(size, int):
        both = {"height": size, "width": size}
        size = both if config.get("default_to_square") else {"shortest_edge": size}
    crop = _side(config["crop_size"], "crop_size") if config.get("do_center_crop") else None
    if set(size) == {"shortest_edge"}:
        short = size["shortest_edge"]
        if crop is None:
            raise _refused("do_center_crop", False, "mmjax needs squares; set it to true, with a crop_size")
        if crop > short:
            raise _refused("crop_size", crop, f"mmjax pads no picture; set it to {short} or less")
        return _image(crop, "shortest", interpolation, None if short == crop else short)
    side = _side(size, "size")
    if crop not in (None, side):
        raise _refused("crop_size", crop, f"mmjax crops nothing that it has squashed; set it to {side}")
    return _image(side, "squash", interpolation)


def _image(size: int, resize: str, interpolation: str, resize_to: int | None = None) -> dict[str, Any]:
    how = dict(size=size, resize=resize, interpolation=interpolation, resize_to=resize_to, middle="floor")
    return {"name": "image", **how, "crop_scale": None}


def _square_keys(section: Section) -> dict[str, Any]:
    size = section.get("size", 224)
    square = {"height": size, "width": size}
    if section.get("resize", "shortest") == "squash":
        return {"size": square, "do_center_crop": False}
    short = section.get("resize_to") or size
    return {"size": {"shortest_edge": short}, "do_center_crop": True, "crop_size": square}


def _patches(config: Config) -> dict[str, Any]:
    how = dict(patch=config["patch_size"], max_patches=config["max_num_patches"])
    return {"name": "patches", **how, "interpolation": INTERPOLATIONS[config["resample"]]}


def _patch_keys(section: Section) -> dict[str, Any]:
    return {"patch_size": section.get("patch", 16), "max_num_patches": section.get("max_patches", 256)}


def _side(size: Any, key: str) -> int:
    """The side of a square that is given as a number, a pair, or height and width."""
    sides = [size] if isinstance(size, int) else list(size.values() if isinstance(size, Mapping) else size)
    known = not isinstance(size, Mapping) or set(size) == {"height", "width"}
    if not known or len(set(sides)) != 1:
        raise _refused(key, size, "mmjax takes squares; give one number, or height and width that are equal")
    return int(sides[0])


def _colours(config: Config, key: str) -> tuple[float, ...]:
    values = config[key]
    values = (values,) * 3 if isinstance(values, (int, float)) else tuple(map(float, values))
    if len(values) != 3:
        raise _refused(key, list(values), "mmjax reads three colours")
    if key.endswith("std") and not all(values):
        raise _refused(key, list(values), "pixels are divided by it, so none of it may be 0")
    return values


def _require(config: Config, key: str, value: Any, why: str) -> None:
    if config[key] != value:
        raise _refused(key, config[key], f"{why}; set it to {value!r}")


def _refused(key: str, value: Any, advice: str) -> UserError:
    return UserError(f"image preprocessing: {key} is {value!r}: {advice}")
