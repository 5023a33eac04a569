"""WebDataset tars: `KEY.jpg` with `KEY.txt` or `KEY.json`, read at random through an index beside each tar."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.sources.captions import text
from mmjax.data.sources.files import Handles, expand
from mmjax.data.sources.rows import Rows
from mmjax.data.sources.tar_index import tar_index
from mmjax.errors import BadItem, UserError
from mmjax.storage import Place, place

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif")
LINES = ("txt", "text", "caption")  # members that hold captions, one a line


class WebDataset(Rows):
    """Pairs in one tar or several.

    Args:
      path: a tar, with `{000..099}` and stars if there are several, or a folder of them.
      caption: field of the JSON, or extension, that holds the caption or captions; default: the usual names.
      image: extension of the picture; default: the first known one that an item has.
      where: keeps the items whose JSON has these values, e.g. `{"split": "train"}`.
    """

    def __init__(
        self, path: str, caption: str | None = None, image: str | None = None, where: Mapping[str, Any] | None = None
    ):
        self.name = Path(path).name
        if path.endswith((".gz", ".tgz", ".bz2", ".xz", ".zst")):
            raise UserError(f"{path}: a compressed tar cannot be read at random; unpack it to a plain .tar first")
        found = place(path)
        self._shards = [tar_index(file) for file in expand(str(found / "*.tar") if found.is_dir() else path)]
        self._starts = np.cumsum([0, *map(len, self._shards)])
        self._extensions = (image.lower(),) if image else IMAGE_EXTENSIONS
        self._handles = Handles()
        self._choose(caption, where)

    def _count(self) -> int:
        return int(self._starts[-1])

    def _at(self, row: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._starts, row, "right")) - 1
        return shard, row - int(self._starts[shard])

    def _id(self, row: int) -> str:
        shard, item = self._at(row)
        return self._shards[shard].key(item)

    def _members(self, row: int) -> tuple[Place, Mapping[str, tuple[int, int]]]:
        shard, item = self._at(row)
        index = self._shards[shard]
        members = index.members(item)
        if not members:
            raise BadItem("the tar breaks off or is damaged here; what followed is lost")
        for extension, (offset, size) in members.items():
            _refuse_short(extension, index.length - offset, size)
        return index.path, members

    def _read(self, path: Place, extension: str, offset: int, size: int) -> bytes:
        try:
            data = self._handles.read(path, offset, size)
        except OSError as error:
            raise BadItem(f"{path.name}: {error.strerror or error}") from None
        _refuse_short(extension, len(data), size)  # it may have been cut since it was indexed
        return data

    def _row(self, row: int) -> Mapping[str, Any]:
        path, members = self._members(row)
        fields: dict[str, Any] = {}
        for extension, span in members.items():
            if extension == "json":
                fields |= _parse(self._read(path, extension, *span))
            elif extension in LINES:
                fields[extension] = text(self._read(path, extension, *span)).strip().splitlines() or [""]
        return fields

    def _image(self, row: int) -> bytes:
        path, members = self._members(row)
        for extension in self._extensions:
            if extension in members:
                return self._read(path, extension, *members[extension])
        raise BadItem(f"no image beside it in the tar, only .{', .'.join(members)}")


def _refuse_short(extension: str, there: int, size: int) -> None:
    if there < size:
        raise BadItem(f"the tar is truncated within its .{extension}: {there:,} of {size:,} bytes")


def _parse(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text(data))
    except (ValueError, RecursionError):
        raise BadItem("its .json is not JSON") from None
    if not isinstance(fields, dict):
        raise BadItem("its .json is not an object")
    return fields
