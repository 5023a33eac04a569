"""An evaluation set: one stream at a time, in order, every row accounted for."""

import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32

from mmjax.batch import Batch
from mmjax.data.host_batch import Skip
from mmjax.data.pipeline import Ahead
from mmjax.data.rows import Rows
from mmjax.data.skips import item_id
from mmjax.data.sources import Source
from mmjax.data.streams import StreamTransform
from mmjax.data.texts import texts_of
from mmjax.errors import BadItem, UserError


class EvalData:
    """The first `limit` items of a source, stream by stream.

    A text stream has a row for every text of every item, any other one row an item. A bad item keeps its row (a text
    stream: one row), which comes with `valid` False and is listed in `skipped`; so counts never depend on what broke.

    Args:
      batch_size: rows of the global batch; the last one is padded with rows that are not valid.
      limit: items to use; None for all.
      workers: processes that make batches; 0 makes them in a thread of this process.

    Attributes:
      skipped: the bad items met so far by this host, each once.
    """

    def __init__(
        self,
        source: Source,
        streams: Mapping[str, StreamTransform],
        batch_size: int,
        limit: int | None = None,
        workers: int = 0,
    ):
        if batch_size < 1 or (limit is not None and limit < 1):
            raise UserError(f"evaluation: batch_size and limit must be at least 1, got {batch_size} and {limit}")
        if workers < 0:
            raise UserError(f"evaluation: workers must not be negative, got {workers}")
        if not len(source):
            raise UserError(f"{source.name}: the source is empty; there is nothing to evaluate on")
        self.source, self.streams, self.batch_size, self.workers = source, dict(streams), batch_size, workers
        self.items = len(source) if limit is None else min(limit, len(source))
        self.skipped: list[Skip] = []
        self._places: dict[str, np.ndarray] = {}

    def count(self, stream: str) -> int:
        """Rows of a stream, without padding."""
        return len(self._rows(stream))

    def owner(self, stream: str) -> Int32[np.ndarray, " rows"]:
        """The item that each row belongs to."""
        return self._rows(stream)[:, 0]

    def truth(self, index: int) -> Mapping[str, Any]:
        """The ground truth of an item. Raises BadItem."""
        return self.source.truth(index)

    def batches(
        self, stream: str, host: int = 0, hosts: int = 1, parts: Sequence[range] | None = None
    ) -> Generator[Batch, None, None]:
        """This host's rows of each global batch, in order. `index` is the row's number, `group` its item.

        Args:
          parts: ranges of rows to go through, each beginning a new batch; None for all rows.

        Raises:
          UserError: the batch does not divide among the hosts, or there is no such stream.
        """
        if self.batch_size % hosts:
            raise UserError(f"evaluation: batch_size {self.batch_size} does not divide among {hosts} hosts")
        share, rows = self.batch_size // hosts, self._rows(stream)
        spans = spans_of([range(len(rows))] if parts is None else parts, self.batch_size)
        plan = EvalPlan(self.source, stream, self._stream(stream), rows, spans, share, host)
        with Ahead(plan, self.workers, prefetch=2) as ahead:
            for batch, skips in ahead:
                self._list(skips)
                yield batch

    def item_batches(self, streams: Sequence[str], host: int = 0, hosts: int = 1) -> Generator[Batch, None, None]:
        """As `batches`, a row an item with several of its streams, by the evaluation rule. `index` is the item.

        A row without one of the streams is bad: what is asked about a picture cannot be answered without it.
        """
        share, transforms = self.batch_size // hosts, {name: self._stream(name) for name in streams}
        if self.batch_size % hosts:
            raise UserError(f"evaluation: batch_size {self.batch_size} does not divide among {hosts} hosts")
        spans = spans_of([range(self.items)], self.batch_size)
        with Ahead(ItemPlan(self.source, transforms, spans, share, host), self.workers, prefetch=2) as ahead:
            for batch, skips in ahead:
                self._list(skips)
                yield batch

    def take_skipped(self) -> list[Skip]:
        """The bad items listed since the last call; the list begins anew."""
        taken, self.skipped = self.skipped, []
        return taken

    def text_batches(self, stream: str, texts: Sequence[str]) -> Iterator[Batch]:
        """Global batches of texts that belong to no item, such as prompts; every host gets them whole.

        Raises:
          BadItem: a text is empty.
        """
        for start in range(0, len(texts), self.batch_size):
            rows = Rows({stream: self._stream(stream)}, self.batch_size)
            for row, text in enumerate(texts[start : start + self.batch_size]):
                rows.index[row] = rows.group[row] = start + row
                rows.fill(row, {rows.streams[stream].field: (text,)}, lambda name: None)
            yield rows.batch()

    def _stream(self, name: str) -> StreamTransform:
        if name not in self.streams:
            raise UserError(f"evaluation: no stream {name!r}; the streams are {', '.join(self.streams)}")
        return self.streams[name]

    def _rows(self, name: str) -> Int32[np.ndarray, "rows 2"]:
        """(item, which of its texts) of every row; made once."""
        stream = self._stream(name)
        key = stream.field if stream.kind == "text" else ""
        if key not in self._places:
            counts = [self._texts(index, stream.field) for index in range(self.items)] if key else [1] * self.items
            rows = [(index, which) for index, count in enumerate(counts) for which in range(count)]
            self._places[key] = np.array(rows, np.int32).reshape(-1, 2)
        return self._places[key]

    def _texts(self, index: int, field: str) -> int:
        """How many rows an item has; one for a bad item, so that it is met and listed."""
        try:
            return max(len(texts_of(self.source, index, field)), 1)
        except BadItem:
            return 1

    def _list(self, skips: Sequence[Skip]) -> None:
        listed = {skip.index for skip in self.skipped}
        self.skipped += [skip for skip in skips if skip.index not in listed]


def spans_of(parts: Sequence[range], batch_size: int) -> list[range]:
    """The rows of each batch, where every part begins a new one."""
    return [
        range(start, min(start + batch_size, part.stop))
        for part in parts
        for start in range(part.start, part.stop, batch_size)
    ]


@dataclasses.dataclass(frozen=True)
class EvalPlan:
    """One host's rows of one stream by the number of the batch, for the pipeline."""

    source: Source
    name: str
    stream: StreamTransform
    rows: Int32[np.ndarray, "rows 2"]
    spans: Sequence[range]
    share: int
    host: int

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, number: int) -> tuple[Batch, list[Skip]]:
        span = self.spans[number]
        first = span.start + self.host * self.share
        rows, skips = Rows({self.name: self.stream}, self.share), []
        for row, (index, which) in enumerate(self.rows[first : min(first + self.share, span.stop)].tolist()):
            rows.index[row], rows.group[row] = first + row, index
            try:
                rows.fill(row, {self.stream.field: self._value(index, which)}, lambda name: None)
            except BadItem as error:
                skips.append(Skip(number, self.source.name, index, item_id(self.source, index), str(error)))
        return rows.batch(), skips

    def _value(self, index: int, which: int) -> Any:
        if self.stream.kind != "text":
            return self.source[index].streams.get(self.stream.field)
        texts = texts_of(self.source, index, self.stream.field)
        if not texts:
            raise BadItem(f"no {self.stream.field}")
        return (texts[which],)


@dataclasses.dataclass(frozen=True)
class ItemPlan:
    """One host's items by the number of the batch, for the pipeline."""

    source: Source
    streams: Mapping[str, StreamTransform]
    spans: Sequence[range]
    share: int
    host: int

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, number: int) -> tuple[Batch, list[Skip]]:
        span = self.spans[number]
        first = span.start + self.host * self.share
        rows, skips = Rows(self.streams, self.share), []
        for row, index in enumerate(range(first, min(first + self.share, span.stop))):
            rows.index[row] = rows.group[row] = index
            try:
                rows.fill(row, self._raw(index), lambda name: None)
            except BadItem as error:
                skips.append(Skip(number, self.source.name, index, item_id(self.source, index), str(error)))
        return rows.batch(), skips

    def _raw(self, index: int) -> Mapping[str, Any]:
        raw = self.source[index].streams
        for stream in self.streams.values():
            if raw.get(stream.field) is None:
                raise BadItem(f"no {stream.field}")
        return raw
