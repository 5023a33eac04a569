"""How well captions fit their pictures by the features of a two-tower model, with and without reference captions.

Source: Hessel et al., "CLIPScore: a reference-free evaluation metric for image captioning", EMNLP 2021. The numbers
depend on the model: they can be compared only under the same towers and prefix.
"""

import numpy as np
from jaxtyping import Float, Int

from mmjax.errors import UserError

WEIGHT = 2.5
PREFIX = "A photo depicts "  # before each caption, candidates and references, in the paper


def clip_score(images: Float[np.ndarray, "n d"], candidates: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """2.5 max(cos, 0) of each picture and the caption made for it.

    Args:
      images, candidates: features of the pictures and of their captions, of any length but 0.
    """
    cosines = np.sum(_unit(images) * _unit(candidates), axis=1)
    return WEIGHT * np.maximum(cosines, 0)


def ref_clip_score(
    images: Float[np.ndarray, "n d"],
    candidates: Float[np.ndarray, "n d"],
    references: Float[np.ndarray, "r d"],
    owner: Int[np.ndarray, " r"],
) -> Float[np.ndarray, " n"]:
    """Harmonic mean of `clip_score` and of max(cos, 0) of the candidate and its nearest reference; 0 if one is 0.

    Args:
      references: features of all reference captions, in any order.
      owner: the item, 0 to n - 1, that each reference belongs to.

    Raises:
      UserError: an item has no reference.
    """
    cosines = np.sum(_unit(references) * _unit(candidates)[owner], axis=1)
    nearest = np.full(len(candidates), -np.inf)
    np.maximum.at(nearest, owner, cosines)
    if np.isneginf(nearest).any():
        raise UserError(f"RefCLIPScore: item {int(np.argmin(nearest))} has no reference caption; leave such items out")
    nearest, score = np.maximum(nearest, 0), clip_score(images, candidates)
    both = nearest + score
    return np.where(both > 0, 2 * nearest * score / np.where(both > 0, both, 1), 0.0)


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float64; a row of zeros stays."""
    features = features.astype(np.float64)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1)
