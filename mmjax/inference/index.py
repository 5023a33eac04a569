"""Exact search in one stream of a folder of embeddings, with FAISS."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from mmjax import progress
from mmjax.errors import UserError
from mmjax.inference import shards
from mmjax.inference.finite import check_finite
from mmjax.inference.manifest import Manifest

FILE = "index.faiss"


@dataclasses.dataclass(frozen=True)
class Hit:
    """Attributes:
    score: cosine with the query.
    id, item: name and number of the item.
    text: the row's text; None where the stream is none.
    """

    score: float
    id: str
    item: int
    text: str | None


@dataclasses.dataclass(frozen=True)
class Index:
    """Attributes:
    stream: which one.
    flat: FAISS `IndexFlatIP` of the L2-normalised rows.
    rows: what they are, a part for each shard.
    """

    stream: str
    flat: Any
    rows: Sequence[shards.Rows]

    def search(self, query: Float[np.ndarray, " d"], top: int) -> list[Hit]:
        """The `top` best rows, best first; equal scores in the order of the rows."""
        scores, found = self.flat.search(unit(query[None]), min(top, self.flat.ntotal))
        order = np.lexsort((found[0], -scores[0]))
        return [self._hit(float(scores[0][i]), int(found[0][i])) for i in order if found[0][i] >= 0]

    def vector(self, id: str) -> Float[np.ndarray, " d"]:
        """The first row of an item.

        Raises:
          UserError: no row has this id.
        """
        start = 0
        for part in self.rows:
            if id in part.id:
                return self.flat.reconstruct(start + list(part.id).index(id))
            start += len(part.id)
        first = next((part.id[0] for part in self.rows if len(part.id)), None)
        raise UserError(f"id:{id}: the stream {self.stream} has no such item; ids look like id:{first}")

    def _hit(self, score: float, row: int) -> Hit:
        for part in self.rows:
            if row < len(part.id):
                return Hit(score, part.id[row], int(part.item[row]), part.text[row] if part.text else None)
            row -= len(part.id)
        raise IndexError(row)


def open_index(folder: pathlib.Path, manifest: Manifest, stream: str, save: bool = False) -> Index:
    """The index of all shards that are done: the saved one where that is up to date, else a new one.

    Args:
      save: keep it beside the shards, as `STREAM/index.faiss`.

    Raises:
      UserError: no FAISS, or no such stream.
      RunError: a shard cannot be read, or holds features that are not finite.
    """
    faiss = import_faiss()
    if stream not in manifest.streams:
        raise UserError(f"{folder}: has no stream {stream!r}; it has {', '.join(manifest.streams)}")
    files = [folder / shard.file for shard in manifest.streams[stream].shards]
    rows = [shards.read_rows(file) for file in files]
    if not sum(len(part.id) for part in rows):
        raise UserError(f"{folder}: no row of stream {stream!r} is there yet; run `mmjax embed` to its end")
    saved = folder / stream / FILE
    flat = _saved(faiss, saved, files, rows)
    if flat is None:
        flat = _build(faiss, manifest.streams[stream].dim, files)
        if save:
            draft = saved.with_name(saved.name + ".tmp")
            faiss.write_index(flat, str(draft))
            os.replace(draft, saved)
    return Index(stream, flat, rows)


def import_faiss() -> Any:
    """FAISS, or a UserError that says how to install it."""
    try:
        import faiss
    except ImportError:
        raise UserError("search needs FAISS: pip install 'mmjax[search]'") from None
    return faiss


def unit(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of length 1 in float32, contiguous as FAISS wants them; a row of zeros stays."""
    x = x.astype(np.float32)
    return np.ascontiguousarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def _build(faiss: Any, dim: int, files: Sequence[pathlib.Path]) -> Any:
    flat = faiss.IndexFlatIP(dim)
    with progress.bar("reading shards", len(files)) as advance:
        for file in files:
            features = shards.read_features(file)
            check_finite(features, partial("{}, row {}".format, file), "embed again, by a model that gives numbers")
            flat.add(unit(features))
            advance()
    return flat


def _saved(faiss: Any, saved: pathlib.Path, files: Sequence[pathlib.Path], rows: Sequence[shards.Rows]) -> Any | None:
    """The saved index, or None where there is none, where a shard is newer, or where it is cut short or another's."""
    if not _current(saved, files):
        return None
    try:
        flat = faiss.read_index(str(saved))
    except RuntimeError:
        return None
    return flat if flat.ntotal == sum(len(part.id) for part in rows) else None


def _current(saved: pathlib.Path, files: Sequence[pathlib.Path]) -> bool:
    """Whether an index was saved after the last of these shards was written."""
    return saved.exists() and all(file.stat().st_mtime_ns < saved.stat().st_mtime_ns for file in files if file.exists())
