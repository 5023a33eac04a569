"""Embeds a data set shard by shard; what is done stays done."""

import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from mmjax import progress
from mmjax.batch import Batch
from mmjax.data.evaluation import EvalData, spans_of
from mmjax.data.skips import item_id
from mmjax.data.texts import texts_of
from mmjax.distributed.hosts import everyones
from mmjax.errors import RunError
from mmjax.evaluation.predict import Rows, read_rows
from mmjax.inference import shards
from mmjax.inference.finite import check_finite
from mmjax.inference.manifest import SKIPPED, Manifest, Shard, write


@dataclasses.dataclass(frozen=True)
class Job:
    """What all shards of a folder have in common.

    Attributes:
      model: a `Model`.
      data: the set; nobody else may iterate it meanwhile.
      folder: where the manifest lies.
      mesh: devices; None for the default one.
      max_skip_rate: share of a stream's items that may be bad.
    """

    model: Any
    data: EvalData
    folder: pathlib.Path
    mesh: Mesh | None
    max_skip_rate: float

    def run(self, manifest: Manifest) -> Manifest:
        """Makes the shards that `manifest` does not list yet; all hosts call it, the first writes.

        Returns:
          The manifest with every shard.

        Raises:
          RunError: too many items of a stream are bad, or features that are not finite; the shards so far stay.
        """
        for stream in manifest.streams:
            manifest = self._stream(manifest, stream)
        return manifest

    def _stream(self, manifest: Manifest, stream: str) -> Manifest:
        part = manifest.streams[stream]
        spans = manifest.spans(stream)
        todo = spans[len(part.shards) :]
        batches = self.data.batches(stream, jax.process_index(), jax.process_count(), parts=todo)
        done = part.rows - sum(map(len, todo))
        with contextlib.closing(batches), progress.bar(f"embedding {stream}", part.rows, done) as advance:
            self._judge(manifest, stream)
            for number in range(len(part.shards), len(spans)):
                count = len(spans_of([spans[number]], self.data.batch_size))
                mine = _told(itertools.islice(batches, count), spans[number], advance)
                manifest = self._shard(manifest, stream, number, mine)
                advance(0, skipped=manifest.skipped(stream))
                self._judge(manifest, stream)
        return manifest

    def _shard(self, manifest: Manifest, stream: str, number: int, batches: Iterator[Batch]) -> Manifest:
        found = read_rows(self.model.task, self.model.params, batches, stream, self.mesh)
        lines = self._skipped(stream, number)
        self._account(stream, manifest.spans(stream)[number], found.index, lines)
        file = shards.name(stream, number, manifest.files)
        features = self._cast(stream, found, manifest.dtype)
        if jax.process_index() == 0:
            rows = rows_of(self.data, stream, found.index)
            shards.write(self.folder / file, rows, features)
            _append(self.folder / SKIPPED, lines)
        manifest = manifest.with_shard(stream, Shard(file, len(found.index), len(lines)))
        if jax.process_index() == 0:
            write(self.folder, manifest)
        return manifest

    def _cast(self, stream: str, found: Rows, dtype: str) -> np.ndarray:
        """The features in the dtype of the shards; all hosts have them, so all of them stop where one is not finite."""
        with np.errstate(over="ignore"):
            features = found.features.astype(dtype)
        wide = np.isfinite(found.features).all()
        advice = "they are beyond float16, take --dtype float32" if wide else ""
        owner = self.data.owner(stream)[found.index]
        check_finite(features, lambda row: f"{stream} of {item_id(self.data.source, int(owner[row]))}", advice)
        return features

    def _skipped(self, stream: str, shard: int) -> list[dict[str, Any]]:
        """The bad items of this shard that any host met, as lines of `skipped.jsonl`, in order."""
        own = [{"index": skip.index, "id": skip.id, "reason": skip.reason} for skip in self.data.take_skipped()]
        every = {line["index"]: line for host in everyones(own) for line in host}
        return [{"stream": stream, "shard": shard, **every[index]} for index in sorted(every)]

    def _account(self, stream: str, span: range, found: Int[np.ndarray, " n"], lines: list[dict[str, Any]]) -> None:
        """A row is embedded or its item is listed: nothing gets lost in silence."""
        missing = np.setdiff1d(np.arange(span.start, span.stop), found)
        listed = [line["index"] for line in lines]
        if len(found) + len(missing) != len(span) or not np.isin(self.data.owner(stream)[missing], listed).all():
            raise RuntimeError(f"embedding {stream!r}: rows {span.start} to {span.stop} are not all accounted for")

    def _judge(self, manifest: Manifest, stream: str) -> None:
        skipped = manifest.skipped(stream)
        if skipped / manifest.items > self.max_skip_rate:
            raise RunError(
                f"{self.data.source.name}: {skipped:,} of {manifest.items:,} items are bad as {stream}, more than "
                f"--max-skip-rate {self.max_skip_rate:g} allows; all are in {self.folder / SKIPPED}: repair the data "
                "and choose another --out, or go on with a higher rate"
            )


def rows_of(data: EvalData, stream: str, index: Int[np.ndarray, " n"]) -> shards.Rows:
    """What rows of a stream are called, and their texts.

    Args:
      index: numbers of rows that can be read.
    """
    owner = data.owner(stream)
    items = owner[index].astype(np.int64)
    ids = [_utf8(item_id(data.source, item)) for item in items.tolist()]
    if data.streams[stream].kind != "text":
        return shards.Rows(ids, items, index.astype(np.int64))
    which = index.astype(np.int64) - np.searchsorted(owner, items)  # an item's rows stand together
    pairs = zip(items.tolist(), which.tolist(), strict=True)
    field = data.streams[stream].field
    texts = [_utf8(texts_of(data.source, item, field)[k]) for item, k in pairs]
    return shards.Rows(ids, items, index.astype(np.int64), which, texts)


def _told(batches: Iterator[Batch], span: range, advance: Any) -> Iterator[Batch]:
    """The batches of a shard, each told to the progress bar when it is done with."""
    left = len(span)
    for batch in batches:
        yield batch
        rows = min(left, len(batch.valid) * jax.process_count())
        advance(rows)
        left -= rows


def _append(file: pathlib.Path, lines: list[dict[str, Any]]) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line, ensure_ascii=True) + "\n" for line in lines)
        stream.flush()
        os.fsync(stream.fileno())


def _utf8(text: str) -> str:
    """Parquet holds nothing but UTF-8; a file name may hold any bytes, and shows them as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
