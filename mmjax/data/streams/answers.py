"""Answers as scores over a list of answers: what a classifier of questions learns."""

import collections
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mmjax.data.streams.base import Arrays
from mmjax.errors import BadItem, UserError

ENOUGH = 3  # people who must give an answer for it to count fully


@dataclasses.dataclass(frozen=True)
class AnswerStream:
    """The answers that people gave to float32 `[answers]`: 0 to 1, how right each answer of the list is.

    Of several people's answers one counts min(how many gave it / 3, 1), the soft score of VQA (Antol et al. 2015); the
    only answer, or one of two, counts fully. A question none of whose answers is on the list has zeros: all are wrong.

    Attributes:
      field: the raw stream: a tuple of texts.
      answers: the list, in the order of the classes; or a path of a file with one a line.
      root: folder that the file's path starts from, where that is relative.
    """

    answers: tuple[str, ...] | str
    field: str = "answer"
    root: dataclasses.InitVar[Any] = None

    kind: ClassVar[str] = "answers"
    draws: ClassVar[str | None] = None

    def __post_init__(self, root: Any) -> None:
        listed = self.answers
        if isinstance(listed, str):
            listed = _read(pathlib.Path(root or ".") / listed)
            object.__setattr__(self, "answers", listed)
        if not listed:
            raise ValueError("answers: the list is empty; give one answer at least")
        if twice := [answer for answer, count in collections.Counter(listed).items() if count > 1]:
            raise ValueError(f"answers: {twice[0]!r} stands there twice; keep one")

    def __call__(self, value: str | Sequence[str], rng: np.random.Generator | None) -> Arrays:
        texts = (value,) if isinstance(value, str) else value
        if not texts:
            raise BadItem(f"no {self.field}")
        enough = ENOUGH if len(texts) >= ENOUGH else 1
        counts = collections.Counter(texts)
        scores = [min(counts[answer] / enough, 1.0) for answer in self.answers]
        return {"data": np.asarray(scores, np.float32)}

    def blank(self) -> Arrays:
        return {"data": np.zeros(len(self.answers), np.float32)}

    def facts(self) -> dict[str, Any]:
        return {"answers": len(self.answers)}


def _read(file: pathlib.Path) -> tuple[str, ...]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"answers: {file}: {getattr(error, 'strerror', None) or error}") from None
    return tuple(line.strip() for line in lines if line.strip())
