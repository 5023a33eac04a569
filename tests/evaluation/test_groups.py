"""Winoground's scores by hand: each score passes and fails by itself, ties and unread items included."""

import itertools

import numpy as np
import pytest

from mmjax.errors import BadItem, UserError
from mmjax.evaluation.groups import Groups, pairs_of, scores
from tests.evaluation.fakes import FakeSet, Lookup

# Pairs of pictures and pairs of captions in two dimensions. A picture's own caption is the one of the same place.
APART = np.float32([[1, 0], [0, 1]])
NEAR_FIRST = np.float32([[1, 0], [0.96, 0.28]])
SAME = np.float32([[1, 0], [1, 0]])


def world(pictures, captions, hard_of=None, corrupt=()):
    """Items 2i and 2i + 1 are the i-th pair; unless told otherwise, the second says so."""
    pictures, captions = np.concatenate(pictures), np.concatenate(captions)
    hard_of = hard_of or [None, 0, None, 2, None, 4, None, 6][: len(pictures)]
    truths = [{"captions": (f"true {i}", "unused"), "hard_of": other} for i, other in enumerate(hard_of)]
    texts = {f"true {i}": features for i, features in enumerate(captions)}
    return FakeSet({"image": pictures}, {"image": np.arange(len(pictures))}, truths, corrupt, texts=texts)


def run(*pairs, params=1, **options):
    metrics = Groups().run(Lookup(), np.float32(params), world(*zip(*pairs, strict=True), **options))
    assert set(metrics) == {"groups/text", "groups/image", "groups/group", "groups/count"}
    return tuple(metrics[f"groups/{key}"] for key in ("text", "image", "group", "count"))


def test_right_and_wrong_pairs():
    assert run((APART, APART)) == (1, 1, 1, 1)
    assert run((APART, APART[::-1])) == (0, 0, 0, 1)
    assert run((APART, APART), (APART, APART[::-1])) == (0.5, 0.5, 0.5, 2)


def test_text_and_image_scores_are_not_the_same():
    # [picture, caption] is [[1, 0.96], [0, 0.28]]: each picture finds its caption, but a caption not its picture ...
    assert run((APART, NEAR_FIRST)) == (1, 0, 0, 1)
    # ... and the other way round.
    assert run((NEAR_FIRST, APART)) == (0, 1, 0, 1)


def test_one_right_caption_of_two_is_not_enough():
    """The mutant that averages over pictures, as foils do, would give a half."""
    text, image, group, _ = run((SAME, APART))
    assert (text, image, group) == (0, 0, 0)


def test_group_is_of_the_same_pair():
    """Not the product or the lesser of both shares: here each holds in one pair, but never both."""
    assert run((APART, NEAR_FIRST), (NEAR_FIRST, APART)) == (0.5, 0.5, 0, 2)


def test_ties_and_nan_are_mistakes():
    assert run((APART, SAME)) == (0, 0, 0, 1)
    assert run((APART, APART), params=0) == (0, 0, 0, 1)
    assert run((APART, APART), params=np.nan) == (0, 0, 0, 1)


def test_chance_levels():
    draw = np.random.default_rng(0).standard_normal((4000, 2, 64)).astype(np.float32)
    pictures = np.concatenate(draw[:2000])
    metrics = scores(pictures, np.concatenate(draw[2000:]), np.arange(4000).reshape(-1, 2))
    assert metrics["groups/text"] == pytest.approx(1 / 4, abs=0.03)
    assert metrics["groups/image"] == pytest.approx(1 / 4, abs=0.03)
    assert metrics["groups/group"] == pytest.approx(1 / 6, abs=0.03)


def test_pairs_are_counted_once_and_only_if_both_were_read():
    assert run((APART, APART), hard_of=[1, 0]) == (1, 1, 1, 1)
    assert run((APART, APART), (APART, APART[::-1]), corrupt=[3]) == (1, 1, 1, 1)
    assert pairs_of({0: {"hard_of": None}, 1: {"hard_of": 0}, 2: {"hard_of": 9}, 3: {}, 4: {"hard_of": 4}}) == [(0, 1)]


def test_items_without_a_readable_truth_are_skipped():
    data = world([APART, APART], [APART, APART])
    data.truths[3] = BadItem("no truth")
    assert Groups().run(Lookup(), np.float32(1), data)["groups/count"] == 1
    assert [skip.index for skip in data.skipped] == [3]


def test_data_without_pairs_is_refused():
    with pytest.raises(UserError, match="no item of this data is a hard negative"):
        run((APART, APART), hard_of=[None, None])
    with pytest.raises(UserError, match="no item of this data is a hard negative"):
        run((APART, APART), (APART, APART), corrupt=[0, 2])


def test_hosts_agree_on_the_order_of_pairs():
    truths = {i: {"hard_of": i ^ 1} for i in range(6)}
    for order in itertools.islice(itertools.permutations(truths), 0, None, 100):
        assert pairs_of({i: truths[i] for i in order}) == [(0, 1), (2, 3), (4, 5)]
