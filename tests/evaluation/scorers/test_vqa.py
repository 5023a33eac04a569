"""VQA v2's normalisation and accuracy: outcomes of the official script, worked out by its rules."""

import pytest

from mmjax.errors import UserError
from mmjax.evaluation.scorers import vqa
from mmjax.evaluation.scorers.vqa import NORMALISER, by_type, exact_match, normalise, vqa_accuracy
from mmjax.evaluation.scorers.vqa_tables import CONTRACTIONS

# Answer, normalised. Each line is one of the script's rules, or of its slips.
NORMALISED = [
    ("Yes", "yes"),
    ("  The  dog\n", "dog"),
    ("a an the", ""),
    ("a-the-dog", "dog"),
    ("two dogs", "2 dogs"),
    ("None", "0"),
    ("twenty one", "twenty 1"),
    ("t-shirt", "t shirt"),
    ("t - shirt", "t shirt"),
    ("yes!", "yes"),
    ("left/right", "left right"),
    ("left / right", "left right"),
    ("left/ right/up", "left rightup"),  # a sign that stands beside a space once goes everywhere
    ("1,000", "1000"),
    ("1,000 m/s", "1000 ms"),  # where a number has a comma, every sign goes
    ("red,blue", "red blue"),
    ("3.5", "3.5"),
    ("U.S.A.", "usa"),
    ("mr. 5.", "mr 5"),
    (".5", ".5"),
    ("a.b", "ab"),
    ("dont", "don't"),
    ("couldnt've", "couldn't've"),
    ("couldn'tve", "couldn't've"),
    ("somebody'd", "somebodyd"),
    ("twas", "'twas"),
    ("im", "im"),  # the table has "Im", which lower case never meets
    ("it's", "it's"),
    ("o:clock", "o:clock"),  # neither colons nor apostrophes are among the signs
    ("$5", "$5"),
    ("x" + "." * 40, "x" + "." * 8),  # it takes off 32 full stops
]


@pytest.mark.parametrize(("answer", "expected"), NORMALISED)
def test_normalised(answer, expected):
    assert normalise(answer) == expected


def without_articles_left_in(text):
    return " ".join(vqa.NUMBERS.get(word, word) for word in text.lower().split())


def every_sign_a_space(text):
    return "".join(" " if c in vqa.PUNCTUATION + "." else c for c in text)


@pytest.mark.parametrize(
    ("rule", "mutant"),
    [("_without_articles", without_articles_left_in), ("_without_punctuation", every_sign_a_space)],
)
def test_other_rules_are_caught(rule, mutant, monkeypatch):
    monkeypatch.setattr(vqa, rule, mutant)
    assert any(normalise(answer) != expected for answer, expected in NORMALISED)


def test_contractions_of_the_script():
    """Its 120, less 4 with a capital, which no lower-case word can meet, and 2 that change nothing."""
    assert len(CONTRACTIONS) == 120 - 4 - 2
    assert NORMALISER == "vqa-v2/1"


TEN = [
    # references, answer, official accuracy
    (["yes"] * 10, "yes", 1.0),
    (["yes"] * 10, "Yes", 0.0),  # all agree: nothing is normalised
    (["yes"] * 9 + ["no"], "Yes!", 1.0),
    (["yes"] * 9 + ["no"], "no", 0.3),  # 9 sets with one match: 1/3 each, and one with none
    (["yes"] * 8 + ["no"] * 2, "no", 0.6),
    (["yes"] * 7 + ["no"] * 3, "no", 0.9),
    (["yes"] * 6 + ["no"] * 4, "no", 1.0),
    (["the dog"] * 5 + ["dog"] * 5, "a dog", 1.0),
    (["the dog"] * 10, "dog", 0.0),
    (["two"] * 9 + ["2 "], "2", 1.0),
    (["yes\n", "yes"] * 5, "yes", 1.0),  # they agree once they are on one line
    (["yes"] * 9 + ["no"], "maybe", 0.0),
]


@pytest.mark.parametrize(("references", "answer", "expected"), TEN)
def test_accuracy_with_ten_references(references, answer, expected):
    assert vqa_accuracy(answer, references) == pytest.approx(expected, abs=1e-12)


def simple_accuracy(answer, references):
    """The formula as papers print it: min(matches / 3, 1), nobody left out."""
    return min([normalise(r) for r in references].count(normalise(answer)) / 3, 1.0)


def test_the_formula_that_leaves_nobody_out_is_another():
    wrong = [(a, references) for references, a, score in TEN if abs(simple_accuracy(a, references) - score) > 0.02]
    assert ("no", ["yes"] * 8 + ["no"] * 2) in wrong and ("Yes", ["yes"] * 10) in wrong


def test_accuracy_with_fewer_references():
    assert vqa_accuracy("The Dog", ["dog"]) == 1 and vqa_accuracy("cat", ["dog"]) == 0
    assert vqa_accuracy("Dog", ["dog", "dog"]) == 1
    assert vqa_accuracy("dog", ["dog", "cat"]) == pytest.approx(1 / 2)
    assert vqa_accuracy("dog", ["dog", "cat", "cow"]) == pytest.approx(2 / 3)
    assert vqa_accuracy("dog", ["dog"] * 2 + ["cat"] * 3) == pytest.approx((2 * 1 / 2 + 3 * 1) / 5)
    for references in ([], "dog"):
        with pytest.raises(UserError, match="no list of reference answers"):
            vqa_accuracy("dog", references)


def test_exact_match_is_strict_but_for_case_and_ends():
    assert exact_match(" Yes", "yes") == 1.0
    assert exact_match("the dog", "dog") == exact_match("2", "two") == 0.0


def test_scores_by_type():
    assert by_type([1.0, 0.0, 0.5], ["how many", "is", "how many"]) == {"how many": 0.75, "is": 0.0}
    assert by_type([], []) == {}
    with pytest.raises(UserError, match="2 scores, but 1 types"):
        by_type([1.0, 0.0], ["is"])
