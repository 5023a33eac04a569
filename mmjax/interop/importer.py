"""A checkpoint of transformers or open_clip as our sections and parameters, with its preprocessing and tokenizer."""

import dataclasses
import importlib.util
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.errors import UserError
from mmjax.interop import family_of, load, sources, tensors
from mmjax.interop.config_map import Sections, to_sections
from mmjax.interop.family import Family, Tensor
from mmjax.interop.processors import ImageProcessing, from_open_clip, image_section
from mmjax.interop.sources import Origin, hub_tokenizer_config, read_json
from mmjax.interop.tensors import Stored
from mmjax.interop.tokenizers import (
    check_pad,
    check_padding,
    open_clip_text_section,
    text_section,
    write_clip_tokenizer,
    written_section,
)

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "merges.txt")
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
GENERATION = "generation_config.json"
IDS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
LONGEST = 512  # ids a row, where neither tokenizer nor user says less: nobody means to pad captions to thousands


@dataclasses.dataclass(frozen=True)
class Options:
    """What an import may do otherwise than the checkpoint says.

    Attributes:
      image_size: pixels on a side; position tables are resized as the family does it. None for the preprocessing's,
        which must then be the size that the config's position table is for, unless the family resizes it unasked.
      text_length: ids a row. None for the model's, the tokenizer's or 512, whichever is least.
      tokenizer: a folder or name to take in place of the checkpoint's own.
      drop: regexes of tensors of the checkpoint that are not wanted, such as a classifier.
    """

    image_size: int | None = None
    text_length: int | None = None
    tokenizer: str | None = None
    drop: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Import:
    """A checkpoint that is understood but not yet read.

    Attributes:
      task: our task section.
      streams: our stream sections; paths of tokenizers are absolute.
      stored: its tensors, under the names of the bare model.
      table: the family's tensors, blocks written out.
      rows: {position table: its rows in the checkpoint, by the checkpoint's config}.
    """

    origin: Origin
    family: Family
    task: Mapping[str, Any]
    streams: Mapping[str, Any]
    stored: Mapping[str, Stored]
    table: Sequence[Tensor]
    rows: Mapping[str, int]
    options: Options

    def params(self, shapes: Mapping[str, tuple[int, ...]], place: load.Place) -> dict[str, Any]:
        """Every parameter by path, put by `place`, one at a time.

        Args:
          shapes: {parameter: shape} of the model that `task` and `streams` build.

        Raises:
          UserError: the checkpoint does not hold exactly these.
        """
        wanted = load.Wanted(shapes, self.table, self.rows, drop=self.options.drop)
        load.check(self.family, self.stored, wanted, self.origin.name)
        load.check_tied(self.family, self.stored, self.origin.name)
        return load.read(self.family, self.stored, wanted, place)


def begin(source: str, options: Options = Options()) -> Import:  # frozen
    """Finds a checkpoint and reads all of it but the values.

    Raises:
      UserError: nothing there, a model that is not of a family of ours, or preprocessing that we cannot follow.
    """
    origin = sources.find(source)
    family = family_of(origin.library, origin.config, source)
    stored = tensors.open_files(origin.files)
    sections = to_sections(family, {**origin.config, **_generation(origin)}, stored)
    rows = _rows(family, sections)
    task, streams = dict(sections.task), {}
    towers = {name: dict(tower) for name, tower in task["towers"].items()}
    if "image" in towers:
        processing = _image(origin, family, sections.image_size)
        streams["image"] = processing.section
        if options.image_size is None:
            _check_size(origin, family, processing.section, sections.image_size)
        else:
            streams["image"] = _sized(processing.section, options.image_size, towers["image"]["patch"])
        towers["image"] |= {"mean": processing.mean, "std": processing.std}
    if "text" in towers:
        streams["caption"] = _text(origin, towers["text"], options)
    task["towers"] = towers
    table = load.expand(family, task)
    stored = load.strip_prefix(family, stored, table)
    load.check_drop(stored, table, options.drop)
    return Import(origin, family, task, streams, stored, table, rows, options)


def _generation(origin: Origin) -> dict[str, Any]:
    """The ids by which transformers' `generate` begins and ends a text, where a file of their own says them."""
    file = origin.folder / GENERATION
    config = read_json(file) if origin.library == "hf" and file.is_file() else {}
    return {key: config[key] for key in IDS if config.get(key) is not None}


def _rows(family: Family, sections: Sections) -> dict[str, int]:
    """Rows of each table that pictures of another size resize, as the checkpoint's own config has them."""
    if not family.resize:
        return {}
    size, patch = sections.image_size, sections.task["towers"]["image"]["patch"]
    if not (isinstance(size, int) and isinstance(patch, int) and 0 < patch <= size):
        raise UserError(f"{family.name} config: pictures of {size!r} pixels do not give patches of {patch!r}")
    return {name: rule.extra + (size // patch) ** 2 for name, rule in family.resize.items()}


def _image(origin: Origin, family: Family, size: int | None) -> ImageProcessing:
    if origin.library == "open_clip":
        return from_open_clip(origin.config.get("preprocess_cfg") or {}, size)
    for name in PREPROCESSORS:
        file = origin.folder / name
        if file.is_file():
            config = read_json(file)
            return image_section(config.get("image_processor", config), family.processor)
    raise UserError(f"{origin.name}: no {' or '.join(PREPROCESSORS)} in {origin.folder}; copy the model's own there")


def _check_size(origin: Origin, family: Family, section: Mapping[str, Any], own: int | None) -> None:
    """Refuses pictures of another size than the config's where the reference would: nobody has said which is meant."""
    size = section.get("size")
    if size != own and not all(rule.unasked for rule in family.resize.values()):
        raise UserError(
            f"{origin.name}: its preprocessing makes pictures of {size} pixels, but by the image_size of its config "
            f"the position table is for {own}: import it with --image-size {own}, or with --image-size {size} to "
            "resize the table"
        )


def _sized(section: Mapping[str, Any], size: int, patch: int) -> dict[str, Any]:
    """The stream at the size that was asked for; a larger short side before the crop grows along."""
    if "size" not in section:
        raise UserError("--image-size: this model takes pictures of any size; set the stream's max_patches instead")
    if size < patch:
        raise UserError(f"--image-size {size}: smaller than one patch of {patch} pixels")
    short = section.get("resize_to")
    return {**section, "size": size, "resize_to": short and round(short * size / section["size"])}


def _text(origin: Origin, tower: Mapping[str, Any], options: Options) -> dict[str, Any]:
    path, config = _tokenizer(origin, options)
    length = _length(tower["length"], config, options.text_length)
    unmasked = origin.library == "open_clip"  # its towers are given no mask
    check_padding(path, config, tower.get("attend_padding") or unmasked)
    if origin.library == "open_clip":
        text_cfg = {**origin.config["model_cfg"]["text_cfg"], "context_length": length}
        if tower["pooling"] == "class" and text_cfg.get("hf_tokenizer_name"):
            check_pad(path, text_cfg.get("pad_id", 0))
        return open_clip_text_section(text_cfg, path)
    return written_section(path, length, tower) if tower["name"] == "decoder" else text_section(path, length)


def _length(positions: int, tokenizer_config: Mapping[str, Any], wanted: int | None) -> int:
    """Ids a row."""
    if wanted is None:
        return min(positions, tokenizer_config.get("model_max_length") or LONGEST, LONGEST)
    if not 1 <= wanted <= positions:
        raise UserError(f"--text-length {wanted}: the text encoder has {positions} positions; take 1 to {positions}")
    return wanted


def _tokenizer(origin: Origin, options: Options) -> tuple[str, Mapping[str, Any]]:
    """Where the tokenizer lies, and its config."""
    if options.tokenizer and not pathlib.Path(options.tokenizer).expanduser().is_dir():
        return options.tokenizer, hub_tokenizer_config(options.tokenizer)
    place = pathlib.Path(options.tokenizer or origin.folder).expanduser()
    name = origin.config["model_cfg"]["text_cfg"].get("hf_tokenizer_name") if origin.library == "open_clip" else None
    own = origin.library == "open_clip" and not name and not options.tokenizer
    if own and (clip := _clip_tokenizer()):
        return clip, {}  # open_clip takes its own then, whatever lies in the folder
    if any((place / file).is_file() for file in TOKENIZER_FILES):
        file = place / "tokenizer_config.json"
        return str(place.resolve()), read_json(file) if file.is_file() and not own else {}
    if name:
        return name, hub_tokenizer_config(name)
    also = "; open_clip brings the one that is meant: pip install 'mmjax[torch]'" if own else ""
    raise UserError(
        f"{origin.name}: no tokenizer in {place} ({', '.join(TOKENIZER_FILES[:4])}, ...); "
        f"copy it there, or name another by --tokenizer FOLDER{also}"
    )


def _clip_tokenizer() -> str | None:
    """CLIP's own tokenizer, which open_clip brings along, as a folder of transformers; None without open_clip."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mmjax" / "clip_tokenizer"
    if (cache / "tokenizer_config.json").is_file():
        return str(cache)
    return str(write_clip_tokenizer(cache)) if importlib.util.find_spec("open_clip") else None
