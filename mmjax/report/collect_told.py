"""Picks the texts of a report: right ones and wrong ones about items all over the set, and where the model looked."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from mmjax.batch import Example
from mmjax.data.evaluation import EvalData
from mmjax.data.texts import texts_of
from mmjax.data.world.parse import complete_of, true_of
from mmjax.decoding import Decoding
from mmjax.errors import BadItem, UserError
from mmjax.evaluation.answer import RULES, Answers
from mmjax.evaluation.caption import Captions
from mmjax.evaluation.predict import EvalSet, truths
from mmjax.evaluation.written import write_set
from mmjax.report.collect import half_and_half, picture, spaced, stream_of, thumbnail
from mmjax.report.looks import WORD, Look, looks
from mmjax.report.told import Text, Told
from mmjax.writing import Written

TRIED = 256  # items that are written about where right ones and wrong ones are looked for
SHOWN, LOOKED = 12, 6
ENOUGH = 0.5  # of the soft score of an answer that is called right

Truth = Mapping[str, Any]
Verdict = tuple[bool | None, str]


@dataclasses.dataclass
class Chosen:
    """Some items of a source, as a source."""

    name: str
    source: Any
    items: Sequence[int]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Example:
        return self.source[self.items[index]]

    def captions(self, index: int) -> tuple[str, ...]:
        return self.source.captions(self.items[index])

    def truth(self, index: int) -> Truth:
        return self.source.truth(self.items[index])


def collect_told(
    model: Any, data: EvalSet, evaluators: Iterable[Any], notes: Mapping[str, str], mesh: Mesh | None = None
) -> Told:
    """Writes about items spaced over the set and picks some; the same model and data give the same picks.

    Args:
      model: has `task`, `params` and `streams`.
      evaluators: of the run: texts are written, and answers judged, as they do it.
      notes: what the scores were measured with.

    Raises:
      UserError: the model writes no texts, or no item could be read.
    """
    text = stream_written(model)
    own = [one for one in evaluators if isinstance(one, (Captions, Answers)) and one.text == text]
    rule = next((one.rule for one in own if isinstance(one, Answers)), "exact")
    judge = functools.partial(judged, asked=len(model.task.reads) > 1, rule=rule)
    known = truths(data, spaced(data.items, TRIED).tolist())
    if not any(judge("", truth)[1] for truth in known.values()):
        known = {item: known[item] for item in np.array([*known])[spaced(len(known), SHOWN)].tolist()}
    # A text of a stream begins with a token that is not written.
    decoding = own[0].decoding(data) if own else Decoding(model.streams[text].longest)
    written = write_some(model, data, list(known), text, decoding, mesh)
    verdicts = {item: judge(one.text, known[item]) for item, one in written.items()}
    picked = pick({item: right for item, (right, _) in verdicts.items()})
    seen, no_maps = _looks(model, data, text, {item: written[item].text for item in picked}, mesh)
    return Told(
        size=data.items,
        pictures={item: thumbnail(picture(data, model.streams[model.task.image], item)) for item in picked},
        texts=[_text(model, data, text, item, written[item], verdicts[item], seen) for item in picked],
        maps={item: look.maps for item, look in seen.items()},
        no_maps=no_maps,
        notes=dict(notes),
    )


def stream_written(model: Any) -> str:
    """The stream of the texts that the model writes.

    Raises:
      UserError: there is none.
    """
    if hasattr(model.task, "text"):
        return str(model.task.text)
    return stream_of({name: one for name, one in model.streams.items() if name not in model.task.reads}, "text")


def write_some(
    model: Any, data: EvalSet, items: Sequence[int], text: str, decoding: Decoding, mesh: Mesh | None
) -> dict[int, Written]:
    """`{item: its text}` of those items that could be read, on every host."""
    some = EvalData(Chosen(data.source.name, data.source, items), model.streams, data.batch_size)
    written = write_set(model.task, model.params, some, text, decoding, mesh)
    return {items[place]: one for place, one in written.items()}


def judged(text: str, truth: Truth, asked: bool, rule: str) -> Verdict:
    """Whether a text is right, and that in words: an answer by a rule of `RULES`, a caption by the scene of its world.

    (None, "") where neither is known: of photographs there are references alone.
    """
    if asked and truth.get("answers"):
        score = RULES[rule](text, truth["answers"])
        half = f", {score:.2f}" if 0 < score < 1 else ""
        return score >= ENOUGH, ("right" if score >= ENOUGH else "wrong") + half
    if asked or "scene" not in truth:
        return None, ""
    true = true_of(text, truth["scene"])
    if not true:
        return False, "no sentence of the world" if true is None else "false"
    return True, "true and complete" if complete_of(text, truth["scene"]) else "true"


def pick(rights: Mapping[int, bool | None]) -> list[int]:
    """Items of right and of wrong texts, half and half where there are enough; where no text is either, any."""
    found, missed = (np.array([i for i, right in rights.items() if right is side], int) for side in (True, False))
    if len(found) + len(missed):
        return half_and_half(found, missed, SHOWN)
    return [list(rights)[at] for at in spaced(len(rights), SHOWN)]


def shaded(written: Written) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The pieces of a text and the probability of each; a character's is the product of its tokens'. No end token."""
    pieces, chances, held = [], [], 0.0
    for piece, logprob in zip(written.tokens, written.logprobs, strict=True):
        held += logprob
        if piece:
            pieces.append(piece)
            chances.append(math.exp(held))
            held = 0.0
    return tuple(pieces), tuple(chances)


def _looks(
    model: Any, data: EvalSet, text: str, told: Mapping[int, str], mesh: Mesh | None
) -> tuple[dict[int, Look], str]:
    """Of some of the texts that have a word; and why there are none."""
    worded = [item for item, one in told.items() if WORD.search(one)]
    chosen = {worded[at]: told[worded[at]] for at in spaced(len(worded), LOOKED)}
    if not chosen:
        return {}, "no text has a word"
    try:
        return looks(model, data.source, text, chosen, mesh), ""
    except (BadItem, UserError) as error:
        return {}, str(error)


def _text(
    model: Any, data: EvalSet, text: str, item: int, written: Written, verdict: Verdict, seen: Mapping[int, Look]
) -> Text:
    def texts(stream: str) -> tuple[str, ...]:
        return tuple(texts_of(data.source, item, model.streams[stream].field))

    asked = model.task.reads[1:]
    pieces, chances = shaded(written)
    words = seen[item].words if item in seen else ()
    return Text(item, texts(asked[0])[0] if asked else "", pieces, chances, texts(text), *verdict, words)
