"""VQA v2 and GQA as they are published: questions in one JSON file, pictures named by a number."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.data.sources.asked import Asked, refuse_strangers
from mmjax.data.sources.images import Images
from mmjax.data.sources.json_file import read_json, records
from mmjax.data.sources.tables import Row
from mmjax.errors import BadItem, UserError


class Vqa(Asked):
    """VQA v2 (Goyal et al., CVPR 2017): questions, and annotations with ten answers each.

    The truth holds `question`, `answers`, `question_type` ("what color is the"), `answer_type` ("yes/no", "number",
    "other"), `multiple_choice_answer`, `question_id` and `image_id`.

    Args:
      questions: `v2_OpenEnded_mscoco_val2014_questions.json`.
      annotations: `v2_mscoco_val2014_annotations.json`; None where nobody tells, as of the test split.
      images: folder or tar of the pictures.
      pattern: the name of a picture; default: `COCO_val2014_{image_id:012d}.jpg`, with the questions' own subset.
      where: keeps the questions with these values, e.g. `{"answer_type": "number"}`.
    """

    def __init__(
        self,
        questions: str,
        images: str,
        annotations: str | None = None,
        pattern: str | None = None,
        where: Mapping[str, Any] | None = None,
    ):
        content = read_json(questions)
        asked = records(questions, content, "questions", "question_id", "image_id")
        rows: list[Row] = [*asked]
        self._pattern = pattern or f"COCO_{content.get('data_subtype', 'val2014')}_{{image_id:012d}}.jpg"
        check_pattern(self._pattern, asked[0], questions)
        if annotations is not None:
            told = records(annotations, read_json(annotations), "annotations", "question_id", "answers")
            known = [row["question_id"] for row in asked]
            refuse_strangers(annotations, (note["question_id"] for note in told), known, "question_id")
            notes = {note["question_id"]: note for note in told}
            rows = [_answered(row, notes.get(row["question_id"])) for row in asked]
        self._open(questions, rows, Images(images, f"{questions}: images"), where)

    def _names(self, row: Mapping[str, Any]) -> Sequence[str]:
        return (named(self._pattern, row),)


class Gqa(Asked):
    """GQA (Hudson and Manning, CVPR 2019).

    The truth holds `question`, `answers` (one), `question_type` (the structural one: "verify", "query", ...),
    `question_id`, `image_id`, and the file's other fields: `types`, `fullAnswer`, `isBalanced`, ...

    Args:
      questions: `val_balanced_questions.json`.
      images: folder or tar of the pictures.
      pattern: the name of a picture.
      where: keeps the questions with these values, e.g. `{"types.semantic": "relation"}`.
    """

    def __init__(
        self,
        questions: str,
        images: str,
        pattern: str = "{image_id}.jpg",
        where: Mapping[str, Any] | None = None,
    ):
        content = read_json(questions)
        if not isinstance(content, dict) or not content or not all(map(_is_gqa, content.values())):
            raise UserError(
                f"{questions}: GQA's questions are an object {{id: {{imageId, question, ...}}}}; this is not"
            )
        rows = [_gqa(number, fields) for number, fields in content.items()]
        self._pattern = pattern
        check_pattern(pattern, rows[0], questions)
        self._open(questions, rows, Images(images, f"{questions}: images"), where)

    def _names(self, row: Mapping[str, Any]) -> Sequence[str]:
        return (named(self._pattern, row),)


def _answered(row: Mapping[str, Any], note: Mapping[str, Any] | None) -> dict[str, Any] | BadItem:
    """A question with its annotation."""
    if note is None:
        return BadItem(f"no answer: no annotation for question {row['question_id']}")
    given = note["answers"] if isinstance(note["answers"], list) else [note["answers"]]
    answers = [one.get("answer") if isinstance(one, Mapping) else one for one in given]
    kept = {key: note[key] for key in ("question_type", "answer_type", "multiple_choice_answer") if key in note}
    return {**row, **kept, "answers": answers}


def _is_gqa(fields: Any) -> bool:
    return isinstance(fields, dict) and fields.get("imageId") is not None


def _gqa(number: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    row = {**fields, "question_id": number, "image_id": fields["imageId"], "answers": fields.get("answer")}
    types = fields.get("types")
    return row | (
        {"question_type": types["structural"]} if isinstance(types, Mapping) and "structural" in types else {}
    )


def named(pattern: str, row: Mapping[str, Any]) -> str:
    """The name of a row's picture. Raises BadItem."""
    try:
        return pattern.format(**row)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise BadItem(f"no image: {pattern} does not fit this row: {error!r}") from None


def check_pattern(pattern: str, row: Mapping[str, Any], where: str) -> None:
    """Raises UserError where a pattern does not fit the first row."""
    try:
        named(pattern, row)
    except BadItem:
        fields = ", ".join(name for name in row if name.isidentifier())
        raise UserError(
            f"{where}: pattern {pattern!r} names no picture; write it as COCO_val2014_{{image_id:012d}}.jpg, with "
            f"fields of {fields}"
        ) from None
