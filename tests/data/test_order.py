"""The order of examples: every epoch a permutation, every source its exact share, nothing ever drifts."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjax.data import order


def epoch_of(length, epoch, key):
    return [order.item(epoch * length + place, length, key) for place in range(length)]


@given(length=st.integers(1, 300), epoch=st.integers(0, 50), seed=st.integers(0, 2**40))
@settings(max_examples=50, deadline=None)
def test_every_epoch_is_a_permutation(length, epoch, seed):
    items = epoch_of(length, epoch, (seed, 0))
    assert {e for e, _ in items} == {epoch}
    assert sorted(index for _, index in items) == list(range(length))


def test_a_large_source_is_permuted_too():
    length = order.SMALL + 7
    for epoch in (0, 3):
        assert sorted(index for _, index in epoch_of(length, epoch, (1, 0))) == list(range(length))


@pytest.mark.parametrize("length", [100, order.SMALL + 7])
def test_epochs_seeds_and_sources_differ(length):
    def start(epoch, key):
        return [order.item(epoch * length + place, length, key)[1] for place in range(50)]

    orders = [start(0, (0, 0)), start(1, (0, 0)), start(0, (1, 0)), start(0, (0, 1))]
    assert len(set(map(tuple, orders))) == len(orders)


def test_the_order_is_this_one_for_ever():
    """Golden: a changed order would make every resumed run another run."""
    assert [order.item(p, 10, (7, 0))[1] for p in range(12)] == [8, 4, 3, 6, 2, 1, 0, 5, 9, 7, 3, 6]
    assert [order.item(p, 10**9, (7, 0))[1] for p in range(3)] == [130934615, 268206314, 379448480]


@pytest.mark.parametrize(
    ("weights", "counts"),
    [([1.0], (1,)), ([0.7, 0.3], (7, 3)), ([2, 1, 1], (2, 1, 1)), ([0.5, 0.5], (1, 1)), ([1e-3, 1], (1, 1000))],
)
def test_shares_are_exact_in_the_smallest_block(weights, counts):
    mixture = order.mixture(weights, seed=3)
    assert mixture.counts == counts
    for block in range(3):
        seen = collections.Counter(mixture.source(block * mixture.block + place) for place in range(mixture.block))
        assert tuple(seen[source] for source in range(len(weights))) == counts


@given(weights=st.lists(st.integers(1, 9), min_size=1, max_size=4), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_earlier_counts_the_batches_of_the_same_source(weights, seed):
    mixture = order.mixture(weights, seed)
    sources = [mixture.source(step) for step in range(60)]
    for step, source in enumerate(sources):
        assert mixture.earlier(step) == sources[:step].count(source)


def test_blocks_are_shuffled():
    mixture = order.mixture([5, 5], seed=0)
    blocks = np.array([[mixture.source(10 * block + place) for place in range(10)] for block in range(5)])
    assert len(np.unique(blocks, axis=0)) == 5


@pytest.mark.parametrize("weights", [[], [0.0, 1.0], [-1.0], [float("nan")], [float("inf")], [1e-9, 1.0]])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        order.mixture(weights, 0)
