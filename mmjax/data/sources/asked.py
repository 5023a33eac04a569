"""The common part of the sources of questions about pictures."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmjax.batch import Example
from mmjax.data.sources import captions
from mmjax.data.sources.images import Images
from mmjax.data.sources.rows import Rows
from mmjax.data.sources.tables import Row
from mmjax.errors import BadItem, UserError

_VERBS = "is|are|was|were|do|does|did|can|could|has|have|will"
# The first that a question fits; "object" for any other.
_TYPES = (
    ("yes/no", re.compile(rf"(?:{_VERBS})\b")),
    ("number", re.compile(r"how many\b")),
    ("colour", re.compile(r"(?:\S+ ){1,3}colou?rs?\b")),
    ("shape", re.compile(r"(?:what|which) shapes?\b|.*\bshape ?\?$")),
)


class Asked(Rows):
    """A source of questions, each a row of its own. A subclass gives rows and pictures to `_open`.

    A row holds `question`, `answers` (all that were given; none where nobody answered), `question_id`, `image_id`, and
    whatever else its file tells. Streams of an item: `image` (encoded), `question` (one str) and `answer` (all answers;
    not there where there is none). The truth is the row.
    """

    _asked: Sequence[Row]
    _pictures: Images

    def _open(self, name: str, rows: Sequence[Row], pictures: Images, where: Mapping[str, Any] | None) -> None:
        """Settles everything.

        Raises:
          UserError: no row is kept, or two have the same `question_id`.
        """
        self.name, self._asked, self._pictures = name, rows, pictures
        self._keep(where, self._fields())
        seen: set[Any] = set()
        for row in (rows[i] for i in self._kept):
            number = None if isinstance(row, BadItem) else row.get("question_id")
            if number is not None and str(number) in seen:
                raise UserError(f"{name}: question_id {number!r} is there twice; each question needs its own")
            seen.add(str(number))

    def _count(self) -> int:
        return len(self._asked)

    def _id(self, row: int) -> str:
        fields = self._asked[row]
        number = None if isinstance(fields, BadItem) else fields.get("question_id")
        return f"row {row}" if number is None else str(number)

    def _row(self, row: int) -> Mapping[str, Any]:
        fields = self._asked[row]
        if isinstance(fields, BadItem):
            raise BadItem(*fields.args)
        return fields

    def _names(self, row: Mapping[str, Any]) -> Sequence[str]:
        """What the picture of a row may be called. Raises BadItem."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> Example:
        truth, row = self.truth(index), int(self._kept[index])
        streams = {"image": self._pictures.read(*self._names(truth)), "question": (truth["question"],)}
        if truth["answers"]:
            streams["answer"] = captions.good(truth["answers"], "answer")
        return Example(self._id(row), streams, truth)

    def captions(self, index: int) -> tuple[str, ...]:
        """None: a question is no caption."""
        return ()

    def caption_faults(self, index: int) -> tuple[str, ...]:
        return ()

    def truth(self, index: int) -> Mapping[str, Any]:
        """The row, its question and answers as text. Raises BadItem where there is no question."""
        row = self._row(int(self._kept[index]))
        if "question" not in row:
            raise BadItem("no question")
        if reason := captions.fault(row["question"], "question"):
            raise BadItem(reason)
        return {**row, "question": row["question"].strip(), "answers": answers(row.get("answers"))}


def answers(value: Any) -> tuple[str, ...]:
    """All answers of a field that holds one or several, or none; numbers as they are written.

    Raises:
      BadItem: there are answers, but none is text or a number.
    """
    if value is None:
        return ()
    values = [str(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else v for v in captions.as_list(value)]
    captions.good(values, "answer")
    # One that is no good stays as an empty one: official scores count people, also those who said nothing.
    return tuple("" if captions.fault(v, "answer") else v.strip() for v in values)


def question_type(question: Any) -> str:
    """The kind of a question of which no file tells: "yes/no", "number", "colour", "shape" or "object"."""
    text = question.strip().lower() if isinstance(question, str) else ""
    return next((kind for kind, pattern in _TYPES if pattern.match(text)), "object")


def refuse_strangers(name: str, numbers: Iterable[Any], known: Iterable[Any], what: str) -> None:
    """Raises UserError where an annotation is for something that is not there.

    Args:
      numbers: those of the annotations.
      known: those that are there.
      what: what they number, for the message.
    """
    strangers = dict.fromkeys(numbers).keys() - set(known)
    if strangers:
        first = min(strangers, key=str)
        raise UserError(
            f"{name}: {len(strangers):,} annotations are for no {what} of this file, such as {what} {first!r}; "
            "give the two files of one split"
        )
