"""WUPS: similarities as NLTK gives them over the same WordNet 3.0, and the rules of DAQUAR's script by hand."""

import pytest

from mmjax.errors import UserError
from mmjax.evaluation.scorers import wordnet
from mmjax.evaluation.scorers.wordnet import meaning, meanings, similarity
from mmjax.evaluation.scorers.wups import part_worth, score_of_sets, wups

LOOK_UPS = {
    "Dogs": ["dog.n.01", "frump.n.01", "dog.n.03", "cad.n.01"],
    "men": ["work_force.n.01", "man.n.01", "serviceman.n.01", "man.n.03"],
    "mice": ["mouse.n.01", "shiner.n.01", "mouse.n.03", "mouse.n.04"],
    "boxes": ["box.n.01", "box.n.02", "box.n.03", "corner.n.08"],
    "knives": ["knife.n.01", "knife.n.02", "tongue.n.03"],
    "glasses": ["spectacles.n.01", "glass.n.01", "glass.n.02", "glass.n.03"],
    "garbage_bin": [],
    "": [],
}
# Two words, the similarity of their first meanings, and the greatest of any.
SIMILAR = [
    ("dog", "cat", 0.8571428571428571, 0.8571428571428571),
    ("chair", "table", 0.125, 0.8421052631578947),
    ("table", "desk", 0.125, 0.9473684210526315),
    ("sofa", "couch", 1.0, 1.0),
    ("bed", "pillow", 0.5555555555555556, 0.7142857142857143),
    ("person", "chair", 0.47058823529411764, 0.7058823529411765),
    ("christmas", "monday", 0.625, 0.631578947368421),
    ("love", "computer", 0.125, 0.6666666666666666),
]


@pytest.mark.parametrize(("word", "expected"), LOOK_UPS.items())
def test_meanings_as_nltk_lists_them(word, expected):
    assert [meaning(place).name for place in meanings(word)][:4] == expected


@pytest.mark.parametrize(("a", "b", "first", "greatest"), SIMILAR)
def test_similarity_as_nltk_computes_it(a, b, first, greatest):
    assert similarity(meanings(a)[0], meanings(b)[0]) == pytest.approx(first, abs=1e-12)
    assert part_worth(a, b, 0.0) == pytest.approx(greatest, abs=1e-12)


def test_the_threshold_leaves_a_tenth():
    assert wups("chair", "table", 0.0) == pytest.approx(0.8421052631578947)
    assert wups("chair", "table", 0.9) == pytest.approx(0.08421052631578947)
    assert wups("desk", "table", 0.9) == pytest.approx(0.9473684210526315)
    assert wups("garbage_bin", "chair", 0.0) == 0 and wups("garbage_bin", "garbage_bin") == 1


def test_sets_of_answers():
    assert wups("table, chair", "chair,table") == 1
    assert wups("chair", "chair, garbage_bin") == 0  # one is missing
    assert wups("chair, garbage_bin", "chair") == 0  # one too many
    values = {("a", "x"): 0.5, ("a", "y"): 0.2, ("b", "x"): 0.4, ("b", "y"): 0.8}
    worth = lambda p, q: values.get((p, q), values.get((q, p)))  # noqa: E731
    assert score_of_sets(["a", "b"], ["x", "y"], worth) == pytest.approx(0.4)  # 0.5 x 0.8 from either side
    assert score_of_sets(["a"], ["x", "y"], worth) == pytest.approx(0.1)  # min(0.5, 0.5 x 0.2); a mean would be 0.35


def test_without_wordnet_the_cure_is_named(monkeypatch):
    wordnet._folder.cache_clear()
    monkeypatch.setattr(wordnet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mmjax\[wups\]'"):
        wordnet._folder()
