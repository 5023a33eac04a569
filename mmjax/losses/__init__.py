"""Pure functions from features to a scalar: no modules, no state.

A contrastive loss is `f(a, b, scale, bias=None, *, valid_a, valid_b, group_a, group_b)` on global arrays: under jit it
may be sharded over rows in any way and is still the loss of the whole batch.
"""

from collections.abc import Callable
from typing import Any

from mmjax.losses.contrastive import info_nce, sigmoid
from mmjax.losses.margin_contrastive import margin_contrastive
from mmjax.losses.triplet import triplet

LOSSES: dict[str, Callable[..., Any]] = {
    "info_nce": info_nce,
    "sigmoid": sigmoid,
    "margin_contrastive": margin_contrastive,
    "triplet": triplet,
}

__all__ = ["LOSSES", "info_nce", "margin_contrastive", "sigmoid", "triplet"]
