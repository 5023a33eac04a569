"""Where each member of a tar lies, found once and kept beside it, so that items can be read in any order."""

import dataclasses
import io
import os
import re
import tarfile
import zipfile
from typing import Any

import numpy as np

from mmjax.storage import Place, filesystem, is_remote

FORMAT = 1
READ_AT_ONCE = 64 << 10  # bytes of a request for headers
# What the WebDataset convention calls a sample: the path up to the first dot of the last part; the rest is the field.
_KEY = re.compile(r"^((?:.*/)?[^./][^/.]*)\.([^/]+)$")


@dataclasses.dataclass(frozen=True)
class TarIndex:
    """The items of one tar, as arrays, which pickle small.

    Attributes:
      path: of the tar.
      length: of the tar in bytes.
      keys: bytes `[items]`, UTF-8.
      first: int64 `[items + 1]`: members `first[i]:first[i + 1]` are item i's. An item without members marks the
        place where a tar breaks off.
      extension: int16 `[members]`, into `extensions`.
      offset, size: int64 `[members]`, in bytes.
      extensions: lower-case names, without the leading dot.
    """

    path: Place
    length: int
    keys: np.ndarray
    first: np.ndarray
    extension: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    extensions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, item: int) -> str:
        return self.keys[item].decode("utf-8", "surrogateescape")

    def members(self, item: int) -> dict[str, tuple[int, int]]:
        """Extension → (offset, size) of an item."""
        span = range(self.first[item], self.first[item + 1])
        return {self.extensions[self.extension[m]]: (int(self.offset[m]), int(self.size[m])) for m in span}


def tar_index(path: Place) -> TarIndex:
    """The index of a tar: read from `PATH.index.npz`, or made and kept there; in memory if the place is read-only."""
    file = path.with_name(path.name + ".index.npz")
    length, version = _state(path)
    stamp = np.array([FORMAT, length, version])
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as saved:
            if np.array_equal(saved["stamp"], stamp):
                arrays = {name: saved[name] for name in ("keys", "first", "extension", "offset", "size")}
                return TarIndex(path, length, **arrays, extensions=tuple(map(str, saved["extensions"])))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # none yet, or not one of ours: make it
    index = scan(path)
    # root could write there all the same: the mode is the owner's word
    if is_remote(path) or os.stat(path.parent).st_mode & 0o222:
        _save(index, file, stamp)
    return index


def _state(path: Place) -> tuple[int, int]:
    """Length in bytes, and a number that changes with the content."""
    if is_remote(path):
        store = filesystem(path)
        return store.size(str(path)), int(store.ukey(str(path))[:15], 16)
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns


def _save(index: TarIndex, file: Place, stamp: np.ndarray) -> None:
    """Writes under another name first: several processes may be at it. On an object store a file appears whole."""
    arrays = {k: v for k, v in vars(index).items() if k not in ("path", "length", "extensions")}
    part = file if is_remote(file) else file.with_name(f"{file.name}.{os.getpid()}")
    content = io.BytesIO()
    try:
        np.savez(content, stamp=stamp, extensions=np.array(index.extensions or [""]), **arrays)
        part.write_bytes(content.getvalue())
        if part != file:
            os.replace(part, file)
    except OSError:  # a read-only or full place: the index lives in memory
        if part != file:
            part.unlink(missing_ok=True)


def scan(path: Place) -> TarIndex:
    """Reads the headers of a tar.

    Members are grouped by key in order of first appearance. A tar that breaks off between members, or whose headers
    are damaged, ends with one item without members, so that the loss is counted and listed; one that breaks off within
    a member has that member to show for it.
    """
    members, whole = _headers(path)
    groups: dict[str, dict[str, tuple[int, int]]] = {}
    for name, offset, size in members:
        if found := _KEY.match(name):
            groups.setdefault(found[1], {})[found[2].lower()] = (offset, size)
    if not whole:
        groups[f"{path.name}(end)"] = {}
    extensions = sorted({e for group in groups.values() for e in group})
    rows = [(extensions.index(e), *place) for group in groups.values() for e, place in group.items()]
    table = np.array(rows, np.int64).reshape(-1, 3)
    return TarIndex(
        path,
        length=_state(path)[0],
        keys=np.array([key.encode("utf-8", "surrogateescape") for key in groups], "S"),
        first=np.cumsum([0, *map(len, groups.values())]),
        extension=table[:, 0].astype(np.int16),
        offset=table[:, 1],
        size=table[:, 2],
        extensions=tuple(extensions),
    )


def _headers(path: Place) -> tuple[list[tuple[str, int, int]], bool]:
    """(name, offset, size) of the regular members, and whether nothing is missing that the list does not show."""
    found: list[tuple[str, int, int]] = []
    length, _ = _state(path)
    try:
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if member.isreg():
                    found.append((member.name, member.offset_data, member.size))
            end = tar.offset
    except tarfile.TarError:
        return found, bool(found) and found[-1][1] + found[-1][2] > length
    with _opened(path) as stream:  # tarfile takes a damaged header for the end; the true end is a block of zeros
        stream.seek(end)
        return found, stream.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _opened(path: Place) -> Any:
    """The file for reading here and there; of a remote one no more is fetched than a header and what lies beside it."""
    return filesystem(path).open(str(path), block_size=READ_AT_ONCE) if is_remote(path) else open(path, "rb")
