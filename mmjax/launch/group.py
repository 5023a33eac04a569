"""Processes that live and end together."""

import contextlib
import dataclasses
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from mmjax.launch.orphans import LAUNCHER
from mmjax.launch.signals import Relay

EXIT_INTERRUPTED = 75  # see training/stop.py
GRACE = 5.0  # seconds between SIGTERM and SIGKILL to those that are left


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a group ended.

    Attributes:
      code: exit code: 0, 75, or that of the first process that failed.
      process: the first that failed, if any.
    """

    code: int
    process: int | None = None

    @property
    def reason(self) -> str:
        """`exit code 1`, or the signal that ended it."""
        return f"exit code {self.code}" if self.code >= 0 else f"ended by {signal.Signals(-self.code).name}"


class Group:
    """One command in several processes, which differ in their environment and their log."""

    def __init__(
        self, command: Sequence[str], environments: Sequence[Mapping[str, str]], logs: Sequence[IO[bytes]]
    ) -> None:
        self._ended: queue.Queue[tuple[int, int]] = queue.Queue()
        self._processes = [
            # Of sessions of their own: Ctrl-C reaches the launcher alone, which passes it on once.
            subprocess.Popen(
                command,
                env=os.environ | environment | {LAUNCHER: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for environment, log in zip(environments, logs, strict=True)
        ]
        # A thread each, so that they are told of in the order in which they end: the first failure is the cause.
        for number, process in enumerate(self._processes):
            threading.Thread(target=self._watch, args=(number, process), daemon=True).start()

    def _watch(self, number: int, process: subprocess.Popen) -> None:
        self._ended.put((number, process.wait()))

    def wait(self, relay: Relay) -> Outcome:
        """Until all have ended; the first that fails ends the others."""
        interrupted = False
        for _ in self._processes:
            number, code = self._ended.get()
            # Before JAX has put up its handler there is nothing to save, and the signal just ends the process.
            stopped = code == EXIT_INTERRUPTED or (relay.stopping and code in (-signal.SIGTERM, -signal.SIGKILL))
            if code and not stopped:
                self._end()
                return Outcome(code, number)
            interrupted |= stopped
        return Outcome(EXIT_INTERRUPTED if interrupted else 0)

    def stop(self) -> None:
        """Asks all to save and stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends all at once."""
        self._signal(signal.SIGKILL)

    def _end(self) -> None:
        self.stop()
        deadline = time.monotonic() + GRACE
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.0))
        self.kill()
        for process in self._processes:
            process.wait()

    def _signal(self, number: int) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)
