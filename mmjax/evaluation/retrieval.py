"""Retrieval: given one stream of an item, find the other among the whole set, both ways.

Many-to-many: an item may have many captions; any of them is right, and none of them is a distractor of the others.
Rates are fractions from 0 to 1.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from mmjax.evaluation.predict import Embedded, EvalSet, Metrics, embed_set
from mmjax.evaluation.ranking import wrong_before

TITLES = {"caption": "text"}  # how a stream is called in a metric's name, where not by its own


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """Recall, median rank and mean average precision from stream `a` to stream `b` and back.

    Rows of corrupt items are neither queries nor candidates; a query none of whose answers could be read is not
    scored. `.../queries` tells how many were.

    Attributes:
      a, b: names of the streams.
      at: the k of recall at k.
    """

    a: str = "image"
    b: str = "caption"
    at: tuple[int, ...] = (1, 5, 10)

    def run(self, task: Any, params: Any, data: EvalSet, mesh: Mesh | None = None) -> Metrics:
        embedded = {stream: embed_set(task, params, data, stream, mesh) for stream in (self.a, self.b)}
        metrics: Metrics = {}
        for source, target in ((self.a, self.b), (self.b, self.a)):
            counts = rank(embedded[source], embedded[target], mesh)
            name = f"retrieval/{TITLES.get(source, source)}_to_{TITLES.get(target, target)}"
            metrics |= {f"{name}/{key}": value for key, value in scores(counts, self.at).items()}
        return metrics


def rank(queries: Embedded, candidates: Embedded, mesh: Mesh | None = None) -> Int[np.ndarray, "q p"]:
    """`wrong_before` for every query that can be scored: one that was read, and so was one of its answers."""
    scored = queries.valid & np.isin(queries.owner, candidates.owner[candidates.valid])
    read = candidates.valid
    return wrong_before(
        queries.features[scored], queries.owner[scored], candidates.features[read], candidates.owner[read], mesh=mesh
    )


def scores(counts: Int[np.ndarray, "q p"], at: Sequence[int]) -> Metrics:
    """Metrics from the number of wrong candidates before each positive (ascending, -1 for none).

    The rank of a query is that of its best positive. Average precision is the mean over a query's positives of
    (positives so far) / (candidates so far); ties with wrong candidates count against it.
    """
    best = counts[:, 0] + 1
    real = counts >= 0
    so_far = np.arange(1, counts.shape[1] + 1)
    precision = np.where(real, so_far / np.maximum(so_far + counts, 1), 0.0)
    metrics = {f"R@{k}": float(np.mean(best <= k)) for k in at}
    metrics["median_rank"] = float(np.median(best))
    metrics["mAP"] = float(np.mean(precision.sum(1) / real.sum(1)))
    metrics["queries"] = len(counts)
    return metrics
