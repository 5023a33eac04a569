"""A checkpoint of transformers or open_clip as our sections and parameters, with its preprocessing and tokenizer."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.errors import UserError
from mmjax.interop import family_of, load, sources, tensors
from mmjax.interop.config_map import to_sections
from mmjax.interop.family import Family, Tensor
from mmjax.interop.processors import ImageProcessing, from_open_clip, image_section
from mmjax.interop.sources import Origin, read_json
from mmjax.interop.tensors import Stored
from mmjax.interop.tokenizers import open_clip_text_section, text_section, write_clip_tokenizer

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "merges.txt")
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
LONGEST = 512  # ids a row, where neither tokenizer nor user says less: nobody means to pad captions to thousands


@dataclasses.dataclass(frozen=True)
class Options:
    """What an import may do otherwise than the checkpoint says.

    Attributes:
      image_size: pixels on a side; position tables are resized as the family does it. None for the preprocessing's.
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
    """

    origin: Origin
    family: Family
    task: Mapping[str, Any]
    streams: Mapping[str, Any]
    stored: Mapping[str, Stored]
    table: Sequence[Tensor]
    options: Options

    def params(self, shapes: Mapping[str, tuple[int, ...]], place: load.Place) -> dict[str, Any]:
        """Every parameter by path, put by `place`, one at a time.

        Args:
          shapes: {parameter: shape} of the model that `task` and `streams` build.

        Raises:
          UserError: the checkpoint does not hold exactly these.
        """
        wanted = load.Wanted(shapes, self.table, drop=self.options.drop)
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
    sections = to_sections(family, origin.config, stored)
    task, streams = dict(sections.task), {}
    towers = {name: dict(tower) for name, tower in task["towers"].items()}
    if "image" in towers:
        processing = _image(origin, sections.image_size)
        streams["image"] = _sized(processing.section, options.image_size)
        towers["image"] |= {"mean": processing.mean, "std": processing.std}
    if "text" in towers:
        streams["caption"] = _text(origin, towers["text"], options)
    task["towers"] = towers
    table = load.expand(family, task)
    return Import(origin, family, task, streams, load.strip_prefix(family, stored, table), table, options)


def _image(origin: Origin, size: int | None) -> ImageProcessing:
    if origin.library == "open_clip":
        return from_open_clip(origin.config.get("preprocess_cfg") or {}, size)
    for name in PREPROCESSORS:
        file = origin.folder / name
        if file.is_file():
            config = read_json(file)
            return image_section(config.get("image_processor", config))
    raise UserError(f"{origin.name}: no {' or '.join(PREPROCESSORS)} in {origin.folder}; copy the model's own there")


def _sized(section: Mapping[str, Any], size: int | None) -> dict[str, Any]:
    """The stream at another size; a larger short side before the crop grows along."""
    if size is None or size == section.get("size"):
        return dict(section)
    if "size" not in section:
        raise UserError("image_size: this model takes pictures of any size; set the stream's max_patches instead")
    short = section.get("resize_to")
    return {**section, "size": size, "resize_to": short and round(short * size / section["size"])}


def _text(origin: Origin, tower: Mapping[str, Any], options: Options) -> dict[str, Any]:
    path, config = _tokenizer(origin, options)
    limit = config.get("model_max_length") or LONGEST
    length = options.text_length or min(tower["length"], limit, LONGEST)
    if origin.library == "open_clip":
        text_cfg = {**origin.config["model_cfg"]["text_cfg"], "context_length": length}
        return {**open_clip_text_section(text_cfg, path)}
    return text_section(path, config, length, tower["attend_padding"])


def _tokenizer(origin: Origin, options: Options) -> tuple[str, Mapping[str, Any]]:
    """Where the tokenizer lies, and its config."""
    place = pathlib.Path(options.tokenizer or origin.folder).expanduser()
    if options.tokenizer and not place.is_dir():
        return options.tokenizer, {}  # a name on the Hub
    name = origin.config["model_cfg"]["text_cfg"].get("hf_tokenizer_name") if origin.library == "open_clip" else None
    if origin.library == "open_clip" and not name and not options.tokenizer:
        return _clip_tokenizer(), {}  # open_clip takes its own then, whatever lies in the folder
    if any((place / file).is_file() for file in TOKENIZER_FILES):
        file = place / "tokenizer_config.json"
        return str(place.resolve()), read_json(file) if file.is_file() else {}
    if name:
        return name, {}
    raise UserError(
        f"{origin.name}: no tokenizer in {place} ({', '.join(TOKENIZER_FILES[:4])}, ...); "
        "copy it there, or name another by --tokenizer FOLDER"
    )


def _clip_tokenizer() -> str:
    """CLIP's own tokenizer, which open_clip brings along, as a folder of transformers."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mmjax" / "clip_tokenizer"
    return str(cache if (cache / "tokenizer_config.json").is_file() else write_clip_tokenizer(cache))
