"""A table of questions and answers: `qa.jsonl`, csv or tsv."""

import json
from collections.abc import Mapping
from typing import Any

from mmjax.data.sources.asked import Asked, question_type
from mmjax.data.sources.captions import text
from mmjax.data.sources.images import Images, beside
from mmjax.data.sources.rows import CAPTION_FIELDS, IMAGE_FIELDS, LOOKED_AT, choose, pick
from mmjax.data.sources.tables import Row, read_table
from mmjax.errors import BadItem
from mmjax.storage import place

QUESTION_FIELDS = ("question",)
ANSWER_FIELDS = ("answer", "answers")
LOOKED_INTO = 1 << 16  # bytes of a table that tell whether it holds questions


class Qa(Asked):
    """Questions in a table, a row each: `question`, `image` (a file), `answer`, and maybe `question_id` and others.

    Of a row with `answer` and `answers` the former is what counts: DAQUAR's lists are parts of one answer. A question
    whose type no field `question_type` tells gets one by its words.

    Args:
      path: the table.
      images: folder or tar of the pictures; default: the table's folder, `images` in it, or the tars in it.
      question, answer, image: fields of these; default: the usual names.
      where: keeps the rows with these values, e.g. `{"split": "train"}`.
    """

    def __init__(
        self,
        path: str,
        images: str | None = None,
        question: str | None = None,
        answer: str | None = None,
        image: str | None = None,
        where: Mapping[str, Any] | None = None,
    ):
        file = place(path)
        rows = read_table(file)
        self.name, self._asked = path, rows
        fields = self._fields()
        asked = choose(question, QUESTION_FIELDS, fields, path, "question")
        known = answer is not None or any(field in fields for field in ANSWER_FIELDS)
        answered = choose(answer, ANSWER_FIELDS, fields, path, "answer") if known else None
        self._file = choose(image, IMAGE_FIELDS, fields, path, "image")
        rows = [row if isinstance(row, BadItem) else self._normal(row, asked, answered) for row in rows]
        first = [str(row["image_id"]) for row in rows[:LOOKED_AT] if isinstance(row, dict)]
        pictures = Images(images if images is not None else beside(file, first), f"{path}: images")
        self._open(path, rows, pictures, where)

    def _normal(self, row: dict[str, Any], asked: str, answered: str | None) -> Row:
        """A row with the names that every source of questions gives."""
        question = pick(row, asked)
        names = {"question": question, "answers": pick(row, answered) if answered else None}
        kind = row.get("question_type") or question_type(question)
        return {**row, **names, "question_type": kind, "image_id": pick(row, self._file)}

    def _names(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        file = row["image_id"]
        if not isinstance(file, str) or not file:
            raise BadItem(f"no image: field {self._file!r} is {file!r}")
        return (file,)


def holds_questions(path: str) -> bool:
    """Whether a .jsonl has questions and answers and no captions, by its first rows."""
    file = place(path)
    if not path.endswith(".jsonl") or not file.is_file():
        return False
    with file.open("rb") as stream:
        lines = stream.read(LOOKED_INTO).split(b"\n")[:LOOKED_AT]
    fields: set[str] = set()
    for line in lines:
        try:
            row = json.loads(text(line))
        except (ValueError, RecursionError):
            continue  # a bad line, the last one cut off, or an empty one
        fields |= row.keys() if isinstance(row, dict) else set()
    asks = not fields.isdisjoint(QUESTION_FIELDS) and not fields.isdisjoint(ANSWER_FIELDS)
    return asks and fields.isdisjoint(CAPTION_FIELDS)
