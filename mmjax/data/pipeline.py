"""Grain: batches made ahead of their use, by threads or by spawned processes, in order and never too many."""

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar, runtime_checkable

import grain
from absl import flags
from grain.multiprocessing import SharedMemoryArray

from mmjax import batch as accelerator
from mmjax.data.parallel import cores
from mmjax.data.rows import SHARED, enter_worker

T = TypeVar("T", covariant=True)


@runtime_checkable
class Maker(Protocol[T]):
    """Batches by number, each made from nothing but its number; it can be pickled."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> T: ...


class Ahead(Generic[T]):
    """An iterator over the batches of a maker that must be closed: `with Ahead(...) as batches`.

    Args:
      workers: processes that make batches; 0 makes them in threads of this process.
      prefetch: batches made ahead, by each worker process or by the threads; with 0 and no workers, each is made when
        it is asked for.
    """

    def __init__(self, maker: Maker[T], workers: int, prefetch: int):
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain reads absl flags; mmjax has none
        threads = 0 if workers else min(prefetch, cores())
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch if threads else 0)
        dataset = grain.MapDataset.source(maker).to_iter_dataset(options)
        pipes = grain.experimental.DatasetOptions(min_shm_size=SHARED)
        dataset = grain.experimental.WithOptionsIterDataset(dataset, pipes)
        if workers:
            processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=max(prefetch, 1))
            dataset = dataset.mp_prefetch(processes, worker_init_fn=_start_worker)
        self._iterator: grain.DatasetIterator | None = iter(dataset)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._iterator is None:
            raise ValueError("these batches are closed")
        return next(self._iterator)

    def __enter__(self) -> "Ahead[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends threads and processes; without it they print tracebacks when the interpreter exits."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None


def _start_worker(worker: int, workers: int) -> None:
    """Keeps a worker process off the accelerator, which belongs to its parent, and its batches in shared memory."""
    enter_worker()
    accelerator.jax.config.update("jax_platforms", "cpu")
    # A signal to the whole group asks the parent to save and stop; for that it may still need batches.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed closes nothing, and its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


@atexit.register
def _finish_frees() -> None:
    """Lets Grain's thread free the last batches that workers sent, or Python warns of leaked shared memory at exit."""
    thread = getattr(SharedMemoryArray, "_del_thread_pool", None)
    if thread:
        thread.apply(int)  # it works in order, so this one comes after all frees
