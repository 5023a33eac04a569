"""`manifest.json`: what a folder of embeddings holds, of which model and data, and how far the work has come.

A shard counts when the manifest lists it. It is written after the shard, in one rename, so a kill at any instant leaves
either the shard listed and whole or not listed, to be made again.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from mmjax.errors import UserError

FORMAT = 1
FILE, SKIPPED = "manifest.json", "skipped.jsonl"


@dataclasses.dataclass(frozen=True)
class Shard:
    """Attributes:
    file: relative to the folder.
    rows: that it holds.
    skipped: lines of `skipped.jsonl` that it added.
    """

    file: str
    rows: int
    skipped: int


@dataclasses.dataclass(frozen=True)
class Part:
    """One stream.

    Attributes:
      kind, field: of the stream, e.g. "image" and "image".
      rows: of the whole set, skipped ones included.
      dim: features a row.
      shards: those done, in order.
    """

    kind: str
    field: str
    rows: int
    dim: int
    shards: tuple[Shard, ...] = ()


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Attributes:
    model: as `mmjax.load` takes it.
    model_sha256: `fingerprint` of that model.
    data: section of the source.
    items: of the source that are used; `limit` may cut them.
    files: "parquet" or "npy".
    dtype: "float32" or "float16".
    shard_rows: rows of the set a shard; skipped ones are missing in it.
    streams: by name.
    """

    model: str
    model_sha256: str
    data: Mapping[str, Any]
    items: int
    files: str
    dtype: str
    shard_rows: int
    streams: Mapping[str, Part]

    def spans(self, stream: str) -> list[range]:
        """The rows of the set that each shard is made of."""
        rows = self.streams[stream].rows
        return [range(start, min(start + self.shard_rows, rows)) for start in range(0, rows, self.shard_rows)]

    def rows(self, stream: str) -> int:
        """Rows that the shards of a stream hold so far."""
        return sum(shard.rows for shard in self.streams[stream].shards)

    def skipped(self, *streams: str) -> int:
        """Lines of `skipped.jsonl` so far, of some streams or of all."""
        return sum(shard.skipped for name in streams or self.streams for shard in self.streams[name].shards)

    def complete(self, stream: str) -> bool:
        """Whether all shards of a stream are there."""
        return len(self.streams[stream].shards) == len(self.spans(stream))

    def as_dict(self) -> dict[str, Any]:
        """As plain data for JSON; `from_dict` reads it."""
        return {"format": FORMAT, **dataclasses.asdict(self), "skipped": self.skipped()}

    def with_shard(self, stream: str, shard: Shard) -> "Manifest":
        """One shard further."""
        part = self.streams[stream]
        part = dataclasses.replace(part, shards=(*part.shards, shard))
        return dataclasses.replace(self, streams={**self.streams, stream: part})


def write(folder: pathlib.Path, manifest: Manifest) -> None:
    """Replaces `manifest.json` at once."""
    text = json.dumps(manifest.as_dict(), indent=2, ensure_ascii=False) + "\n"
    replace(folder / FILE, text.encode())


def replace(file: pathlib.Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all, also after a kill or a power cut."""
    draft = file.with_name(file.name + ".tmp")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, file)


def read(folder: pathlib.Path) -> Manifest:
    """Reads `manifest.json`.

    Raises:
      UserError: it is not there, of a newer format, or no manifest of embeddings.
    """
    file = folder / FILE
    try:
        return from_dict(json.loads(file.read_text("utf-8")), file)
    except OSError:
        raise UserError(f"{file}: no such file; `mmjax embed --out {folder}` makes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not a manifest of embeddings ({error!r}); delete it, or choose another") from None


def from_dict(content: dict[str, Any], file: pathlib.Path) -> Manifest:
    """A manifest from its JSON. Raises UserError where the format is newer than this mmjax."""
    if (number := content.pop("format")) > FORMAT:
        raise UserError(f"{file}: format {number} is newer than this mmjax knows ({FORMAT}); upgrade it")
    del content["skipped"]  # follows from the shards; it is there for readers
    streams = {
        name: Part(**{**part, "shards": tuple(Shard(**shard) for shard in part["shards"])})
        for name, part in content.pop("streams").items()
    }
    return Manifest(**content, streams=streams)


def fingerprint(model: Any) -> str:
    """SHA-256 over a model's parameters, task, streams' sections and tokenizers: equal for equal embeddings."""
    streams = {name: _without_paths(section) for name, section in model.config["streams"].items()}
    tokenizers = {name: _vocabulary(stream) for name, stream in model.streams.items() if stream.kind == "text"}
    sections = json.dumps([model.config["task"], streams, tokenizers], sort_keys=True, default=str)
    digest = hashlib.sha256(sections.encode())
    for name, leaf in sorted(traverse_util.flatten_dict(model.params, sep="/").items()):
        values = np.ascontiguousarray(jax.device_get(leaf))
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _without_paths(section: Mapping[str, Any]) -> dict[str, Any]:
    """A stream's section less the path of its tokenizer: a model that has moved is the same model."""
    return {
        key: {k: v for k, v in value.items() if k != "path"} if isinstance(value, Mapping) else value
        for key, value in section.items()
    }


def _vocabulary(stream: Any) -> dict[str, Any]:
    """The files of a text stream's tokenizer by name, less what only says how it was last called or where it lay."""
    with tempfile.TemporaryDirectory() as folder:
        stream.loaded().save(pathlib.Path(folder))
        files = {file.name: file.read_bytes() for file in pathlib.Path(folder).rglob("*") if file.is_file()}
    found: dict[str, Any] = {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "tokenizer_config.json"
    }
    if "tokenizer.json" in files:
        parts = json.loads(files["tokenizer.json"])
        found["tokenizer.json"] = {key: value for key, value in parts.items() if key not in ("truncation", "padding")}
    return found
