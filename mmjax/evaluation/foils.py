"""Foils: does a picture score its true caption above the same caption made wrong in one respect?

The measure of Winoground and ARO: a model that reads captions as bags of words stays at chance, 1/2.
Sources: Thrush et al., "Winoground", CVPR 2022; Yuksekgonul et al., "When and why vision-language models behave like
bags-of-words", ICLR 2023.
"""

import dataclasses
from typing import Any

import numpy as np
from jax.sharding import Mesh

from mmjax.errors import UserError
from mmjax.evaluation.predict import EvalSet, Metrics, embed_set, embed_texts, truths
from mmjax.evaluation.ranking import TIE


@dataclasses.dataclass(frozen=True)
class Foils:
    """Accuracy per kind of foil, `foils/KIND`, as a fraction, and `foils/KIND/count`, the captions that have one.

    The truth of an item holds `captions`, whose first is the true one, and `foils`, {kind: text or None}. A foil that
    scores as high as the caption is a mistake.

    Attributes:
      image, text: the streams that see the pictures and the captions.
    """

    image: str = "image"
    text: str = "caption"

    def run(self, task: Any, params: Any, data: EvalSet, mesh: Mesh | None = None) -> Metrics:
        images = embed_set(task, params, data, self.image, mesh)
        rows, kinds, true, foils = [], [], [], []
        row_of = {int(images.owner[row]): row for row in np.flatnonzero(images.valid)}
        for item, truth in truths(data, row_of).items():
            for kind, text in (truth.get("foils") or {}).items():
                if text is not None:
                    rows.append(row_of[item])
                    kinds.append(kind)
                    true.append(truth["captions"][0])
                    foils.append(text)
        if not rows:
            raise UserError("foils: no item of this data has foils; leave them out of the evaluation")
        texts = embed_texts(task, params, data, self.text, true + foils, mesh)
        margin = np.sum(images.features[rows] * (texts[: len(true)] - texts[len(true) :]), axis=1)
        return accuracy(margin > TIE, np.asarray(kinds))


def accuracy(right: np.ndarray, kinds: np.ndarray) -> Metrics:
    """Share of the right ones and their number, kind by kind."""
    metrics: Metrics = {}
    for kind in sorted(set(kinds.tolist())):
        metrics[f"foils/{kind}"] = float(right[kinds == kind].mean())
        metrics[f"foils/{kind}/count"] = int((kinds == kind).sum())
    return metrics
