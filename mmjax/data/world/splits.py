"""Splits by composition: some (shape, colour) combinations occur in one evaluation split and never in training.

Shapes and colours are ranked by a hash of their names. A combination belongs to test or val where the two ranks differ
by a fixed step: so each split holds out every shape once and every colour once, and no word is rarer than another.
"""

import hashlib
from collections.abc import Sequence

from mmjax.data.world.scene import COLOURS, SHAPES, Combination

STEPS = {"val": 1, "test": 5}


def _ranks(names: Sequence[str]) -> dict[str, int]:
    ordered = sorted(names, key=lambda name: hashlib.blake2b(name.encode()).digest())
    return {name: rank for rank, name in enumerate(ordered)}


def _own(split: str) -> tuple[Combination, ...]:
    shapes, colours = _ranks(SHAPES), _ranks(COLOURS)
    pairs = ((s, c) for s in SHAPES for c in COLOURS)
    return tuple((s, c) for s, c in pairs if (colours[c] - shapes[s]) % len(SHAPES) == STEPS[split])


# split -> the combinations that occur in it alone; none for train.
HELD_OUT: dict[str, tuple[Combination, ...]] = {"train": (), "val": _own("val"), "test": _own("test")}

# split -> the combinations that must not occur in it, in pictures or words: the other splits' own.
FORBIDDEN: dict[str, frozenset[Combination]] = {
    split: frozenset(pair for other in HELD_OUT if other != split for pair in HELD_OUT[other]) for split in HELD_OUT
}

# split -> the combinations that may occur in it: training's, and its own.
ALLOWED: dict[str, tuple[Combination, ...]] = {
    split: tuple((s, c) for s in SHAPES for c in COLOURS if (s, c) not in FORBIDDEN[split]) for split in HELD_OUT
}
