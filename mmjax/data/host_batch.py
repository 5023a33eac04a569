"""What the loader hands over: one host's rows of a global batch, and what was wrong among them."""

import dataclasses
from typing import NamedTuple

from mmjax.batch import Batch


@dataclasses.dataclass(frozen=True)
class Skip:
    """One bad item.

    Attributes:
      step: the batch that met it.
      source: its source's name.
      index, id: which item.
      reason: why it cannot be used.
    """

    step: int
    source: str
    index: int
    id: str
    reason: str


class HostBatch(NamedTuple):
    """This host's rows of one global batch.

    Attributes:
      step: from 0.
      batch: numpy arrays; host h of H holds the h-th contiguous part of the global batch.
      skips: its bad items.
      source: name of the source that all rows come from.
      seen: rows of that source up to the end of this batch, on all hosts together.
      host, hosts: whose rows these are.
    """

    step: int
    batch: Batch
    skips: list[Skip]
    source: str
    seen: int
    host: int
    hosts: int
