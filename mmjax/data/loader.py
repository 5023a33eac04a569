"""Training batches whose order is a pure function of (seed, step), whatever the number of hosts and workers."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from mmjax.batch import Example
from mmjax.data import fast, order
from mmjax.data.host_batch import HostBatch, Skip
from mmjax.data.pipeline import Ahead
from mmjax.data.rows import Rows, stable_hash
from mmjax.data.skips import SkipLedger, item_id
from mmjax.data.sources import Source
from mmjax.data.streams import StreamTransform, TextStream
from mmjax.errors import BadItem, UserError

__all__ = ["HostBatch", "Loader", "Skip", "SkipLedger"]

Group = Literal["index", "caption", "label"]
FOREVER = 1 << 40  # steps: Grain asks for a length


class Loader:
    """Batches of a mixture of sources, one source a batch.

    Each source is passed epoch by epoch, every epoch a new permutation without repeats; a batch may span two epochs.
    Random choices are keyed by (seed, source, epoch, index), so an item is seen anew in every epoch.

    Args:
      weights: one a source; the sources get exactly these shares of the steps.
      streams: {name: transform}.
      batch_size: rows of the global batch.
      group: which rows are positives of each other: those of the same item, the same caption text or the same label.
      workers: processes that make batches; 0 makes them in threads of this process.
      prefetch: batches made ahead, by each worker or by the threads.

    Raises:
      UserError: a source is empty, weights or sizes are impossible.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        weights: Sequence[int | float],
        streams: Mapping[str, StreamTransform],
        batch_size: int,
        seed: int = 0,
        group: Group = "index",
        workers: int = 0,
        prefetch: int = 2,
    ):
        if not sources or len(sources) != len(weights):
            raise UserError(f"data: {len(sources)} sources and {len(weights)} weights; give each source one weight")
        for source in sources:
            if not len(source):
                raise UserError(f"{source.name}: the source is empty; there is nothing to train on")
        if batch_size < 1 or min(workers, prefetch, seed) < 0:
            raise UserError(
                "batch_size must be at least 1, and workers, prefetch and seed not negative; "
                f"got {batch_size}, {workers}, {prefetch} and {seed}"
            )
        if group == "caption" and not any(isinstance(stream, TextStream) for stream in streams.values()):
            raise UserError("data.group is 'caption', but no stream is a text stream; use 'index'")
        if any(getattr(stream, "resampler", None) == "opencv" for stream in streams.values()):
            fast.check()
        try:
            mixture = order.mixture(weights, seed)
        except ValueError as error:
            raise UserError(f"data: {error}") from None
        self.plan = Plan(tuple(sources), _names(sources), mixture, dict(streams), batch_size, seed, group)
        self.workers, self.prefetch = workers, prefetch

    @property
    def items(self) -> dict[str, int]:
        """{source: its number of items}."""
        return {name: len(source) for name, source in zip(self.plan.names, self.plan.sources, strict=True)}

    def batches(self, start_step: int = 0, host: int = 0, hosts: int = 1) -> Ahead[HostBatch]:
        """This host's batches from a step on, without end. Close it, or use it in a `with`.

        Raises:
          UserError: the batch does not divide among the hosts.
        """
        if self.plan.batch_size % hosts:
            raise UserError(f"batch_size {self.plan.batch_size} does not divide among {hosts} hosts")
        return Ahead(HostPlan(self.plan, start_step, host, hosts), self.workers, self.prefetch)


def _names(sources: Sequence[Source]) -> tuple[str, ...]:
    """The sources' names; where several are called alike, such as one file read with two caption fields, numbered."""
    names = [source.name for source in sources]
    return tuple(f"{n} #{names[:i].count(n) + 1}" if names.count(n) > 1 else n for i, n in enumerate(names))


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that a batch depends on beside its step."""

    sources: tuple[Source, ...]
    names: tuple[str, ...]
    mixture: order.Mixture
    streams: Mapping[str, StreamTransform]
    batch_size: int
    seed: int
    group: Group

    def make(self, step: int, host: int, hosts: int) -> HostBatch:
        """One host's rows of the global batch of a step."""
        number = self.mixture.source(step)
        source, name = self.sources[number], self.names[number]
        first = self.mixture.earlier(step) * self.batch_size
        share = self.batch_size // hosts
        rows, skips = Rows(self.streams, share), []
        for row in range(share):
            epoch, index = order.item(first + host * share + row, len(source), (self.seed, number))
            rows.index[row] = index
            rng = functools.partial(self.rng, number, epoch, index)
            try:
                example = source[index]
                rows.fill(row, example.streams, rng)
                rows.group[row] = self.group_of(example, index, rng)
            except BadItem as error:
                skips.append(Skip(step, name, index, item_id(source, index), str(error)))
        return HostBatch(step, rows.batch(), skips, name, first + self.batch_size, host, hosts)

    def rng(self, number: int, epoch: int, index: int, stream: str) -> np.random.Generator:
        """The random numbers of one stream of one item in one epoch; streams that `draws` ties get equal ones."""
        tie = self.streams[stream].draws or stream
        return np.random.default_rng((self.seed, number, epoch, index, zlib.crc32(tie.encode())))

    def group_of(self, example: Example, index: int, rng: Callable[[str], np.random.Generator]) -> int:
        """The group of a row. A row without the caption in question is alone, in a negative group."""
        if self.group == "index":
            return index
        if self.group == "label":
            if "label" not in example.truth:
                raise UserError(f"data.group is 'label', but item {example.id} has no label; use 'index' or 'caption'")
            label = example.truth["label"]
            return stable_hash(label) if isinstance(label, str) else int(label)
        name, text = next((n, stream) for n, stream in self.streams.items() if isinstance(stream, TextStream))
        value = example.streams.get(text.field)
        return -2 - index if value is None else stable_hash(text.choose(value, rng(name)))


@dataclasses.dataclass(frozen=True)
class HostPlan:
    """One host's batches by number, for the pipeline."""

    plan: Plan
    start: int
    host: int
    hosts: int

    def __len__(self) -> int:
        return FOREVER - self.start

    def __getitem__(self, number: int) -> HostBatch:
        return self.plan.make(self.start + number, self.host, self.hosts)
