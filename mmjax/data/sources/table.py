"""A folder of images, or a table of image paths and captions."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mmjax.data.sources import captions
from mmjax.data.sources.rows import IMAGE_FIELDS, Rows, choose, pick
from mmjax.data.sources.tables import SUFFIXES, Row, read_table
from mmjax.errors import BadItem, UserError
from mmjax.storage import Place, names, place

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".avif")
TABLE_NAMES = ("captions", "metadata")


class Table(Rows):
    """Pairs in `captions.jsonl`, csv or tsv. Several rows of one image are one item, at the place of the first.

    Args:
      path: the table; image paths in it are relative to its folder.
      caption: field of the caption or captions; default: the usual names.
      image: field of the image path; default: the usual names.
      where: keeps the rows with these values, e.g. `{"split": "train"}`.
    """

    def __init__(
        self, path: str, caption: str | None = None, image: str | None = None, where: Mapping[str, Any] | None = None
    ):
        file = place(path)
        self._open(path, file.parent, read_table(file), caption, image, where)

    def _open(
        self,
        name: str,
        folder: Place,
        rows: list[Row],
        caption: str | None,
        image: str | None,
        where: Mapping[str, Any] | None,
    ) -> None:
        self.name, self._folder, self._table = name, folder, rows
        self._image_field = choose(image, IMAGE_FIELDS, self._fields(), name, "image")
        self._choose(caption, where)
        self._table = self._grouped([rows[i] for i in self._kept])
        self._kept = np.arange(len(self._table))

    def _grouped(self, rows: list[Row]) -> list[Row]:
        """Rows of one image as one row with all their captions."""
        out: list[Row] = []
        place: dict[str, int] = {}
        for row in rows:
            file = None if isinstance(row, BadItem) else pick(row, self._image_field)
            if isinstance(row, BadItem) or not isinstance(file, str) or file not in place:
                if isinstance(file, str):
                    place[file] = len(out)
                out.append(row)
                continue
            first = out[place[file]]
            assert isinstance(first, dict)
            more = captions.as_list(pick(first, self.field)) + captions.as_list(pick(row, self.field))
            out[place[file]] = {**first, self.field: more}
        return out

    def _count(self) -> int:
        return len(self._table)

    def _id(self, row: int) -> str:
        fields = self._table[row]
        file = None if isinstance(fields, BadItem) else pick(fields, self._image_field)
        return file if isinstance(file, str) and file else f"row {row}"

    def _row(self, row: int) -> Mapping[str, Any]:
        fields = self._table[row]
        if isinstance(fields, BadItem):
            raise BadItem(*fields.args)
        return fields

    def _image(self, row: int) -> bytes:
        file = pick(self._row(row), self._image_field)
        if not isinstance(file, str) or not file:
            raise BadItem(f"no image: field {self._image_field!r} is {file!r}")
        return read_image(self._folder, file)


class Folder(Table):
    """A folder of images with `captions.jsonl`, csv or tsv in it, or with `x.txt` beside each `x.jpg`.

    Args:
      path: the folder. Without a table the items are its images, subfolders included, in order of their paths.
      caption, image, where: as for a table.
    """

    def __init__(
        self, path: str, caption: str | None = None, image: str | None = None, where: Mapping[str, Any] | None = None
    ):
        folder = place(path)
        if not folder.is_dir():
            raise UserError(f"{path}: no such folder")
        table = captions_file(folder)
        rows = read_table(table) if table else list(sidecars(folder))
        if not rows:
            raise UserError(f"{path}: neither captions.jsonl, csv or tsv nor images with .txt beside them")
        self._open(path, folder, rows, caption, image, where)


def captions_file(folder: Place) -> Place | None:
    """The table of a folder, if it has one."""
    found = [file for name in TABLE_NAMES for s in SUFFIXES if (file := folder / (name + s)).is_file()]
    if len(found) > 1:
        raise UserError(f"{folder}: has {' and '.join(f.name for f in found)}; give the path of the one that counts")
    return found[0] if found else None


def sidecars(folder: Place) -> Iterator[Row]:
    """A row for each image of a folder; its captions are the lines of the .txt beside it."""
    found = names(folder)
    known = set(found)
    for name in found:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in IMAGE_SUFFIXES or os.path.basename(name).startswith("."):
            continue
        beside = stem + ".txt"
        lines = captions.text((folder / beside).read_bytes()).strip().splitlines() or [""] if beside in known else []
        yield {"image": name, "caption": lines}


def read_image(folder: Place, file: str) -> bytes:
    """The bytes of an image file, relative to a folder. Raises BadItem."""
    try:
        return (folder / file).read_bytes()
    except FileNotFoundError:
        raise BadItem(f"no such file: {file}") from None
    except (OSError, ValueError) as error:
        raise BadItem(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
