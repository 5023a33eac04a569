"""BLEU, ROUGE-L and CIDEr-D of captions, with the numbers of the COCO caption tools.

The scorers are those tools' own, from `pycocoevalcap`; the words come from `words`, so that nothing runs Java.
Sources: Chen et al., "Microsoft COCO Captions", 2015; Papineni et al. 2002 (BLEU); Lin 2004 (ROUGE-L); Vedantam et al.,
"CIDEr", CVPR 2015.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjax.errors import UserError
from mmjax.evaluation.scorers.words import Cut, cutter

log = logging.getLogger(__name__)


def caption_scores(
    candidates: Sequence[str], references: Sequence[Sequence[str]], tokenize: Cut = "words"
) -> dict[str, float]:
    """Scores of a whole set, as fractions but for CIDEr-D, which is 10 times a mean of cosines.

    `BLEU-1` to `BLEU-4` count over the set, with the closest reference's length. `ROUGE-L` is a mean over items of the
    F-measure with beta 1.2. `CIDEr-D` is what the COCO tools print as "CIDEr": n-grams to 4, sigma 6, clipped, without
    stemming, document frequencies from the references of this very set. So it depends on the set, and for one item
    every frequency is 1 and it would be 0 whatever the caption: then it is left out, and the log says so.

    Args:
      candidates: one caption for each item.
      references: the true captions of each item; at least one.
      tokenize: how all of them are cut into words, see `words.cutter`. Scores by different cuts cannot be compared.

    Raises:
      UserError: nothing to score, lengths that differ, an item without references, or the library is missing.
    """
    _check(candidates, references)
    bleu, rouge, cider = _library()
    cut = cutter(tokenize)
    found = {item: [" ".join(cut(caption))] for item, caption in enumerate(candidates)}
    true = {item: [" ".join(cut(caption)) for caption in captions] for item, captions in enumerate(references)}
    scores = {f"BLEU-{n}": value for n, value in enumerate(bleu(4).compute_score(true, found, verbose=0)[0], start=1)}
    scores["ROUGE-L"] = rouge().compute_score(true, found)[0]
    if len(candidates) > 1:
        scores["CIDEr-D"] = cider().compute_score(true, found)[0]
    else:
        log.warning("CIDEr-D is left out: it weighs words by how many items have them, and there is one item")
    return {name: float(np.asarray(value)) for name, value in scores.items()}


def _check(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not candidates:
        raise UserError("caption scores: there is no caption to score; look at the list of skipped items")
    if len(candidates) != len(references):
        raise UserError(f"caption scores: {len(candidates)} captions, but references of {len(references)} items")
    for item, captions in enumerate(references):
        if isinstance(captions, str) or not captions:
            raise UserError(f"caption scores: item {item} has no list of reference captions; leave such items out")


def _library() -> tuple[Any, Any, Any]:
    """The classes of BLEU, ROUGE-L and CIDEr-D. They need NumPy alone; the rest of that package, Java, stays unused."""
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError:
        raise UserError("scores of captions need pycocoevalcap: pip install 'mmjax[scores]'") from None
    return Bleu, Rouge, Cider
