"""The words of texts that a model wrote, and where in the picture it looks for each."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from mmjax.errors import UserError
from mmjax.items import batch_of
from mmjax.report.words import token_maps
from mmjax.tasks.sequence import shifted
from mmjax.writing import spelled

WORDS = 10  # of a text, at most
CHINESE = "\u3400-\u9fff"  # written without blanks: there each token is a word
WORD = re.compile(rf"([{CHINESE}]+)|[^\W{CHINESE}]+(?:['’-][^\W{CHINESE}]+)*")


class Look(NamedTuple):
    """Words of one text, and a map of weights for each."""

    words: tuple[str, ...]
    maps: Float[np.ndarray, "k g g"]


def looks(model: Any, source: Any, text: str, told: Mapping[int, str], mesh: Mesh | None = None) -> dict[int, Look]:
    """The first words of some texts.

    Args:
      source: of the items that they are about.
      text: the stream that was written.
      told: {item: its text}, which has a word.
      mesh: see `token_maps`.

    Raises:
      UserError: the model reads no pictures, or no patches of them, or does not tell where it looks.
      BadItem: an item cannot be read.
    """
    task, streams = model.task, model.streams
    if not hasattr(task, "row"):
        raise UserError(f"{type(task).__name__} does not tell where it looks for a word")
    if task.blind:
        raise UserError("the model is shown no pictures")
    batch = batch_of(
        {name: [_row(streams[name], source[item]) for item in told] for name in task.reads}
        | {text: [streams[text]((one,), None) for one in told.values()]},
        len(told),
    )
    if batch[task.image].data.ndim != 4:
        raise UserError(f"stream {task.image!r} holds lists of patches, which are no grid to lay a map over")
    maps = token_maps(task, model.params, batch, mesh)
    _, *columns = shifted(task.row(batch))
    ids, learnt = map(np.asarray, columns)
    tokenizer, found = streams[text].loaded(), {}
    for row, item in enumerate(told):
        pieces = list(spelled(tokenizer, ids[row][learnt[row]].tolist()))
        found[item] = look(pieces, maps[row][learnt[row]])
    return found


def _row(stream: Any, example: Any) -> Mapping[str, np.ndarray]:
    row: Mapping[str, np.ndarray] = stream(example.streams[stream.field], None)
    return row


def look(pieces: Sequence[str], maps: Float[np.ndarray, "m g g"]) -> Look:
    """The first words that the pieces spell, each with the mean map of its tokens."""
    words = words_of(pieces)[:WORDS]
    means = [maps[tokens].mean(axis=0) for _, tokens in words]
    return Look(tuple(word for word, _ in words), np.stack(means) if means else maps[:0])


def words_of(pieces: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Each word of a text and the tokens that spell it; punctuation is none. Of Chinese, each token is a word.

    Args:
      pieces: as `writing.spelled` gives them: of a character of several tokens, all but the last are empty.
    """
    shown = [token for token, piece in enumerate(pieces) if piece]
    spelling = [list(range(first, last + 1)) for first, last in zip([0, *(n + 1 for n in shown)], shown, strict=False)]
    ends = np.cumsum([len(pieces[token]) for token in shown])
    starts, text, found = np.concatenate([[0], ends[:-1]]), "".join(pieces), []
    for match in WORD.finditer(text):
        first, last = match.span()
        own = np.flatnonzero((ends > first) & (starts < last)).tolist()
        for part in [[one] for one in own] if match[1] else [own]:
            word = text[max(first, starts[part[0]]) : min(last, ends[part[-1]])]
            found.append((word, [token for one in part for token in spelling[one]]))
    return found
