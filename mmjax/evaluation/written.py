"""What a task writes about every item of a set, on all devices and hosts: texts, and how likely references are."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmjax.batch import Batch
from mmjax.decoding import Decoding
from mmjax.errors import UserError
from mmjax.evaluation.predict import EvalSet, on_any_host
from mmjax.mesh import put_batch
from mmjax.writing import Written

Arrays = Mapping[str, np.ndarray]


def write_set(
    task: Any, params: Any, data: EvalSet, text: str, decoding: Decoding, mesh: Mesh | None = None
) -> dict[int, Written]:
    """`{item: its text}` of every item that could be read, on every host.

    Args:
      text: the stream whose tokenizer reads the ids.

    Raises:
      UserError: no item could be read.
      RuntimeError: an item is missing without being listed as skipped.
    """
    if hasattr(task, "choose"):
        return _chosen(task, params, data, text, mesh)
    tokenizer = data.streams[text].loaded()
    rows = run_items(_writer(task, decoding, mesh), params, data, task.reads, mesh)
    found = {}
    for index, ids, mask, logprobs in zip(rows["index"], rows["ids"], rows["mask"], rows["logprobs"], strict=True):
        found[int(index)] = Written.of(tokenizer, ids[mask], logprobs[mask])
    return found


def check_writes(task: Any, data: EvalSet, text: str) -> None:
    """Refuses a task that writes nothing, and a stream that is not there.

    Raises:
      UserError: either.
    """
    if not hasattr(task, "generate") and not hasattr(task, "choose"):
        raise UserError(f"{type(task).__name__} writes no texts; leave captions and answers out of the evaluation")
    if text not in data.streams:
        raise UserError(f"evaluation: no stream {text!r} to be written; the streams are {', '.join(data.streams)}")


def _chosen(task: Any, params: Any, data: EvalSet, text: str, mesh: Mesh | None) -> dict[int, Written]:
    """As `write_set`, of a task that chooses among a list of answers."""
    listed = data.streams[text].answers
    rows = run_items(_chooser(task, mesh), params, data, task.reads, mesh)
    found = zip(rows["index"].tolist(), rows["answer"].tolist(), rows["logprob"].tolist(), strict=True)
    return {index: Written(listed[answer], (listed[answer],), (logprob,)) for index, answer, logprob in found}


def score_set(
    task: Any, params: Any, data: EvalSet, text: str, mesh: Mesh | None = None
) -> dict[int, tuple[float, float]]:
    """`{item: (log-probability, tokens)}` of every item's own first text; see `Caption.score`."""
    streams = (*task.reads, text)
    rows = run_items(_scorer(task, mesh), params, data, streams, mesh)
    columns = (rows["index"].tolist(), rows["logprob"].tolist(), rows["tokens"].tolist())
    return {index: (logprob, tokens) for index, logprob, tokens in zip(*columns, strict=True)}


def run_items(
    run: Callable[[Any, Batch], Any], params: Any, data: EvalSet, streams: Sequence[str], mesh: Mesh | None
) -> Arrays:
    """Outputs of a compiled predictor for every valid item, ordered by item, the same on every host.

    Raises:
      UserError: no item could be read.
      RuntimeError: an item came twice, or is missing without being listed as skipped.
    """
    parts = []
    with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
        for batch in data.item_batches(streams, jax.process_index(), jax.process_count()):
            out = run(params, jax.device_put(batch) if mesh is None else put_batch(batch, mesh))
            values = {key: np.asarray(value) for key, value in jax.device_get(out).items()}
            parts.append({key: value[values["valid"]] for key, value in values.items()})
    rows = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    order = np.argsort(rows["index"], kind="stable")
    rows = {key: value[order] for key, value in rows.items()}
    _account(rows["index"], data)
    return rows


def _account(index: np.ndarray, data: EvalSet) -> None:
    if not len(index):
        raise UserError("evaluation: no item could be read; look at the list of skipped items")
    listed = on_any_host(np.isin(np.arange(data.items), [skip.index for skip in data.skipped]))
    seen = np.bincount(index, minlength=data.items)
    if (seen > 1).any() or len(seen) > data.items or ((seen == 0) & ~listed).any():
        raise RuntimeError(
            f"evaluation: {len(index)} of {data.items} items came back, {listed.sum()} are listed as bad"
        )


@functools.lru_cache(maxsize=16)
def _writer(task: Any, decoding: Decoding, mesh: Mesh | None) -> Callable[[Any, Batch], Any]:
    def run(params: Any, batch: Batch) -> dict[str, jax.Array]:
        out = task.generate(params, batch, decoding=decoding)
        return {"ids": out.ids, "mask": out.mask, "logprobs": out.logprobs, "index": batch.index, "valid": batch.valid}

    return _compiled(run, mesh)


@functools.lru_cache(maxsize=16)
def _scorer(task: Any, mesh: Mesh | None) -> Callable[[Any, Batch], Any]:
    def run(params: Any, batch: Batch) -> dict[str, jax.Array]:
        return {**task.score(params, batch), "index": batch.index, "valid": batch.valid}

    return _compiled(run, mesh)


@functools.lru_cache(maxsize=16)
def _chooser(task: Any, mesh: Mesh | None) -> Callable[[Any, Batch], Any]:
    def run(params: Any, batch: Batch) -> dict[str, jax.Array]:
        answer, logprob = task.choose(params, batch)
        return {"answer": answer, "logprob": logprob, "index": batch.index, "valid": batch.valid}

    return _compiled(run, mesh)


def _compiled(run: Callable[[Any, Batch], Any], mesh: Mesh | None) -> Callable[[Any, Batch], Any]:
    """Replicated outputs are the gather, as in `predict.predictor`."""
    return jax.jit(run, out_shardings=None if mesh is None else NamedSharding(mesh, PartitionSpec()))


def settings(decoding: Decoding) -> str:
    """Decoding in words, to be stored with a score: what is not at its default."""
    fields = dataclasses.fields(decoding)
    told = {f.name: getattr(decoding, f.name) for f in fields if getattr(decoding, f.name) != f.default}
    return ", ".join(f"{name} {value}" for name, value in told.items())
