"""Host batches → device batches, one ahead of the step, with the corrupt items counted on the way."""

import collections
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jax.sharding import Mesh

from mmjax.batch import Batch
from mmjax.data.loader import HostBatch, SkipLedger
from mmjax.mesh import put_batch
from mmjax.training.clock import Clock


class Fed(NamedTuple):
    """A batch on the devices beside the host rows that it was made of."""

    step: int
    batch: Batch
    host: Batch
    source: str


def feed(batches: Iterable[HostBatch], mesh: Mesh, ledger: SkipLedger, clock: Clock) -> Iterator[Fed]:
    """Sends each batch while the step before it computes."""
    waiting: collections.deque[Fed] = collections.deque()
    source = iter(batches)
    while True:
        with clock.part("data"):
            item = next(source, None)
            if item is not None:
                ledger.add(item)
                waiting.append(Fed(item.step, put_batch(item.batch, mesh), item.batch, item.source))
        if item is None or len(waiting) > 1:
            if not waiting:
                return
            yield waiting.popleft()
