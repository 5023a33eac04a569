"""Groups: of two pictures that differ in one respect and their two captions, does each find its own?

The measure of Winoground, over the world's hard negatives. Unlike foils, it has both pictures, so that a model which
prefers one caption whatever it sees does not pass.
Source: Thrush et al., "Winoground: probing vision and language models for visio-linguistic compositionality", 2022.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int

from mmjax.errors import UserError
from mmjax.evaluation.predict import EvalSet, Metrics, embed_set, embed_texts, truths
from mmjax.evaluation.ranking import TIE


@dataclasses.dataclass(frozen=True)
class Groups:
    """Winoground's scores over pairs of an item and the one that it is a hard negative of, as fractions.

    `groups/text`: each picture scores its own caption above the other one (chance 1/4). `groups/image`: each caption
    scores its own picture above the other one (chance 1/4). `groups/group`: both (chance 1/6). `groups/count`: pairs.
    Chance is that of four random scores. A tie is a mistake.

    The truth of an item holds `captions`, whose first is used, and `hard_of`: the index of the other item, or None. A
    pair of which one item could not be read is left out; two items that name each other are one pair.

    Attributes:
      image, text: the streams that see the pictures and the captions.
    """

    image: str = "image"
    text: str = "caption"

    def run(self, task: Any, params: Any, data: EvalSet, mesh: Mesh | None = None) -> Metrics:
        images = embed_set(task, params, data, self.image, mesh)
        row_of = {int(images.owner[row]): row for row in np.flatnonzero(images.valid)}
        known = truths(data, row_of)
        pairs = pairs_of(known)
        if not pairs:
            raise UserError("groups: no item of this data is a hard negative of another; leave them out")
        items = sorted({item for pair in pairs for item in pair})
        place = {item: number for number, item in enumerate(items)}
        features = embed_texts(task, params, data, self.text, [known[item]["captions"][0] for item in items], mesh)
        at = np.asarray([[place[item] for item in pair] for pair in pairs])
        return scores(images.features[[row_of[item] for item in items]], features, at)


def pairs_of(truths: Mapping[int, Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Pairs of known items, the lower index first, in ascending order, each once."""
    named = ((item, truth.get("hard_of")) for item, truth in truths.items())
    return sorted({(min(a, b), max(a, b)) for a, b in named if b is not None and b in truths and a != b})


def scores(images: Float[np.ndarray, "n d"], texts: Float[np.ndarray, "n d"], pairs: Int[np.ndarray, "p 2"]) -> Metrics:
    """The metrics of `Groups` from L2-normalised features of items and the pairs among them."""
    match = np.einsum("pid,pjd->pij", images[pairs], texts[pairs])  # [p, picture, caption]
    text = _beats(match[:, 0, 0], match[:, 0, 1]) & _beats(match[:, 1, 1], match[:, 1, 0])
    image = _beats(match[:, 0, 0], match[:, 1, 0]) & _beats(match[:, 1, 1], match[:, 0, 1])
    return {
        "groups/text": float(text.mean()),
        "groups/image": float(image.mean()),
        "groups/group": float((text & image).mean()),
        "groups/count": len(pairs),
    }


def _beats(right: Float[np.ndarray, " p"], wrong: Float[np.ndarray, " p"]) -> Bool[np.ndarray, " p"]:
    """By more than rounding; a NaN beats nothing."""
    return right - wrong > TIE
