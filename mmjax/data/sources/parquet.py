"""Parquet files with a column of image bytes and one of captions.

Parquet is made for reading columns, not rows: an image costs the reading of its row group, of which a few are kept.
For training at length, `mmjax data convert` them first.
"""

import functools
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.sources.files import expand
from mmjax.data.sources.rows import IMAGE_FIELDS, Rows, choose, one_line
from mmjax.data.sources.table import read_image
from mmjax.errors import BadItem, UserError
from mmjax.storage import Place, filesystem, is_remote, place

ROW_GROUPS_KEPT = 4


class Parquet(Rows):
    """Pairs in parquet files.

    Args:
      path: a file, several by stars or `{0..9}`, or a folder of them.
      caption: column of the caption or captions; default: the usual names.
      image: column of the encoded images, bytes or `{"bytes", "path"}` as Hugging Face datasets write it; default:
        the usual names. A path is relative to the file's folder.
      where: keeps the rows with these values.
    """

    def __init__(
        self, path: str, caption: str | None = None, image: str | None = None, where: Mapping[str, Any] | None = None
    ):
        self.name = Path(path).name
        found = place(path)
        self._files = expand(str(found / "*.parquet") if found.is_dir() else path)
        sizes: list[int] = []
        self._groups: list[tuple[Place, int]] = []  # (file, row group)
        for file in self._files:
            metadata = _open(file).metadata
            sizes += [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
            self._groups += [(file, g) for g in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._columns = _open(self._files[0]).schema_arrow.names
        self._image_column = choose(image, IMAGE_FIELDS, self._columns, self.name, "image")
        self._fresh()
        self._choose(caption, where)

    def _fresh(self) -> None:
        self._lock = threading.Lock()
        self._pictures = functools.lru_cache(ROW_GROUPS_KEPT)(self._read_pictures)
        self._texts = functools.lru_cache(None)(self._read_texts)  # without pixels all of it fits

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_lock", "_pictures", "_texts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._fresh()

    def _count(self) -> int:
        return int(self._starts[-1])

    def _at(self, row: int) -> tuple[int, int]:
        """(row group, row in it)."""
        group = int(np.searchsorted(self._starts, row, "right")) - 1
        return group, row - int(self._starts[group])

    def _id(self, row: int) -> str:
        group, _ = self._at(row)
        return f"{self._groups[group][0].name}:{row}"

    def _read_pictures(self, group: int) -> Any:
        return self._read(group, [self._image_column])[self._image_column]

    def _read_texts(self, group: int) -> Any:
        return self._read(group, [c for c in self._columns if c != self._image_column])

    def _read(self, group: int, columns: list[str]) -> Any:
        import pyarrow

        file, number = self._groups[group]
        try:
            return _open(file).read_row_group(number, columns=columns, use_threads=False)
        except (OSError, pyarrow.ArrowException) as error:
            raise BadItem(f"row group {number} of {file.name} is damaged: {one_line(error)}") from None

    def _row(self, row: int) -> Mapping[str, Any]:
        group, offset = self._at(row)
        with self._lock:
            texts = self._texts(group)
        return {name: _value(texts[name][offset]) for name in texts.column_names}

    def _column(self, field: str) -> Iterable[Any]:
        if field not in self._columns:
            yield from super()._column(field)
            return
        for group in range(len(self._groups)):
            try:
                yield from (_value(scalar) for scalar in self._read(group, [field])[field])
            except BadItem as error:
                yield from [error] * int(self._starts[group + 1] - self._starts[group])

    def _image(self, row: int) -> bytes:
        group, offset = self._at(row)
        with self._lock:
            value = self._pictures(group)[offset].as_py()
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str):
            return read_image(self._groups[group][0].parent, value)
        if not isinstance(value, bytes):
            raise BadItem(f"{self._image_column} holds no image: {type(value).__name__}")
        return value


def _open(file: Place) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(filesystem(file).open(str(file)) if is_remote(file) else file)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{file}: not a whole parquet file: {one_line(error)}") from None


def _value(scalar: Any) -> Any:
    """An Arrow value as Python's; text that is not UTF-8 keeps its bytes as surrogates."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        if hasattr(scalar, "as_buffer"):
            return scalar.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
        return [_value(v) for v in scalar.values] if hasattr(scalar, "values") else None
