"""The log of one process, which keeps what earlier starts wrote."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import IO

TRACEBACK = "Traceback (most recent call last):"
WITH_TRACEBACK, WITHOUT = 80, 15  # lines that are shown at most


class Log:
    """A file that every start appends to."""

    def __init__(self, path: pathlib.Path):
        self.path, self._start = path, 0

    @contextlib.contextmanager
    def opened(self, attempt: int) -> Iterator[IO[bytes]]:
        """The file to append to, behind a line that tells the start; `attempt` counts from 0."""
        with self.path.open("ab") as stream:
            stream.write(f"--- start {attempt + 1}\n".encode())
            stream.flush()
            self._start = stream.tell()
            yield stream

    def text(self) -> str:
        """What was written since it was opened last."""
        with self.path.open("rb") as stream:
            stream.seek(self._start)
            return stream.read().decode(errors="replace")

    @staticmethod
    def ending(text: str) -> str:
        """The traceback in it with what follows, or else its last lines."""
        lines = text.rstrip().splitlines()
        if TRACEBACK in lines:
            return "\n".join(lines[lines.index(TRACEBACK) :][:WITH_TRACEBACK])
        return "\n".join(lines[-WITHOUT:])
