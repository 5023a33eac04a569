"""A model on disk: one folder with its config, its parameters, its transforms and its tokenizers.

bundle.json           {"format": 1, "task": section, "streams": {stream: section}, "config": of the run, "libraries"}
params.safetensors    float32 tensors by path: towers_image/blocks_0/mlp/up/kernel
tokenizers/STREAM/    what the stream's tokenizer needs
"""

import dataclasses
import functools
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mmjax.batch import Batch, Stream
from mmjax.config import build
from mmjax.data.streams import STREAMS
from mmjax.errors import BadItem, UserError
from mmjax.tasks import TASKS

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained model with what it takes to feed it.

    Attributes:
      task: the task, whose methods are the predictors.
      params: the parameter tree.
      streams: {stream: transform} from raw values to arrays.
      config: {"task", "streams", "config"} sections, as saved.
    """

    task: Any
    params: Mapping[str, Any]
    streams: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def module(self) -> Any:
        """The plain Flax module of the task."""
        return self.task.model

    def embed(self, **items: Sequence[Any]) -> np.ndarray:
        """Features float32 `[n, d]` of one stream: `embed(image=[path or bytes or array, ...])`, `embed(text=[...])`.

        `text` stands for the first text stream. All items go through the device as one batch.

        Raises:
          UserError: no such stream, or an item that cannot be read.
        """
        if len(items) != 1:
            raise UserError("embed takes one stream at a time, e.g. embed(image=[...])")
        ((name, values),) = items.items()
        name = self._stream_name(name)
        rows = [self._row(name, value) for value in values]
        data = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        present = np.ones(len(rows), bool)
        index = np.arange(len(rows), dtype=np.int32)
        batch = Batch({name: Stream(present=present, **data)}, present, index, index)
        return np.asarray(_embed(self.task, name)(self.params, batch), np.float32)

    def _row(self, name: str, value: Any) -> dict[str, np.ndarray]:
        stream = self.streams[name]
        try:
            return stream((value,) if stream.kind == "text" else _raw(value), None)
        except (BadItem, OSError) as error:
            raise UserError(f"{name} {str(value)[:80]!r}: {error}") from None

    def _stream_name(self, name: str) -> str:
        texts = [key for key, stream in self.streams.items() if stream.kind == "text"]
        if name == "text" and name not in self.streams and texts:
            return texts[0]
        if name not in self.streams:
            raise UserError(f"this model has no stream {name!r}; it has {', '.join(self.streams)}")
        return name


@functools.lru_cache(maxsize=32)
def _embed(task: Any, stream: str) -> Any:
    return jax.jit(lambda params, batch: task.embed(params, batch)[stream])


def _raw(value: Any) -> Any:
    """A path as the bytes of its file; bytes and arrays as they are."""
    return pathlib.Path(value).read_bytes() if isinstance(value, (str, pathlib.Path)) else value


def save(folder: str | pathlib.Path, model: Model) -> pathlib.Path:
    """Writes the bundle; a half-written one is never seen under the final name.

    All processes call it (parameters are gathered); the first writes.
    """
    folder = pathlib.Path(folder)
    tensors = _gather(model.params)
    if jax.process_index():
        return folder
    draft = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_file(tensors, str(draft / "params.safetensors"))
    config = dict(model.config)
    config["streams"] = _save_tokenizers(model.streams, config["streams"], draft)
    text = json.dumps({"format": FORMAT, **config}, indent=2, ensure_ascii=False)
    (draft / "bundle.json").write_text(text + "\n")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(draft, folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def _gather(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Whole parameters on the host by path, whatever their sharding."""
    from jax.experimental import multihost_utils

    flat = traverse_util.flatten_dict(params, sep="/")
    if jax.process_count() > 1:
        flat = {name: multihost_utils.process_allgather(leaf, tiled=True) for name, leaf in flat.items()}
    return {name: np.asarray(jax.device_get(leaf), order="C") for name, leaf in flat.items()}


def _save_tokenizers(streams: Mapping[str, Any], sections: Mapping[str, Any], draft: pathlib.Path) -> dict[str, Any]:
    """Copies each stream's tokenizer into the bundle and points its section there, relative to the bundle."""
    out = {}
    for name, section in sections.items():
        section = dict(section)
        if hasattr(streams[name], "save_tokenizer"):
            section["tokenizer"] = streams[name].save_tokenizer(draft / "tokenizers" / name, root=draft)
        out[name] = section
    return out


def load(path: str | pathlib.Path, mesh: Mesh | None = None) -> Model:
    """Reads a bundle folder, or a run folder that holds one.

    Args:
      mesh: puts the parameters there, replicated; None leaves them on the default device.

    Raises:
      UserError: no bundle there, one of a newer format, or one whose parameters do not fit its config.
    """
    folder = find(pathlib.Path(path))
    meta = json.loads((folder / "bundle.json").read_text())
    if meta["format"] > FORMAT:
        raise UserError(
            f"{folder}: bundle format {meta['format']} is newer than this mmjax knows ({FORMAT}); upgrade it"
        )
    streams = {
        name: build(section, STREAMS, f"streams.{name}", root=folder) for name, section in meta["streams"].items()
    }
    task = build(meta["task"], TASKS, "task")
    params = _read_params(folder / "params.safetensors")
    if mesh is not None:
        from mmjax.mesh import replicate

        params = replicate(params, mesh)
    config = {key: value for key, value in meta.items() if key != "format"}
    model = Model(task, params, streams, config)
    check_params(model, folder)
    return model


def find(path: pathlib.Path) -> pathlib.Path:
    """The bundle folder at or in `path`."""
    for folder in (path, path / "bundle"):
        if (folder / "bundle.json").is_file():
            return folder
    raise UserError(f"{path}: no bundle here; expected bundle.json or bundle/bundle.json (has the run finished?)")


def _read_params(file: pathlib.Path) -> Mapping[str, Any]:
    try:
        return traverse_util.unflatten_dict(load_file(str(file)), sep="/")
    except FileNotFoundError:
        raise UserError(f"{file}: missing; the bundle is incomplete") from None
    except SafetensorError as error:
        raise UserError(f"{file}: not a whole safetensors file ({error})") from None


def check_params(model: Model, folder: pathlib.Path) -> None:
    """Refuses parameters that are not exactly the ones that the config describes."""
    shapes = jax.eval_shape(lambda key: model.task.init(key, blank_batch(model.streams, 1)), jax.random.key(0))
    want = {name: leaf.shape for name, leaf in traverse_util.flatten_dict(shapes, sep="/").items()}
    have = {name: leaf.shape for name, leaf in traverse_util.flatten_dict(model.params, sep="/").items()}
    if want == have:
        return
    wrong = [f"missing {name}" for name in sorted(want.keys() - have.keys())]
    wrong += [f"unexpected {name}" for name in sorted(have.keys() - want.keys())]
    both = sorted(want.keys() & have.keys())
    wrong += [f"{name} is {have[name]}, should be {want[name]}" for name in both if want[name] != have[name]]
    raise UserError(f"{folder}/params.safetensors does not fit its config: {'; '.join(wrong[:8])}")


def blank_batch(streams: Mapping[str, Any], rows: int) -> Batch:
    """A batch of zeros in the shapes that the streams give: enough for shapes and for compiling."""
    present = np.zeros(rows, bool)
    index = np.zeros(rows, np.int32)

    def stream(transform: Any) -> Stream:
        blank = {key: np.repeat(value[None], rows, axis=0) for key, value in transform.blank().items()}
        return Stream(present=present, **blank)

    return Batch({name: stream(transform) for name, transform in streams.items()}, present, index, index)
