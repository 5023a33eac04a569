"""Answers that a task writes to questions about pictures, by the rules of VQA v2 or word for word."""

import collections
import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jax.sharding import Mesh

from mmjax.data.sources import open_source
from mmjax.decoding import Decoding
from mmjax.errors import BadItem, UserError
from mmjax.evaluation.predict import EvalSet, Metrics, truths
from mmjax.evaluation.scorers.vqa import NORMALISER, by_type, exact_match, vqa_accuracy
from mmjax.evaluation.scorers.wups import wups
from mmjax.evaluation.written import check_writes, settings, write_set


def _exact(answer: str, references: Sequence[str]) -> float:
    return max(exact_match(answer, reference) for reference in references)


WHERE = "evaluate.on.answer.baseline"
MOST = 100_000  # items that a baseline is made of, for a source may have no end
RULES = {"vqa": vqa_accuracy, "exact": _exact}


@dataclasses.dataclass(frozen=True)
class Answers:
    """Accuracy over all questions, `answer/accuracy`, and by their type, `answer/type/NAME`, as fractions.

    The truth of an item holds `answers`, all that people gave, and maybe `question_type`.

    Attributes:
      text: the stream that is written.
      length, beams: see `Decoding`; a length of None is that of the answers learnt.
      rule: "vqa": the official soft accuracy of VQA v2 after its normalisation; "exact": word for word, as of GQA and
        DAQUAR.
      wups: also `answer/WUPS@0.9` and `WUPS@0.0` (`pip install 'mmjax[wups]'`), as DAQUAR is scored.
      baseline: the training questions, as a source; `answer/baseline` is then what their commonest answer to each type
        of question would get.
    """

    text: str = "answer"
    length: int | None = None
    beams: int = 1
    rule: Literal["vqa", "exact"] = "exact"
    wups: bool = False
    baseline: Any = None

    def __post_init__(self) -> None:
        if self.wups and importlib.util.find_spec("wn") is None:
            raise UserError("evaluate.on.answer.wups needs pip install 'mmjax[wups]'")
        if self.baseline is not None:
            open_source(self.baseline, WHERE)  # refused here as well
        self._decoding(1)  # refused here, before anything trains

    def decoding(self, data: EvalSet) -> Decoding:
        """How answers are written; of a choice among a list nothing is."""
        return self._decoding(getattr(data.streams[self.text], "longest", 1))

    def _decoding(self, longest: int) -> Decoding:
        return Decoding(longest if self.length is None else self.length, beams=self.beams)

    def run(self, task: Any, params: Any, data: EvalSet, mesh: Mesh | None = None) -> Metrics:
        check_writes(task, data, self.text)
        written = write_set(task, params, data, self.text, self.decoding(data), mesh)
        known = {item: truth for item, truth in truths(data, written).items() if truth.get("answers")}
        if not known:
            raise UserError("answer: no item of this data has answers; leave it out of the evaluation")
        scores = {item: RULES[self.rule](written[item].text, truth["answers"]) for item, truth in known.items()}
        metrics: Metrics = {"answer/accuracy": float(np.mean(list(scores.values()))), "answer/count": len(scores)}
        metrics |= typed({item: (type_of(known[item]), score) for item, score in scores.items()})
        if self.wups:
            metrics |= wups_of({item: written[item].text for item in known}, known)
        if self.baseline is not None:
            guesses = commonest(open_source(self.baseline, WHERE))
            guessed = [RULES[self.rule](guesses.get(type_of(t), guesses[""]), t["answers"]) for t in known.values()]
            metrics["answer/baseline"] = float(np.mean(guessed))
        return metrics

    def notes(self, data: EvalSet) -> dict[str, str]:
        """What the scores were measured with."""
        written = hasattr(data.streams[self.text], "longest")  # or else chosen from a list
        how = {"answers written with": settings(self.decoding(data))} if written else {}
        by = f"{self.rule}, normaliser {NORMALISER}" if self.rule == "vqa" else self.rule
        return {**how, "answers compared by": by}


def wups_of(texts: Mapping[int, str], known: Mapping[int, Mapping[str, Any]]) -> Metrics:
    """Means over the items of the best WUPS against any of their answers."""
    found: Metrics = {}
    for threshold in (0.9, 0.0):
        each = [max(wups(text, one, threshold) for one in known[item]["answers"]) for item, text in texts.items()]
        found[f"answer/WUPS@{threshold}"] = float(np.mean(each))
    return found


def type_of(truth: Mapping[str, Any]) -> str:
    """What kind of question it is; "" where that is not known."""
    return str(truth.get("question_type") or "")


def typed(scores: Mapping[int, tuple[str, float]]) -> Metrics:
    """Mean score and number of questions of each type that is known."""
    told = [(kind.replace("/", "-"), score) for kind, score in scores.values() if kind]
    counts = collections.Counter(kind for kind, _ in told)
    metrics: Metrics = {}
    for kind, score in by_type([score for _, score in told], [kind for kind, _ in told]).items():
        metrics |= {f"answer/type/{kind}": score, f"answer/type/{kind}/count": counts[kind]}
    return metrics


def commonest(source: Any) -> dict[str, str]:
    """{type of question: the answer given most often}, and under "" of all questions."""
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for index in range(min(len(source), MOST)):
        try:
            truth = source.truth(index)
        except BadItem:
            continue
        for kind in {type_of(truth), ""}:
            counts[kind].update(truth.get("answers") or ())
    if not counts[""]:
        raise UserError(f"{source.name}: no question has answers, of which a baseline could be made")
    return {kind: counter.most_common(1)[0][0] for kind, counter in counts.items()}
