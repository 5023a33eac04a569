"""Runs a task's predictor over an evaluation set, on all devices and hosts, and accounts for every row.

Features come back to every host in row order, so that what follows is plain arithmetic. A row that was neither scored
nor listed as corrupt is an error: an average over the wrong rows is worse than none.
"""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmjax.batch import Batch
from mmjax.data.skips import Skip, item_id
from mmjax.errors import BadItem, UserError
from mmjax.mesh import put_batch

Metrics = dict[str, float | int]  # rates are fractions from 0 to 1; counts are ints

AHEAD = 2  # batches in flight: the next one is being sent while this one computes


@runtime_checkable
class EvalSet(Protocol):
    """What evaluators ask of the data: batches per stream, whose rows belong to items, and the truth of each item."""

    source: Any  # the items themselves; may have `class_names` and `templates`
    items: int  # their number
    batch_size: int  # rows of a global batch
    skipped: list[Skip]  # items that could not be read; filled while iterating

    @property
    def streams(self) -> Mapping[str, Any]: ...  # {name: transform}
    def count(self, stream: str) -> int: ...
    def batches(self, stream: str, host: int = 0, hosts: int = 1) -> Iterator[Batch]: ...
    def item_batches(self, streams: Sequence[str], host: int = 0, hosts: int = 1) -> Iterator[Batch]: ...
    def owner(self, stream: str) -> np.ndarray: ...
    def truth(self, index: int) -> Mapping[str, Any]: ...  # raises BadItem
    def text_batches(self, stream: str, texts: Sequence[str]) -> Iterator[Batch]: ...


@dataclasses.dataclass(frozen=True)
class Rows:
    """Features of the rows that could be read: float32 `[v, d]`, and which rows they are: int `[v]`, ascending."""

    features: np.ndarray
    index: np.ndarray


@dataclasses.dataclass(frozen=True)
class Embedded:
    """One stream of a whole set, row by row.

    Attributes:
      features: float32 `[n, d]`; zeros where not valid.
      valid: bool `[n]`; False for rows of items that could not be read.
      owner: int `[n]`, the item each row belongs to.
    """

    features: np.ndarray
    valid: np.ndarray
    owner: np.ndarray


@functools.lru_cache(maxsize=64)
def predictor(task: Any, method: str, stream: str, mesh: Mesh | None):
    """The compiled `task.method`, made once: a task is a frozen dataclass, so equal tasks share the program."""

    def run(params: Any, batch: Batch):
        features = getattr(task, method)(params, batch)[stream].astype(jnp.float32)
        return features, batch.valid & batch[stream].present, batch.index

    # Replicated outputs are the gather: every host can read them whole, in the order of the global batch.
    return jax.jit(run, out_shardings=None if mesh is None else NamedSharding(mesh, PartitionSpec()))


def embed_rows(task: Any, params: Any, batches: Iterable[Batch], stream: str, mesh: Mesh | None = None) -> Rows:
    """As `read_rows`, for a set of which something must be readable.

    Raises:
      UserError: there is no valid row at all.
    """
    rows = read_rows(task, params, batches, stream, mesh)
    if not len(rows.index):
        raise UserError(f"evaluation: no row of stream {stream!r} could be read; look at the list of skipped items")
    return rows


def read_rows(task: Any, params: Any, batches: Iterable[Batch], stream: str, mesh: Mesh | None = None) -> Rows:
    """Features of every valid row that the batches hold, in row order, on every host.

    Args:
      batches: this host's share of each global batch, as numpy; padding has `valid` False and is dropped.
      mesh: the devices to use, whose `data` x `fsdp` size divides the global batch; None for the default device.
    """
    run = predictor(task, "embed", stream, mesh)
    parts: list[Rows] = []
    waiting: collections.deque[tuple[jax.Array, jax.Array, jax.Array]] = collections.deque()
    with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
        for batch in batches:
            waiting.append(run(params, jax.device_put(batch) if mesh is None else put_batch(batch, mesh)))
            if len(waiting) > AHEAD:
                parts.append(_fetch(waiting.popleft()))
        parts += map(_fetch, waiting)
    features, index = (np.concatenate([getattr(rows, key) for rows in parts]) for key in ("features", "index"))
    order = np.argsort(index, kind="stable")
    return Rows(features[order], index[order])


def _fetch(outputs: tuple[jax.Array, jax.Array, jax.Array]) -> Rows:
    features, valid, index = jax.device_get(outputs)
    return Rows(features[valid], index[valid])


def embed_set(task: Any, params: Any, data: EvalSet, stream: str, mesh: Mesh | None = None) -> Embedded:
    """Features of one stream of the whole set.

    Raises:
      RuntimeError: a row came twice, or is missing without its item being listed as skipped.
    """
    host, hosts = jax.process_index(), jax.process_count()
    rows = embed_rows(task, params, data.batches(stream, host, hosts), stream, mesh)
    count, owner = data.count(stream), np.asarray(data.owner(stream))
    if len(np.unique(rows.index)) != len(rows.index) or rows.index[-1] >= count:
        raise RuntimeError(f"evaluation of {stream!r}: a row came twice, or lies outside the set of {count} rows")
    features = np.zeros((count, rows.features.shape[1]), np.float32)
    features[rows.index] = rows.features
    valid = np.zeros(count, bool)
    valid[rows.index] = True
    _account(stream, valid, listed=on_any_host(np.isin(owner, [skip.index for skip in data.skipped])))
    return Embedded(features, valid, owner)


def _account(stream: str, valid: np.ndarray, listed: np.ndarray) -> None:
    lost = np.flatnonzero(~valid & ~listed)
    if len(lost):
        raise RuntimeError(
            f"evaluation of {stream!r}: {valid.sum()} rows scored, {(~valid & listed).sum()} skipped, of a set of"
            f" {len(valid)}: {len(lost)} rows are lost, the first is row {lost[0]}"
        )


def on_any_host(mask: np.ndarray) -> np.ndarray:
    """Element-wise `or` over the hosts: each lists only the items that it failed to read."""
    if jax.process_count() == 1:
        return mask
    from jax.experimental import multihost_utils

    gathered = np.asarray(multihost_utils.process_allgather(mask))
    return np.any(gathered.reshape(-1, len(mask)), axis=0)


def embed_texts(
    task: Any, params: Any, data: EvalSet, stream: str, texts: Sequence[str], mesh: Mesh | None = None
) -> np.ndarray:
    """Features float32 `[len(texts), d]` of texts that are not part of the set, such as prompts."""
    batches = map(_share, data.text_batches(stream, texts))
    rows = embed_rows(task, params, batches, stream, mesh)
    if len(rows.index) != len(texts):
        raise RuntimeError(f"evaluation: {len(texts)} texts were given and {len(rows.index)} features came back")
    return rows.features


def truths(data: EvalSet, items: Iterable[int]) -> dict[int, Mapping[str, Any]]:
    """`{item: its truth}`; an item whose truth cannot be read is left out and listed as skipped."""
    found = {}
    for item in map(int, items):
        try:
            found[item] = data.truth(item)
        except BadItem as error:
            if item not in {skip.index for skip in data.skipped}:
                data.skipped.append(Skip(0, data.source.name, item, item_id(data.source, item), str(error)))
    return found


def _share(batch: Batch) -> Batch:
    """This host's contiguous share of a global batch."""
    host, hosts = jax.process_index(), jax.process_count()
    rows = len(batch.valid) // hosts
    return jax.tree.map(lambda x: x[host * rows : (host + 1) * rows], batch)
