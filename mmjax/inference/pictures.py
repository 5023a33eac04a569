"""A folder of pictures without captions: no training can use it, but its pictures can be embedded and found."""

from collections.abc import Mapping
from typing import Any

from mmjax.batch import Example
from mmjax.data.sources.table import Folder, captions_file, sidecars
from mmjax.errors import BadItem

NAME = "mmjax.inference.pictures:Pictures"  # as a config names it


class Pictures(Folder):
    """The pictures of a folder, subfolders included, in order of their paths."""

    def __init__(self, path: str):
        super().__init__(path)

    def __getitem__(self, index: int) -> Example:
        return Example(self._id(index), {"image": self._image(index)})

    def captions(self, index: int) -> tuple[str, ...]:
        raise BadItem("no caption")

    def truth(self, index: int) -> Mapping[str, Any]:
        return {}


def without_captions(folder: Any) -> bool:
    """Whether a folder has pictures but neither a table nor a caption beside any of them."""
    rows = () if captions_file(folder) else list(sidecars(folder))
    return bool(rows) and not any(row["caption"] for row in rows if isinstance(row, dict))
