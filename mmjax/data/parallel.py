"""A function over every item of a source in worker processes, results in order."""

import collections
import concurrent.futures
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from mmjax.data.sources import Source
from mmjax.errors import UserError

T = TypeVar("T")
CHUNK = 32
_source: Any = None  # a worker process's own copy


def ordered(
    function: Callable[[Source, int], T], source: Source, indices: Sequence[int], workers: int | None = None
) -> Iterator[T]:
    """`function(source, i)` for each i of `indices`, in their order, a bounded number ahead.

    Args:
      function: at the top level of a module, so that it can be sent to a worker.
      workers: processes; 0 works in this one; None takes a process for each core where there is enough to do.

    Raises:
      UserError: a worker process was killed, by the system for its memory or by a crash in a decoder.
    """
    if workers is None:
        workers = min(cores(), len(indices) // (4 * CHUNK))
    if workers == 0:
        yield from (function(source, i) for i in indices)
        return
    # Spawned, never forked: JAX may run threads in this process.
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(source,)
    )
    chunks = (indices[i : i + CHUNK] for i in range(0, len(indices), CHUNK))
    ahead: collections.deque[tuple[Sequence[int], concurrent.futures.Future]] = collections.deque()
    try:
        for chunk in itertools.chain(chunks, itertools.repeat(None)):
            if chunk is not None:
                ahead.append((chunk, pool.submit(_work, function, chunk)))
            if not ahead:
                return
            if chunk is None or len(ahead) > 4 * workers:
                yield from _result(source, *ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _result(source: Source, chunk: Sequence[int], future: concurrent.futures.Future) -> list:
    try:
        return future.result()
    except BrokenProcessPool:
        span = f"{chunk[0]} to {chunk[-1]} or the next few hundred"
        raise UserError(f"{source.name}: a worker process died at items {span}; try --workers 0") from None


def _start(source: Source) -> None:
    global _source
    _source = source
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(function: Callable[[Source, int], T], chunk: Sequence[int]) -> list[T]:
    return [function(_source, index) for index in chunk]
