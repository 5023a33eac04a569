"""SIGTERM and SIGINT to the launcher, passed on to what it started, so that the run saves and stops."""

import signal
from types import FrameType, TracebackType
from typing import Protocol, runtime_checkable

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@runtime_checkable
class Stoppable(Protocol):
    """Something that can be asked to stop, and made to."""

    def stop(self) -> None: ...

    def kill(self) -> None: ...


class Relay:
    """Context manager. The first signal asks what runs to stop, a second one ends it at once.

    Attributes:
      stopping: whether a signal came.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._target: Stoppable | None = None
        self._old: dict[int, object] = {}

    def to(self, target: Stoppable) -> None:
        """Passes signals on to this one from now on."""
        self._target = target
        if self.stopping:
            target.stop()

    def __enter__(self) -> "Relay":
        for number in SIGNALS:
            self._old[number] = signal.signal(number, self._pass_on)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        again, self.stopping = self.stopping, True
        if self._target is not None:
            self._target.kill() if again else self._target.stop()
