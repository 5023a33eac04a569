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
from mmjax.interop.config_map import Inexpressible, sized, to_config
from mmjax.interop.family import Family
from mmjax.interop.processors import preprocessor_config, to_open_clip
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


def begin(library: Library, task: Mapping[str, Any], streams: Mapping[str, Any]) -> Export:
    """Finds the family that expresses a model.

    Raises:
      UserError: none does; it names the keys that stand in the way of the nearest.
    """
    if not isinstance(task.get("towers"), Mapping):
        raise UserError(f"task {task.get('name')!r} has no towers; what {library} takes is align or encode")
    task = {**task, "towers": {name: sized(tower, f"task.towers.{name}") for name, tower in task["towers"].items()}}
    size = streams.get("image", {}).get("size")
    refusals: list[Inexpressible] = []
    for family in FAMILIES.values():
        if family.library != library:
            continue
        try:
            return Export(family, to_config(family, task, size), task, streams)
        except Inexpressible as error:
            refusals.append(error)
    raise min(refusals, key=lambda error: error.count)


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
        preprocess = to_open_clip(export.streams["image"], image["mean"], image["std"])
        write_json(folder / "open_clip_config.json", {**export.config, "preprocess_cfg": preprocess})
        return
    save_file(tensors(export, params), folder / "model.safetensors", metadata)
    head = {"architectures": [export.family.architecture], "dtype": "float32", **export.family.head}
    write_json(folder / "config.json", head | dict(export.config))
    if "image" in export.task["towers"]:
        image = export.task["towers"]["image"]
        config = preprocessor_config(export.family.processor, export.streams["image"], image["mean"], image["std"])
        write_json(folder / "preprocessor_config.json", config)


def write_json(file: pathlib.Path, value: Mapping[str, Any]) -> None:
    """JSON as people read it."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
