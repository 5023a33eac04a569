"""A shard on disk: parquet, or an npy with a jsonl of the same rows beside it."""

import dataclasses
import io
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Float16, Int

from mmjax.errors import RunError
from mmjax.inference.manifest import replace

EMBEDDING = "embedding"


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of a stream, without their embeddings.

    Attributes:
      id: name of each row's item.
      item: int64 `[n]`, its number in the source.
      row: int64 `[n]`, the row's number in the stream.
      text_index: int64 `[n]`, which of its item's texts; None where the stream is no text.
      text: the texts; None where the stream is no text.
    """

    id: Sequence[str]
    item: Int[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]
    text_index: Int[np.ndarray, " n"] | None = None
    text: Sequence[str] | None = None

    def columns(self) -> dict[str, Sequence]:
        """The columns that there are."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: column for name, column in found.items() if column is not None}


def name(stream: str, number: int, files: str) -> str:
    """The file that holds a shard's embeddings, relative to the folder of all."""
    return f"{stream}/embeddings-{number:05d}.{files}"


def write(file: pathlib.Path, rows: Rows, features: Float[np.ndarray, "n d"] | Float16[np.ndarray, "n d"]) -> None:
    """Writes one shard as its suffix says; each of its files is there whole or not at all."""
    if file.suffix == ".npy":
        replace(_ids(file), "".join(_lines(rows)).encode())
        content = io.BytesIO()
        np.save(content, features)
    else:
        content = _parquet(rows, features)
    replace(file, content.getvalue())


def read_rows(file: pathlib.Path) -> Rows:
    """The rows of a shard. Raises RunError where a file is gone or damaged."""
    try:
        if file.suffix == ".npy":
            table = pa.Table.from_pylist([json.loads(line) for line in _ids(file).open(encoding="utf-8")])
        else:
            table = pq.read_table(file).drop_columns([EMBEDDING])
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise _broken(file, error) from None
    if not len(table):
        return Rows([], np.zeros(0, np.int64), np.zeros(0, np.int64))  # an empty jsonl names no columns
    columns = {name: table[name] for name in table.column_names}
    return Rows(**{name: c.to_pylist() if name in ("id", "text") else c.to_numpy() for name, c in columns.items()})


def read_features(file: pathlib.Path) -> Float[np.ndarray, "n d"]:
    """The embeddings of a shard as float32. Raises RunError where the file is gone or damaged."""
    try:
        if file.suffix == ".npy":
            return np.load(file).astype(np.float32)
        column = pq.read_table(file, columns=[EMBEDDING])[EMBEDDING].combine_chunks()
    except (OSError, ValueError) as error:
        raise _broken(file, error) from None
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size).astype(np.float32)


def _ids(file: pathlib.Path) -> pathlib.Path:
    """Where the rows of an npy shard stand."""
    return file.with_name(file.name.replace("embeddings-", "ids-", 1)).with_suffix(".jsonl")


def _parquet(rows: Rows, features: np.ndarray) -> io.BytesIO:
    flat = pa.array(features.reshape(-1))
    columns = {name: pa.array(column) for name, column in rows.columns().items()}
    columns[EMBEDDING] = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return content


def _lines(rows: Rows) -> list[str]:
    columns = {name: np.asarray(column).tolist() for name, column in rows.columns().items()}
    lines = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [json.dumps(line, ensure_ascii=False) + "\n" for line in lines]


def _broken(file: pathlib.Path, error: Exception) -> RunError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return RunError(f"{file}: {reason}; the manifest lists it: delete the folder and embed again")
