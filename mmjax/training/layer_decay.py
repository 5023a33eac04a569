"""Layer-wise learning-rate decay: early layers of a pretrained tower hold what is general and move less.

After Clark et al. 2020 ("ELECTRA"), with the numbering of BEiT (Bao et al. 2022): a tower of `depth` blocks has the
layers 0 to depth + 1. Its embeddings (stem, tokens, positions, the norm before the blocks) are layer 0, its block i is
layer i + 1, and what follows the blocks (norm, pooling, head) is layer depth + 1. The factor of layer k is
decay ** (depth + 1 - k). What belongs to no tower, such as projections and the logit scale, has the factor 1.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.errors import UserError
from mmjax.models.stacking import ALL, ONE
from mmjax.training import tree

# What a tower has behind its blocks; everything else beside the blocks is before them.
BEHIND = re.compile(r"(norm_after|attention_pool|pool|head|logits)(/|$)")


def layer_factors(decay: float, params: Any) -> Any:
    """For each parameter a number, or a column of one number for each block of a scanned stack, `[depth, 1, ...]`.

    Args:
      params: the tree of parameters; shapes suffice.

    Raises:
      UserError: an impossible decay, or no stack of blocks to tell layers apart by.
    """
    if not 0 < decay <= 1:
        raise UserError(f"optimizer.layer_decay must lie in (0, 1], got {decay}")
    shapes = {name: leaf.shape for name, leaf in zip(tree.names(params), jax.tree.leaves(params), strict=True)}
    depths = tower_depths(shapes) if decay < 1 else {}
    if decay < 1 and not depths:
        raise UserError("optimizer.layer_decay: this model has no stack of blocks; leave it at 1")
    return tree.map_named(lambda name, leaf: _factor(decay, depths, name, leaf.shape), params)


def tower_depths(shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """{tower: its blocks}. A tower is what holds the stack's module, `towers_image/` of
    `towers_image/transformer/blocks_3/mlp/up/kernel`; or the stack itself, `decoder/` of `decoder/blocks_3/...`.
    """
    depths: dict[str, int] = {}
    for name, shape in shapes.items():
        if match := ONE.match(name):
            depth = int(match[2]) + 1
        elif match := ALL.match(name):
            depth = shape[0]
        else:
            continue
        root = _parent(match[1])
        root = _parent(root) if root.endswith("transformer/") else root  # a decoder holds its blocks itself
        depths[root] = max(depths.get(root, 0), depth)
    return depths


def _factor(decay: float, depths: Mapping[str, int], name: str, shape: Sequence[int]) -> float | np.ndarray:
    # The innermost tower counts, should one lie in another.
    root = max((root for root in depths if name.startswith(root)), key=len, default=None)
    if root is None:
        return 1.0
    last = depths[root] + 1
    if match := ONE.match(name):
        return decay ** (last - (int(match[2]) + 1))
    if ALL.match(name):
        powers = decay ** (last - (np.arange(shape[0]) + 1.0))
        return powers.astype(np.float32).reshape(-1, *[1] * (len(shape) - 1))
    return 1.0 if BEHIND.match(name.removeprefix(root)) else decay**last


def _parent(path: str) -> str:
    """`a/b/` of `a/b/c` or of `a/b/c/`."""
    head = path.rstrip("/").rpartition("/")[0]
    return f"{head}/" if head else ""
