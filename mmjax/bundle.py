"""A model on disk: one folder with its config, its parameters, its transforms and its tokenizers.

bundle.json           {"format": 1, "task": section, "streams": {stream: section}, "config": of the run, "libraries"}
params.safetensors    float32 tensors by path: towers_image/blocks_0/mlp/up/kernel
tokenizers/STREAM/    what the stream's tokenizer needs
"""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mmjax.batch import Batch, Stream
from mmjax.config import build
from mmjax.data.streams import STREAMS
from mmjax.errors import UserError
from mmjax.interop.importer import Options, begin
from mmjax.interop.load import Place
from mmjax.interop.sources import is_foreign, read_json
from mmjax.mesh import replicate
from mmjax.model import Model
from mmjax.storage import fetched
from mmjax.tasks import TASKS

__all__ = ["FORMAT", "Model", "load", "save", "sections"]

FORMAT = 1


def save(folder: str | pathlib.Path, model: Model) -> pathlib.Path:
    """Writes the bundle; a half-written one is never seen under the final name.

    All processes call it (parameters are gathered); the first writes.

    Raises:
      UserError: there is a file or a folder of other things; an older bundle is replaced.
    """
    folder = pathlib.Path(folder)
    check_place(folder)
    tensors = _gather(model.params)
    if jax.process_index():
        return folder
    with drafted(folder) as draft:
        save_file(tensors, str(draft / "params.safetensors"))
        config = dict(model.config)
        config["streams"] = _save_tokenizers(model.streams, config["streams"], draft)
        text = json.dumps({"format": FORMAT, **config}, indent=2, ensure_ascii=False)
        (draft / "bundle.json").write_text(text + "\n", "utf-8")
    return folder


def check_place(folder: pathlib.Path) -> None:
    """Refuses to put a bundle where a file is, or a folder of other things."""
    check_no_file(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "bundle.json").is_file():
        raise UserError(f"{folder}: is not empty and holds no bundle.json; take another folder")


def check_no_file(folder: pathlib.Path) -> None:
    """Refuses to make a folder where a file is, or below one."""
    for path in (folder, *folder.parents):
        if path.is_file():
            raise UserError(f"{path}: is a file; take another folder")


@contextlib.contextmanager
def drafted(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, which then takes the place of `folder` and of all that is in it; or nothing changes.

    Draft and old folder lie beside it under hidden names of this process, where nothing of the user's is.
    """
    folder = folder.resolve()  # "." has no name of its own
    draft, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{kind}") for kind in ("tmp", "old"))
    for left in (draft, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        if folder.exists():
            os.replace(folder, old)
        os.replace(draft, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


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
        if streams[name].kind == "answers":
            section["answers"] = list(streams[name].answers)  # a file of them stays where it is
        out[name] = section
    return out


def load(
    source: str | pathlib.Path, mesh: Mesh | None = None, place: Place | None = None, options: Options | None = None
) -> Model:
    """Reads a bundle or a run, also on gs:// or s3://, or PyTorch weights: `hf:NAME-or-folder`, `open_clip:...`.

    A path without a scheme may lead to PyTorch weights as well: a folder of transformers or open_clip, or a file.

    Args:
      mesh: puts the parameters there, replicated; None leaves them on the default device.
      place: puts each parameter, given its path and its values, where it belongs; in place of `mesh`.
      options: of PyTorch weights, what to do otherwise than they say.

    Raises:
      UserError: nothing there, a bundle of a newer format, parameters that do not fit their config, or options for a
        bundle, which is what it is.
    """
    place = place or (lambda name, values: jnp.asarray(values) if mesh is None else replicate(values, mesh))
    source = fetched(source)
    if of_pytorch(source):
        return load_weights(str(source), options or Options(), place)
    folder = find(pathlib.Path(source))
    if options is not None:
        raise UserError(f"{folder}: is a bundle; options of an import are for weights of PyTorch, leave them out")
    meta = _read_meta(folder)
    streams = {
        name: build(section, STREAMS, f"streams.{name}", root=folder) for name, section in meta["streams"].items()
    }
    task = build(meta["task"], TASKS, "task")
    flat = _read_params(folder / "params.safetensors")
    check_params(task, streams, flat, folder)
    params = {name: place(name, flat.pop(name)) for name in list(flat)}
    del meta["format"]
    return Model(task, traverse_util.unflatten_dict(params, sep="/"), streams, meta)


def load_weights(source: str, options: Options, place: Place = lambda name, values: jnp.asarray(values)) -> Model:
    """A checkpoint of transformers or open_clip: nothing of it is in memory twice but the tensor that is being read."""
    found = begin(source, options)
    streams = {name: build(section, STREAMS, f"streams.{name}") for name, section in found.streams.items()}
    for name, stream in streams.items():
        _check_vocabulary(source, found.task, name, stream)
    task = build(found.task, TASKS, "task")
    params = found.params(shapes_of(task, streams), place)
    config = {"task": found.task, "streams": found.streams, "source": source}
    return Model(task, traverse_util.unflatten_dict(params, sep="/"), streams, config)


def _check_vocabulary(source: str, task: Mapping[str, Any], name: str, stream: Any) -> None:
    """Refuses a tokenizer with ids that the embedding table has no row for."""
    table, ids = task["towers"][task["streams"][name]].get("vocabulary"), stream.facts().get("vocabulary")
    if table is not None and ids is not None and ids > table:
        raise UserError(
            f"{source}: its tokenizer has {ids} ids, but its embedding table only {table} rows; "
            "take the tokenizer that belongs to these weights, or resize the table where tokens were added"
        )


def find(path: pathlib.Path) -> pathlib.Path:
    """The bundle folder at or in `path`."""
    for folder in (path, path / "bundle"):
        if (folder / "bundle.json").is_file():
            return folder
    raise UserError(f"{path}: no bundle here; expected bundle.json or bundle/bundle.json (has the run finished?)")


def of_pytorch(source: str | pathlib.Path) -> bool:
    """Whether a model's name leads to PyTorch weights: by its scheme, or by what lies there and is no bundle."""
    path = pathlib.Path(source)
    if is_foreign(str(source)) or path.is_file():
        return True
    if any((folder / "bundle.json").is_file() for folder in (path, path / "bundle")):
        return False
    config = path / "config.json"  # a run has one as well, without a model type
    return (path / "open_clip_config.json").is_file() or (config.is_file() and "model_type" in read_json(config))


def _read_meta(folder: pathlib.Path) -> dict[str, Any]:
    """What `bundle.json` holds; refused where it is cut short, something else or of a newer format."""
    file = folder / "bundle.json"
    meta = read_json(file)
    wanted = {"format": int, "task": Mapping, "streams": Mapping}
    if wrong := [key for key, kind in wanted.items() if not isinstance(meta.get(key), kind)]:
        raise UserError(f"{file}: has no {' and no '.join(wrong)}, so it is no bundle's; make the bundle again")
    if meta["format"] > FORMAT:
        raise UserError(
            f"{folder}: bundle format {meta['format']} is newer than this mmjax knows ({FORMAT}); upgrade it"
        )
    return meta


def _read_params(file: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        return load_file(str(file))
    except FileNotFoundError:
        raise UserError(f"{file}: missing; the bundle is incomplete") from None
    except SafetensorError as error:
        raise UserError(f"{file}: not a whole safetensors file ({error})") from None


def shapes_of(task: Any, streams: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """`{parameter: shape}` of a task that reads these streams."""
    tree = jax.eval_shape(lambda key: task.init(key, blank_batch(streams, 1)), jax.random.key(0))
    return {name: leaf.shape for name, leaf in traverse_util.flatten_dict(tree, sep="/").items()}


def check_params(task: Any, streams: Mapping[str, Any], params: Mapping[str, np.ndarray], folder: pathlib.Path) -> None:
    """Refuses parameters that are not exactly the ones that the config describes."""
    want = shapes_of(task, streams)
    have = {name: leaf.shape for name, leaf in params.items()}
    if want == have:
        return
    wrong = [f"missing {name}" for name in sorted(want.keys() - have.keys())]
    wrong += [f"unexpected {name}" for name in sorted(have.keys() - want.keys())]
    both = sorted(want.keys() & have.keys())
    wrong += [f"{name} is {have[name]}, should be {want[name]}" for name in both if want[name] != have[name]]
    raise UserError(f"{folder}/params.safetensors does not fit its config: {'; '.join(wrong[:8])}")


def blank_batch(streams: Mapping[str, Any], rows: int) -> Batch:
    """A batch of zeros in the shapes that the streams give: enough for shapes and for compiling."""
    present, index = np.zeros(rows, bool), np.zeros(rows, np.int32)

    def stream(transform: Any) -> Stream:
        blank = {key: np.repeat(value[None], rows, axis=0) for key, value in transform.blank().items()}
        return Stream(present=present, **blank)

    return Batch({name: stream(transform) for name, transform in streams.items()}, present, index, index)


def sections(source: str | pathlib.Path) -> dict[str, Any]:
    """What a config needs to go on from a model: its `{"task": section, "streams": {stream: section}}`.

    Tokenizers are named by their place in the bundle, so that ids mean what the model has learnt.

    Raises:
      UserError: no bundle there.
    """
    source = fetched(source)
    if of_pytorch(source):
        found = begin(str(source))
        return {"task": found.task, "streams": found.streams}
    meta = _read_meta(folder := find(pathlib.Path(source)))
    streams = {name: dict(section) for name, section in meta["streams"].items()}
    for section in streams.values():
        if isinstance(tokenizer := section.get("tokenizer"), Mapping) and "path" in tokenizer:
            section["tokenizer"] = {**tokenizer, "path": str((folder / tokenizer["path"]).resolve())}
    return {"task": meta["task"], "streams": streams}
