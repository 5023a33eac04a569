"""The common part of the sources whose items are rows of named fields, one of them the picture, one the captions."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.batch import Example
from mmjax.config import nearest
from mmjax.data.sources import captions
from mmjax.errors import BadItem, UserError

CAPTION_FIELDS = ("caption", "captions", "text", "txt", "sentence", "sentences")
IMAGE_FIELDS = ("image", "file", "file_name", "filename", "image_path", "filepath", "path", "img", "jpg", "png")
LOOKED_AT = 100  # rows that are read to learn which fields there are


class Rows:
    """A source of rows. A bad row stays a row, so no index ever shifts.

    A subclass sets `name`, defines the four methods below and then calls `_choose`.

    Attributes:
      name: for messages.
      field: which field holds the captions; `a.b` is field b of field a.
    """

    name: str
    field: str
    _kept: np.ndarray

    def _count(self) -> int:
        """How many rows there are, before `where`."""
        raise NotImplementedError

    def _id(self, row: int) -> str:
        """A stable name of the row; never fails."""
        raise NotImplementedError

    def _row(self, row: int) -> Mapping[str, Any]:
        """The row's plain fields, without pixels. Raises BadItem."""
        raise NotImplementedError

    def _image(self, row: int) -> bytes:
        """The encoded picture. Raises BadItem."""
        raise NotImplementedError

    def _column(self, field: str) -> Iterable[Any]:
        """One field of every row: its value, or the BadItem that reading the row raised."""
        for row in range(self._count()):
            try:
                yield pick(self._row(row), field)
            except BadItem as error:
                yield error

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Example:
        truth = self.truth(index)
        row = int(self._kept[index])
        return Example(self._id(row), {"image": self._image(row), "caption": truth["captions"]}, truth)

    def id(self, index: int) -> str:
        """A stable name of the item, also of one that cannot be read."""
        return self._id(int(self._kept[index]))

    def captions(self, index: int) -> tuple[str, ...]:
        return captions.good(self._captions_of(self._row(int(self._kept[index]))))

    def caption_faults(self, index: int) -> tuple[str, ...]:
        """Why captions of this item were left out, one reason each."""
        return captions.faults(self._captions_of(self._row(int(self._kept[index]))))

    def truth(self, index: int) -> Mapping[str, Any]:
        row = self._row(int(self._kept[index]))
        return {**row, "captions": captions.good(self._captions_of(row))}

    def _captions_of(self, row: Mapping[str, Any]) -> Any:
        """What the caption field of a row holds, good or bad. Raises BadItem where there is no such field."""
        if self.field not in row and self.field.partition(".")[0] not in row:
            raise BadItem(f"no caption: no field {self.field!r}")
        return pick(row, self.field)

    def _choose(self, caption: str | None, where: Mapping[str, Any] | None) -> None:
        """Settles the caption field and the rows that `where` keeps."""
        fields = self._fields()
        self.field = choose(caption, CAPTION_FIELDS, fields, self.name, "caption")
        self._keep(where, fields)

    def _keep(self, where: Mapping[str, Any] | None, fields: Sequence[str]) -> None:
        """Settles the rows that `where` keeps."""
        keep = np.ones(self._count(), bool)
        for field, wanted in (where or {}).items():
            if field.partition(".")[0] not in fields:
                raise UserError(f"{self.name}: where: no field {field!r}{nearest(field, fields)}; {listed(fields)}")
            keep &= matches(self._column(field), {str(value) for value in captions.as_list(wanted)})
        self._kept = np.flatnonzero(keep)
        if not len(self._kept):
            raise UserError(f"{self.name}: no row has {where}; look at the fields with `mmjax data describe`")

    def _fields(self) -> list[str]:
        """Names of the fields of the first rows."""
        names: dict[str, None] = {}
        error: BadItem | None = None
        for row in range(min(self._count(), LOOKED_AT)):
            try:
                names |= dict.fromkeys(self._row(row))
            except BadItem as bad:
                error = error or bad
        if not names:
            raise UserError(f"{self.name}: {f'no row can be read: {error}' if error else 'no row has any text'}")
        return list(names)


def choose(given: str | None, usual: Sequence[str], fields: Sequence[str], name: str, what: str) -> str:
    """The field that the user names, or the first usual one that is there."""
    if given is not None:
        if given.partition(".")[0] not in fields and given not in fields:
            raise UserError(f"{name}: no field {given!r} for {what}{nearest(given, fields)}; {listed(fields)}")
        return given
    for field in usual:
        if field in fields:
            return field
    raise UserError(
        f"{name}: which field is the {what}? Say {what}=FIELD (`mmjax data`: --{what} FIELD; `embed` and `evaluate`: "
        f"--data-option {what}=FIELD); {listed(fields)}"
    )


def listed(fields: Iterable[str]) -> str:
    """The fields that there are, for a message."""
    return f"fields: {', '.join(fields)}"


def pick(row: Mapping[str, Any], field: str) -> Any:
    """A field of a row, None if absent. `a.b` goes into field a, and through every element of a list."""
    if field in row:
        return row[field]
    value: Any = row
    for name in field.split("."):
        if isinstance(value, (list, tuple)):
            value = [v.get(name) if isinstance(v, Mapping) else None for v in value]
        else:
            value = value.get(name) if isinstance(value, Mapping) else None
    return value


def matches(column: Iterable[Any], wanted: Collection[str]) -> np.ndarray:
    """Which values are one of `wanted` as text, `[n]` bool; rows that cannot be read stay in, to be counted as bad."""

    def one() -> Iterator[bool]:
        for value in column:
            yield isinstance(value, BadItem) or str(value) in wanted

    return np.fromiter(one(), bool)


def one_line(error: Exception) -> str:
    """What an error of a library says, in its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
