"""Guessing from the question alone is at chance: by the commonest answer to a text, and to the words in it."""

import collections
import math

import pytest

from mmjax.data.world.asking import TYPES, chance
from tests.data.world.bulk import truths

FIT, HELD = 20_000, 24_000
POINTS = 0.02  # above chance, in held-out accuracy


@pytest.fixture(scope="module")
def questions():
    """(type, question, answer) to fit a guesser to, and to try it on."""

    def read(split, start, stop):
        found = truths(start, stop, ("question_type", "question", "answers"), split=split, length=stop)
        return [(truth["question_type"], truth["question"], truth["answers"][0]) for truth in found]

    return {"fit": read("train", 0, FIT), "train": read("train", FIT, FIT + HELD), "test": read("test", 0, HELD)}


def by_text(train):
    """Guesses the commonest answer to a text, or where it is new to its type."""
    counts = collections.defaultdict(collections.Counter)
    for kind, text, answer in train:
        counts[text][answer] += 1
        counts[kind][answer] += 1
    return lambda kind, text: (counts.get(text) or counts[kind]).most_common(1)[0][0]


def by_words(train):
    """Naive Bayes on the words, type by type."""
    priors, words = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter)
    for kind, text, answer in train:
        priors[kind][answer] += 1
        words[kind, answer].update(text.split())

    def guess(kind, text):
        def score(answer):
            seen = words[kind, answer]
            total = seen.total() + 100
            return math.log(priors[kind][answer]) + sum(math.log((seen[word] + 1) / total) for word in text.split())

        return max(priors[kind], key=score)

    return guess


def accuracies(guess, items):
    right = collections.defaultdict(list)
    for kind, text, answer in items:
        right[kind].append(guess(kind, text) == answer)
    return {kind: sum(hits) / len(hits) for kind, hits in right.items()}


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("guesser", [by_text, by_words])
def test_no_guesser_beats_chance(questions, guesser, split):
    found = accuracies(guesser(questions["fit"]), questions[split])
    assert {kind: found[kind] for kind in TYPES if found[kind] > chance(split)[kind] + POINTS} == {}


@pytest.mark.slow
@pytest.mark.parametrize("guesser", [by_text, by_words])
def test_a_guesser_finds_a_leak_where_there_is_one(questions, guesser):
    def leaking(items):
        """ "Is there a ... circle?" is always so, and of squares never."""
        leaks = {"circle?": "yes", "square?": "no"}
        return [(k, t, leaks.get(t.split()[-1], a) if k == "existence" else a) for k, t, a in items]

    found = accuracies(guesser(leaking(questions["fit"])), leaking(questions["train"]))
    assert found["existence"] > chance("train")["existence"] + POINTS


@pytest.mark.parametrize(("split", "count"), [("train", 4000), ("test", 2048)])
def test_answers_are_even_for_each_way_to_ask(split, count):
    """The answers to a way of asking are as frequent as each other, but for what lots scatter."""
    counts = collections.defaultdict(collections.Counter)
    for truth in truths(0, count, split=split, language="both"):
        if truth["question_type"] not in ("colour", "shape"):  # these admit six or seven of eight, by the word named
            way = truth["question"].split()[0] if truth["language"] == "en" else ""
            counts[truth["question_type"], truth["language"], way][truth["answers"][0]] += 1
    for key, found in counts.items():
        expected = found.total() / len(found)
        assert all(abs(n - expected) < 4 * math.sqrt(expected) for n in found.values()), (key, found)
    assert len(counts) > 12


def test_chance_is_stated():
    assert chance("train") == {
        "existence": 1 / 2, "count": 1 / 5, "colour": 1 / 6, "shape": 1 / 6,
        "size": 1 / 3, "texture": 1 / 4, "relation": 1 / 2, "comparison": 1 / 2,
    }  # fmt: skip
    assert chance("test")["colour"] == chance("val")["shape"] == 1 / 7
    assert chance("train", max_objects=2)["count"] == 1 / 3
