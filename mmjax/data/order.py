"""The order of examples as pure functions of the seed: nothing to save, nothing to skip on resume.

    step → source            a mixture: within every block of steps each source has its exact share, in shuffled order
    position → epoch, index  one source: each epoch a new permutation, without repeats

A batch takes the next positions of its source, so the position is `earlier batches of the source x batch size + row`.
None of it knows of hosts, devices or workers.
"""

import dataclasses
import functools
from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm

import numpy as np
from grain.experimental import index_shuffle
from jaxtyping import Int

MOST_BLOCK = 100_000
SMALL = 1 << 16  # below it a permutation is kept: index_shuffle walks its cycles, 10 ms a call for two items


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Which source each batch comes from.

    Attributes:
      counts: batches of each source in a block of `sum(counts)` steps.
      seed: of the order within blocks.
    """

    counts: tuple[int, ...]
    seed: int

    @property
    def block(self) -> int:
        return sum(self.counts)

    def source(self, step: int) -> int:
        """The source of a step."""
        block, place = divmod(step, self.block)
        return int(self._slots(block)[place])

    def earlier(self, step: int) -> int:
        """How many batches of the step's own source came before it."""
        block, place = divmod(step, self.block)
        slots = self._slots(block)
        source = slots[place]
        return block * self.counts[source] + int(np.count_nonzero(slots[:place] == source))

    def _slots(self, block: int) -> Int[np.ndarray, " block"]:
        slots = np.repeat(np.arange(len(self.counts)), self.counts)
        return slots[_permutation(len(slots), (self.seed, block))]


def mixture(weights: Sequence[int | float], seed: int) -> Mixture:
    """The smallest block that holds every source in exactly its share.

    Args:
      weights: positive, of any sum; each is taken as the decimal fraction that it is written as.

    Raises:
      ValueError: a weight is not positive, or no block of reasonable size holds the shares.
    """
    if not weights or any(not 0 < weight < float("inf") for weight in weights):
        raise ValueError(f"weights must be positive numbers, got {list(weights)}")
    shares = [Fraction(str(weight)) for weight in weights]
    counts = [int(share * lcm(*(s.denominator for s in shares))) for share in shares]
    counts = [count // gcd(*counts) for count in counts]
    if sum(counts) > MOST_BLOCK:
        raise ValueError(f"weights {list(weights)} need {sum(counts):,} batches to come out even; round them")
    return Mixture(tuple(counts), seed)


def item(position: int, length: int, key: tuple[int, ...]) -> tuple[int, int]:
    """The epoch and the index of a position in a source of `length` items.

    Args:
      position: from 0 without end; the first `length` of them are epoch 0.
      key: non-negative integers: the seed and what tells this source from others.
    """
    epoch, place = divmod(position, length)
    if length <= SMALL:
        return epoch, int(_permutation(length, (*key, epoch))[place])
    return epoch, index_shuffle(place, max_index=length - 1, seed=_word((*key, epoch)), rounds=4)


@functools.lru_cache(maxsize=64)
def _permutation(length: int, key: tuple[int, ...]) -> Int[np.ndarray, " length"]:
    # Bit generators keep their streams over numpy versions, `Generator.permutation` does not promise to.
    draws = np.random.Philox(np.random.SeedSequence(key)).random_raw(length)
    return np.argsort(draws, kind="stable").astype(np.int32)


@functools.lru_cache(maxsize=64)
def _word(key: tuple[int, ...]) -> int:
    """32 random bits of a key; index_shuffle takes no more."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])
