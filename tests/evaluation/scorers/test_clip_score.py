"""CLIPScore and RefCLIPScore by hand."""

import numpy as np
import pytest

from mmjax.errors import UserError
from mmjax.evaluation.scorers.clip_score import clip_score, ref_clip_score

IMAGES = np.array([[2, 0], [0, 3], [1, 0]], np.float32)  # of any length
CANDIDATES = np.array([[3, 4], [1, 0], [-1, 0]], np.float32)  # cosines with the pictures: 0.6, 0, -1
REFERENCES = np.array(
    [[4, 3], [1, 0], [1, 0], [0, 1], [-1, 0]], np.float32
)  # cosines with candidates: .96, .6; 1; 0, 1
OWNER = np.array([0, 0, 1, 2, 2])


def test_clip_score_by_hand():
    np.testing.assert_allclose(clip_score(IMAGES, CANDIDATES), [2.5 * 0.6, 0, 0], atol=1e-7)


def test_ref_clip_score_by_hand():
    a, b = 2.5 * 0.6, 0.96
    scores = ref_clip_score(IMAGES, CANDIDATES, REFERENCES, OWNER)
    np.testing.assert_allclose(scores, [2 * a * b / (a + b), 0, 0], atol=1e-7)
    means = [np.mean([a, b]), 2 * a * 0.78 / (a + 0.78)]  # arithmetic; harmonic with the mean of the references
    assert all(abs(scores[0] - mutant) > 1e-2 for mutant in means)


def test_references_may_come_in_any_order():
    order = np.array([4, 1, 3, 0, 2])
    shuffled = ref_clip_score(IMAGES, CANDIDATES, REFERENCES[order], OWNER[order])
    np.testing.assert_array_equal(shuffled, ref_clip_score(IMAGES, CANDIDATES, REFERENCES, OWNER))


def test_what_points_away_scores_nothing():
    one = np.array([[1.0, 0.0]], np.float32)
    assert ref_clip_score(one, one, -one, np.array([0])) == 0
    assert clip_score(one, 0 * one) == 0


def test_an_item_without_references_is_refused():
    with pytest.raises(UserError, match="item 1 has no reference"):
        ref_clip_score(IMAGES, CANDIDATES, REFERENCES, np.array([0, 0, 2, 2, 2]))
