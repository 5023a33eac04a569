"""Raw values → the rows of a batch, in arrays made once for the whole batch."""

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from grain.multiprocessing import SharedMemoryArray

from mmjax.batch import Batch, Stream
from mmjax.data.streams import StreamTransform
from mmjax.errors import BadItem

Rng = np.random.Generator
SHARED = 1 << 16  # bytes from which on an array is worth a shared memory block of its own
_in_worker = False


def enter_worker() -> None:
    """Makes large arrays in shared memory from now on: a worker's batch then reaches its parent without a copy."""
    global _in_worker
    _in_worker = True


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Room for an array; in a worker process in shared memory, where it is large."""
    large = math.prod(shape) * dtype.itemsize >= SHARED
    return SharedMemoryArray(shape, dtype) if _in_worker and large else np.empty(shape, dtype)


class Rows:
    """A batch being filled. A row that nobody fills stays blank, with `valid` False.

    Args:
      streams: {name: transform}.
      count: rows.
    """

    def __init__(self, streams: Mapping[str, StreamTransform], count: int):
        self.streams, self.count = streams, count
        self.arrays = {
            name: {key: empty((count, *array.shape), array.dtype) for key, array in stream.blank().items()}
            for name, stream in streams.items()
        }
        self.present = {name: np.zeros(count, bool) for name in streams}
        self.valid = np.zeros(count, bool)
        self.index = np.zeros(count, np.int32)
        self.group = np.full(count, -1, np.int32)

    def fill(self, row: int, raw: Mapping[str, Any], rng: Callable[[str], Rng | None]) -> None:
        """Fills one row from the raw streams of an example.

        Args:
          rng: by the stream's name; None for the evaluation rule.

        Raises:
          BadItem: a value cannot be used, or none of the streams is there; the row stays blank.
        """
        done = {}
        for name, stream in self.streams.items():
            if (value := raw.get(stream.field)) is not None:
                done[name] = stream(value, rng(name))
        if not done:
            fields = sorted({stream.field for stream in self.streams.values()})
            raise BadItem(f"it has none of the streams {', '.join(fields)}")
        for name, arrays in done.items():
            for key, array in arrays.items():
                self.arrays[name][key][row] = array
            self.present[name][row] = True
        self.valid[row] = True

    def batch(self) -> Batch:
        """The arrays as a batch, zeros where nothing was filled in."""
        for name, arrays in self.arrays.items():
            for array in arrays.values():
                array[~self.present[name]] = 0
        streams = {name: Stream(present=self.present[name], **arrays) for name, arrays in self.arrays.items()}
        return Batch(streams, self.valid, self.index, self.group)


def stable_hash(text: str) -> int:
    """31 bits of a text, the same in every process."""
    return zlib.crc32(text.encode()) & 0x7FFFFFFF
