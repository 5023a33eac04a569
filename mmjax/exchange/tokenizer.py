"""The tokenizer of an export: files that transformers and open_clip read, beside the config that names them."""

import json
import pathlib
import sys
from typing import Any

from mmjax.errors import UserError
from mmjax.interop.exporter import Export, notes, write_json
from mmjax.interop.tokenizers import open_clip_text_cfg, text_differences

LOCAL = "local-dir"  # any name will do: open_clip takes the tokenizer of a local folder from that folder


def save_tokenizer(model: Any, export: Export, folder: pathlib.Path) -> None:
    """Writes the tokenizer of the text stream, if there is one, and tells what the other side does otherwise.

    Raises:
      UserError: a tokenizer that has no counterpart there.
    """
    library, told = export.family.library, notes(export)
    name = export.stream("text")
    if name is not None:
        section = export.streams[name]
        kind = section["tokenizer"] if isinstance(section["tokenizer"], str) else section["tokenizer"]["name"]
        if kind != "hf":
            raise UserError(
                f"config.data.streams.{name}.tokenizer is {kind!r}, which {library} does not have; "
                "train with a tokenizer of transformers ('hf') to export"
            )
        tower = export.task["towers"]["text"]
        model.streams[name].save_tokenizer(folder, root=folder)
        _configure(folder, section["length"], tower.get("attend_padding", False))
        told += text_differences(library, section, tower["length"])
        if library == "open_clip":
            _name_tokenizer(folder, section)
        else:
            _name_ids(folder, model.streams[name].loaded().named_ids)
    for note in told:
        print(f"note: {note}", file=sys.stderr)


def _name_ids(folder: pathlib.Path, ids: dict[str, int]) -> None:
    """Names begin, end and padding in the config: the defaults of transformers are those of the public models.

    Padding only where its id is its own: some of its models set the row of that id to zero.
    """
    if ids.get("pad_token_id") in (ids.get("bos_token_id"), ids.get("eos_token_id")):
        ids = {key: value for key, value in ids.items() if key != "pad_token_id"}
    config = json.loads((folder / "config.json").read_text("utf-8"))
    text = config.get("text_config", config)
    text |= {key: value for key, value in ids.items() if key not in text}
    write_json(folder / "config.json", config)


def _configure(folder: pathlib.Path, length: int, reads_padding: bool) -> None:
    """Names the length of a row, and keeps transformers from masking padding that the model reads.

    It would hand the model whatever mask the tokenizer returns.
    """
    file = folder / "tokenizer_config.json"
    inputs = {"model_input_names": ["input_ids"]} if reads_padding else {}
    write_json(file, json.loads(file.read_text("utf-8")) | {"model_max_length": length} | inputs)


def _name_tokenizer(folder: pathlib.Path, section: Any) -> None:
    """Tells open_clip whether its own tokenizer is meant, which is CLIP's, or the one in the folder."""
    own = section["tokenizer"].get("pad") == 0 and section["tokenizer"].get("clean") == "lower"
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text("utf-8"))
    text = open_clip_text_cfg(section, None if own else LOCAL)
    text.pop("context_length")  # which there is also the number of positions; `text_differences` tells of another
    config["model_cfg"]["text_cfg"] |= text
    write_json(file, config)
