"""Accuracy of answers as the evaluation of VQA v2 computes it, rule for rule, and exact match as GQA counts.

Source: `vqaEval.py` of github.com/GT-Vision-Lab/VQA, at revision a013f00; Antol et al., "VQA", ICCV 2015; Goyal et
al., "Making the V in VQA matter", CVPR 2017. Other projects' copies differ from it, mostly by normalising always.
"""

import re
from collections.abc import Sequence

from mmjax.errors import UserError
from mmjax.evaluation.scorers.vqa_tables import ARTICLES, CONTRACTIONS, NUMBERS, PUNCTUATION

NORMALISER = "vqa-v2/1"  # to be stored with each score

COMMA_IN_NUMBER = re.compile(r"\d,\d", re.ASCII)
FULL_STOP = re.compile(r"\.(?!\d)", re.ASCII)
MOST_STOPS = 32  # the source passes `re.UNICODE`, which is 32, where `sub` takes a count
ENOUGH = 3  # annotators who must agree for full marks
HUMANS = 10  # annotators per question


def normalise(answer: str) -> str:
    """Lower case, number words as figures, no articles, apostrophes put back, punctuation dropped or made a space."""
    return _without_articles(_without_punctuation(_on_one_line(answer)))


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """Soft accuracy from 0 to 1: the mean over leaving one reference out of min(matches among the others / 3, 1).

    With ten references that is the official number. As in the source, both sides are then normalised only where the
    references are not all the same; where they are, the answer must equal them letter by letter, so that "Yes" is wrong
    where all ten said "yes".

    The source knows no other case. With fewer references all is normalised and 3 becomes their nearest share,
    max(1, round(0.3 n)); with one reference this is exact match.

    Raises:
      UserError: there is no reference.
    """
    if not references or isinstance(references, str):
        raise UserError("VQA accuracy: a question has no list of reference answers; leave such questions out")
    answer, given = _on_one_line(answer), [_on_one_line(reference) for reference in references]
    if len(set(given)) > 1 or len(given) < HUMANS:
        answer, given = normalise(answer), [normalise(reference) for reference in given]
    if len(given) == 1:
        return float(answer == given[0])
    enough = ENOUGH if len(given) >= HUMANS else max(1, round(ENOUGH / HUMANS * len(given)))
    matches = given.count(answer)
    return sum(min((matches - (reference == answer)) / enough, 1.0) for reference in given) / len(given)


def exact_match(answer: str, reference: str) -> float:
    """1.0 if both are the same but for case and space at the ends: the accuracy of GQA, whose answers are short.

    Source: Hudson and Manning, "GQA", CVPR 2019, whose script compares the strings as they are.
    """
    return float(answer.strip().lower() == reference.strip().lower())


def by_type(scores: Sequence[float], types: Sequence[str]) -> dict[str, float]:
    """Mean score of each type of question, types in alphabetical order.

    Raises:
      UserError: there are not as many types as scores.
    """
    if len(scores) != len(types):
        raise UserError(f"scores by question type: {len(scores)} scores, but {len(types)} types")
    groups: dict[str, list[float]] = {kind: [] for kind in sorted(set(types))}
    for score, kind in zip(scores, types, strict=True):
        groups[kind].append(score)
    return {kind: sum(group) / len(group) for kind, group in groups.items()}


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _without_punctuation(text: str) -> str:
    """A sign beside a space anywhere, or any sign where a number has a comma, goes; another becomes a space."""
    comma = COMMA_IN_NUMBER.search(text)
    left = text
    for sign in PUNCTUATION:
        beside_space = f"{sign} " in text or f" {sign}" in text
        left = left.replace(sign, "" if beside_space or comma else " ")
    return FULL_STOP.sub("", left, count=MOST_STOPS)


def _without_articles(text: str) -> str:
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
