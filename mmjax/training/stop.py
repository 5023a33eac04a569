"""SIGTERM and SIGINT as a request to save and leave between two steps.

On several hosts the request must reach all of them at one step. There SIGTERM belongs to JAX's preemption service,
which agrees on that step (`Checkpoints.preempted`), and a handler of ours would take it away.
"""

import os
import signal
from types import FrameType, TracebackType

import jax

# EX_TEMPFAIL of sysexits.h: not an error, start the same command again.
EXIT_INTERRUPTED = 75


class StopRequest:
    """Context manager; true once a signal came to a run of one process. A second signal ends it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._old: dict[int, object] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        if jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._note)
        else:
            self._old[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal = number
