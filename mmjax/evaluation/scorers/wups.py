"""WUPS: accuracy of answers that gives part marks to words of near meaning, as DAQUAR is scored.

Source: Malinowski and Fritz, "A multi-world approach to question answering about real-world scenes based on uncertain
input", NeurIPS 2014, and its script `calculate_wups.py`.
"""

import math
from collections.abc import Callable

from mmjax.evaluation.scorers.wordnet import meanings, similarity

FAR = 0.1  # what words that are less similar than the threshold are worth of their similarity


def wups(answer: str, reference: str, threshold: float = 0.9) -> float:
    """WUPS of one answer, from 0 to 1; a set's is the mean of its items'. The usual thresholds are 0.9 and 0.0.

    Both are lists with commas, taken as sets: each part is worth that of its best match on the other side, their
    product counts, and the worse side decides. Equal parts are worth 1, a part that is no noun of WordNet 0 otherwise.

    Raises:
      UserError: WordNet is not installed.
    """

    def worth(a: str, b: str) -> float:
        return part_worth(a, b, threshold)

    return score_of_sets(_parts(answer), _parts(reference), worth)


def score_of_sets(found: list[str], true: list[str], worth: Callable[[str, str], float]) -> float:
    """min over both sides of the product, over a side's parts, of the best worth among the other's; both have parts."""
    left = math.prod(max(worth(a, b) for b in true) for a in found)
    return min(left, math.prod(max(worth(b, a) for a in found) for b in true))


def part_worth(a: str, b: str, threshold: float) -> float:
    """Greatest similarity of any meaning of one to any of the other; a tenth of it below the threshold."""
    if a == b:
        return 1.0
    nearest = max((similarity(x, y) for x in meanings(a) for y in meanings(b)), default=0.0)
    return nearest if nearest >= threshold else FAR * nearest


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]
