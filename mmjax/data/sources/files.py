"""Paths with braces and stars, and reading from many files at random."""

import glob
import itertools
import os
import re
import threading
import weakref
from collections import OrderedDict
from pathlib import Path

from mmjax.errors import UserError
from mmjax.storage import Place, filesystem, is_remote, place

OPEN_AT_ONCE = 64
_BRACES = re.compile(r"\{([^{}]*)\}")


def expand(pattern: str) -> list[Place]:
    """The files that a path with `{000..099}`, `{a,b}`, `*` or `?` stands for, on object stores too; all must exist.

    Raises:
      UserError: one of them is missing, or a star matches nothing.
    """
    found = [file for p in braces(os.path.expanduser(pattern)) for file in _stars(p)]
    missing = [file for file in found if not file.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more of {len(found)})" if len(missing) > 1 else ""
        raise UserError(f"{missing[0]}: no such file{more}")
    return found


def braces(pattern: str) -> list[str]:
    """`a{08..10}b` as `a08b a09b a10b`; `{x,y}` as either."""
    parts = _BRACES.split(pattern)  # text, braces, text, ...
    choices = [_choices(part) if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(words) for words in itertools.product(*choices)]


def _choices(inside: str) -> list[str]:
    if found := re.fullmatch(r"(\d+)\.\.(\d+)", inside):
        first, last = found.groups()
        return [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    return inside.split(",")


def _stars(pattern: str) -> list[Place]:
    file = place(pattern)
    if not glob.has_magic(pattern) or file.exists():
        return [file]
    if is_remote(pattern):
        root = pattern.partition("://")[0] + "://" + pattern.partition("://")[2].partition("/")[0]
        found = sorted(place(root).glob(pattern.removeprefix(root).lstrip("/")))
    else:
        found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    if not found:
        raise UserError(f"{pattern}: no file matches")
    return found


class _Handle:
    """A file descriptor that closes when its last user lets go of it."""

    def __init__(self, path: Place):
        self.descriptor = os.open(path, os.O_RDONLY)
        # A finalizer, not __del__: it also runs in order when the interpreter ends.
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self.descriptor, size, offset)


class _Remote:
    """The same of a file on an object store: one request a read."""

    def __init__(self, path: Place):
        self._fs, self._path = filesystem(path), str(path)

    def read(self, offset: int, size: int) -> bytes:
        return self._fs.cat_file(self._path, start=offset, end=offset + size)


class Handles:
    """Reads byte ranges of many files, from any thread; holds few open, and none through a pickle."""

    def __init__(self) -> None:
        self._open: OrderedDict[Place, _Handle | _Remote] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Place, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer where the file ends. Raises OSError."""
        with self._lock:
            handle = self._open.pop(path, None) or (_Remote if is_remote(path) else _Handle)(path)
            self._open[path] = handle
            while len(self._open) > OPEN_AT_ONCE:
                self._open.popitem(last=False)
        return handle.read(offset, size)

    def __getstate__(self) -> dict:
        return {}

    def __setstate__(self, state: dict) -> None:
        self.__init__()  # type: ignore[misc]
