"""Our sections and parameters as a checkpoint of transformers or open_clip; or refused, by the keys in the way."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save_file

from mmjax.errors import UserError
from mmjax.interop import FAMILIES, load
from mmjax.interop.config_map import Inexpressible, sized, stream_of, to_config
from mmjax.interop.family import Family
from mmjax.interop.processors import differences, preprocessor_config, to_open_clip
from mmjax.models.stacking import unstack

Library = Literal["hf", "open_clip"]
Params = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Export:
    """A model as a family says it, before anything is written.

    Attributes:
      config: theirs, complete but for preprocessing.
      task, streams: our sections.
    """

    family: Family
    config: Mapping[str, Any]
    task: Mapping[str, Any]
    streams: Mapping[str, Any]

    def stream(self, tower: str) -> str | None:
        """The stream that a tower of ours reads; None where the model has no such tower."""
        return stream_of(self.task, tower)

    @property
    def pictures(self) -> Mapping[str, Any]:
        """The section of the picture's stream, for a model that has one."""
        return self.streams[self.stream("image") or "image"]


def begin(library: Library, task: Mapping[str, Any], streams: Mapping[str, Any]) -> Export:
    """Finds the family that expresses a model.

    Raises:
      UserError: none does; it names the keys that stand in the way of the nearest.
    """
    if not isinstance(task.get("towers"), Mapping):
        known = "align, caption, coca or encode"
        raise UserError(f"task {task.get('name')!r} has no towers; what {library} takes is {known}")
    task = {**task, "towers": {name: sized(tower, f"task.towers.{name}") for name, tower in task["towers"].items()}}
    pictures = stream_of(task, "image")
    size = streams[pictures].get("size") if pictures else None
    refusals: list[Inexpressible] = []
    for family in FAMILIES.values():
        if family.library != library:
            continue
        try:
            export = Export(family, to_config(family, task, size), task, streams)
        except Inexpressible as error:
            refusals.append(error)
            continue
        _check_padding(export)
        return export
    raise min(refusals, key=lambda error: error.count)


def _check_padding(export: Export) -> None:
    """Refuses rows shorter than the positions where padding is read: there it fills them, and features would change."""
    name = export.stream("text")
    if name is None:
        return
    tower = export.task["towers"]["text"]
    if not tower.get("attend_padding") and tower.get("pooling") != "class":  # a class token stands behind the padding
        return
    length, positions = export.streams[name]["length"], export.task["towers"]["text"]["length"]
    if length != positions:
        raise Inexpressible(
            f"{export.family.name} ({export.family.library}) cannot express this model, which reads its padding: "
            f"config.data.streams.{name}.length = {length}, it pads to config.task.towers.text.length = {positions}",
            1,
        )


def notes(export: Export) -> list[str]:
    """What the exported model does otherwise than ours, beside its tokenizer; one line each, to be told to the user."""
    told = differences(export.family.library, export.pictures) if export.stream("image") else []
    for name, tower in export.task["towers"].items():
        if tower.get("head") == "none" and export.family.optional({f"towers.{name}.head": "tanh"}):
            told.append(
                f"this model has no pooler, so AutoModel draws a random one: read last_hidden_state, or load it by "
                f"{export.family.architecture}.from_pretrained(DIR, add_pooling_layer=False)"
            )
    return told


def tensors(export: Export, params: Params) -> dict[str, np.ndarray]:
    """The parameters as their tensors, float32."""
    flat = unstack(params)
    out = {}
    for tensor in load.expand(export.family, export.task):
        parts = [np.asarray(flat[name], np.float32) for name in tensor.ours]
        out[tensor.theirs] = np.ascontiguousarray(tensor.layout.store(parts)).reshape(_shape(tensor, parts))
    blank = export.family.blank(export.task)
    return out | {name: np.zeros(shape, np.float32) for name, shape in blank.items()}


def _shape(tensor: Any, parts: list[np.ndarray]) -> tuple[int, ...]:
    """`ascontiguousarray` makes one axis of none."""
    return tensor.layout.store(parts).shape


def write(export: Export, params: Params, folder: pathlib.Path) -> None:
    """Writes weights, config and preprocessing into a folder that exists."""
    metadata = {"format": "pt"}
    if export.family.library == "open_clip":
        save_file(tensors(export, params), folder / "open_clip_model.safetensors", metadata)
        image = export.task["towers"]["image"]
        preprocess = to_open_clip(export.pictures, image["mean"], image["std"])
        write_json(folder / "open_clip_config.json", {**export.config, "preprocess_cfg": preprocess})
        return
    save_file(tensors(export, params), folder / "model.safetensors", metadata)
    head = {"architectures": [export.family.architecture], "dtype": "float32", **export.family.head}
    write_json(folder / "config.json", head | dict(export.config))
    if "image" in export.task["towers"]:
        image = export.task["towers"]["image"]
        config = preprocessor_config(export.family.processor, export.pictures, image["mean"], image["std"])
        write_json(folder / "preprocessor_config.json", config)


def write_json(file: pathlib.Path, value: Mapping[str, Any]) -> None:
    """JSON as people read it."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
