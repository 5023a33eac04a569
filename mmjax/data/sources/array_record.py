"""Sharded ArrayRecord as `mmjax data convert` writes it: one msgpack map an item, read at random from any shard.

A record is `{"id": str, "streams": {"image": bytes, "caption": [str, ...], ...}, "truth": {field: value, ...}}`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack

from mmjax.batch import Example
from mmjax.data.sources.captions import good
from mmjax.data.sources.files import expand
from mmjax.data.sources.rows import Rows, one_line
from mmjax.errors import BadItem, UserError

FORMAT = 1
DESCRIPTION = "dataset.json"
# Records stand alone, so that reading one does not unpack its neighbours, and images are compressed already.
OPTIONS = "group_size:1,uncompressed"
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.array_record$")


class ArrayRecord(Rows):
    """Items in ArrayRecord files.

    Args:
      path: the folder that `mmjax data convert` made, or its files, with stars if there are several.
      caption: field that holds the caption or captions; default: those it was converted with.
      where: keeps the items with these values. It reads every record once: choose at `convert` where the set is large.

    Attributes:
      class_names: those of the source it was converted from; empty where that had none.
    """

    def __init__(self, path: str, caption: str | None = None, where: Mapping[str, Any] | None = None):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self.name = Path(path).name
        place = Path(path).expanduser()
        files = expand(str(place / "*.array_record") if place.is_dir() else path)
        _refuse_gaps(files)
        self.class_names = _class_names(files[0].parent / DESCRIPTION)
        try:
            self._records = ArrayRecordDataSource([str(file) for file in files])
            self._length = len(self._records)
        except RuntimeError as error:
            raise UserError(f"{path}: not a whole ArrayRecord file: {one_line(error)}") from None
        self._choose(caption or "caption", where)

    def _count(self) -> int:
        return self._length

    def _record(self, row: int) -> dict[str, Any]:
        try:
            record = msgpack.unpackb(self._records[row], strict_map_key=False, unicode_errors="surrogateescape")
        except (RuntimeError, ValueError) as error:
            raise BadItem(f"the record is damaged: {one_line(error).partition(' (')[0]}") from None
        if not isinstance(record, dict) or not {"id", "streams", "truth"} <= record.keys():
            raise BadItem("the record is not one that `mmjax data convert` wrote")
        return record

    def _id(self, row: int) -> str:
        try:
            return self._record(row)["id"]
        except BadItem:
            return f"record {row}"

    def _row(self, row: int) -> Mapping[str, Any]:
        return _fields(self._record(row))

    def truth(self, index: int) -> Mapping[str, Any]:
        return self._truth_of(self._record(int(self._kept[index])))

    def _truth_of(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {**record["truth"], "captions": good(self._captions_of(_fields(record)))}

    def __getitem__(self, index: int) -> Example:
        record = self._record(int(self._kept[index]))
        truth = self._truth_of(record)
        streams = {"image": record["streams"]["image"], "caption": truth["captions"]}
        if self.field == "caption":  # other text streams, such as foils, belong with the captions converted
            streams = {name: tuple(v) if isinstance(v, list) else v for name, v in record["streams"].items()}
        return Example(record["id"], streams, truth)


def _fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """The truth, and the text streams where the truth has no field of that name."""
    text = {name: value for name, value in record["streams"].items() if not isinstance(value, bytes)}
    return {**text, **record["truth"]}


def pack(example: Example) -> bytes:
    """An example as a record. Its image must be encoded.

    Raises:
      UserError: a stream or a truth field is of a kind that msgpack cannot hold.
    """
    truth = {name: value for name, value in example.truth.items() if name != "captions"}
    record = {"id": example.id, "streams": dict(example.streams), "truth": truth}
    try:
        return msgpack.packb(record, default=_plain, unicode_errors="surrogateescape")
    except TypeError as error:
        raise UserError(f"{example.id}: a record holds plain values only: {error}") from None


def _plain(value: Any) -> Any:
    """NumPy values as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} {value!r:.80}")


def _refuse_gaps(files: Sequence[Path]) -> None:
    """Of `x-00000-of-00010.array_record` all ten must be there."""
    shards: dict[tuple[str, str], set[str]] = {}
    for file in files:
        if found := _SHARD.match(str(file)):
            shards.setdefault((found[1], found[3]), set()).add(found[2])
    for (stem, count), present in shards.items():
        missing = sorted({f"{n:05d}" for n in range(int(count))} - present)
        if missing:
            lost = f"no such file ({len(missing)} of {int(count)} shards missing)"
            raise UserError(f"{stem}-{missing[0]}-of-{count}.array_record: {lost}")


def _class_names(description: Path) -> tuple[str, ...]:
    """What `dataset.json` says, if there is one. A format newer than this code knows is refused."""
    if not description.is_file():
        return ()
    try:
        content = json.loads(description.read_text("utf-8"))
        number, names = content["format"], tuple(content["class_names"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{description}: damaged ({error!r}); convert the data again") from None
    if number > FORMAT:
        raise UserError(f"{description}: format {number}; this mmjax reads up to {FORMAT}: upgrade it")
    return names
