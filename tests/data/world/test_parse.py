"""Captions are parsed back to what was meant; foils and sentences that are none are not taken for true."""

import collections

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjax.data.world import World
from mmjax.data.world.captions_en import Style
from mmjax.data.world.meaning import Description, Meaning, Relation
from mmjax.data.world.parse import complete_of, parse, scene_of, true_of
from mmjax.data.world.telling import LANGUAGES
from tests.data.world.reader import read
from tests.data.world.reader import true_of as judged

STYLES = [Style(form, synonym, first) for form in range(4) for synonym in range(2) for first in (False, True)]


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 10**6), objects=st.integers(1, 4), detail=st.sampled_from(["full", "graded", "things"]))
def test_captions_say_what_was_meant_in_every_style(index, objects, detail):
    world = World(min_objects=objects, max_objects=objects, detail=detail)
    telling = world._item(index)[1]
    for meaning in (*telling.meanings, *telling.foils):
        for language in ("en", "zh"):
            (words,) = LANGUAGES[language]
            for style in STYLES:
                text = words.caption(meaning, style)
                assert sorted_(parse(text, language)) == sorted_(meaning), text
                assert parse(text, "zh" if language == "en" else "en") is None


def sorted_(meaning):
    """Without the order of a list, in which equal things are named together."""
    return meaning if meaning.relations else Meaning(tuple(sorted(meaning.things, key=str)), only=meaning.only)


@pytest.mark.parametrize(("split", "least", "most"), [("train", 1, 4), ("train", 4, 4), ("test", 1, 4), ("test", 2, 3)])
def test_captions_are_true_foils_are_not_and_the_other_reader_agrees(split, least, most):
    world = World(split, min_objects=least, max_objects=most, language="both", length=64)
    for index in range(40):
        scene, truth, told = world.scene(index).as_dict(), world.truth(index), world._item(index)[1]
        for text in truth["captions"]:
            assert true_of(text, scene) is complete_of(text, scene) is judged(read(text), scene) is True
        for text in told.foil_captions("both"):
            assert true_of(text, scene) is complete_of(text, scene) is judged(read(text), scene) is False
        other = world.scene((index + 1) % 40).as_dict()
        for text in truth["captions"]:
            assert true_of(text, other) is judged(read(text), other)


SCENE = {
    "things": [
        {"shape": "circle", "colour": "red", "size": "small", "texture": "solid", "x": 0.2, "y": 0.5, "radius": 0.1},
        {"shape": "star", "colour": "blue", "size": "large", "texture": "hollow", "x": 0.7, "y": 0.5, "radius": 0.19},
        {"shape": "circle", "colour": "pink", "size": "small", "texture": "solid", "x": 0.7, "y": 0.1, "radius": 0.1},
    ]
}


@pytest.mark.parametrize(
    ("text", "true", "complete"),
    [
        ("a circle", True, False),
        ("two circles and a star", True, True),
        ("there are two circles", True, False),
        ("there is a star and two circles", True, True),
        ("three circles", False, False),
        ("a picture of a red circle, a blue star and a pink circle", True, True),
        ("a red star", False, False),
        ("a red circle is smaller than a blue star", True, False),
        ("a little red solid circle left of and bigger than a hollow blue star", False, False),
        ("a circle left of a star and below a circle", False, False),
        ("a star right of a circle and below a circle", True, True),
        ("  a circle left of a star, which is below a pink circle\n", True, True),
        ("only a red circle on the left", False, False),
        ("两个圆形和一个五角星", True, True),
        ("图中有一个红色圆形", True, False),
        ("一个小号红色实心圆形在一个空心蓝色五角星的左侧，而且比它小", True, False),
        ("一个红色圆形在一个蓝色五角星的右边", False, False),
        ("图中只有一个红色圆形，在左侧", False, False),
    ],
)
def test_what_is_said_of_a_scene(text, true, complete):
    assert (true_of(text, SCENE), complete_of(text, SCENE)) == (true, complete)


BROKEN = [
    "", " ", "a", "circle", "a red", "red circle", "the red circle", "a red circle.", "A red circle", "a  red circle",
    "a circle a star", "a circle and", "and a circle", "a circle, a star", "a circle and a star and a heart",
    "an circle", "a orange circle", "a circles", "two circle", "two crosss", "one circle", "five circles",
    "there are a circle", "there is two circles", "a red blue circle", "a solid striped circle", "a big small circle",
    "a small circle left of", "left of a star", "a circle left a star", "a circle is left", "a circle is a star",
    "a circle left of a star below a heart", "a circle left of two stars", "a circle is is left of a star",
    "a circle left of a star, which is", "a circle, which is left of a star", "a circle in the middle",
    "only a circle", "only a circle left of a star", "is a circle left of a star?", "a circle left of and a star",
    "a circle larger than and left of a star", "a picture of there is a circle", "a red circle left of a blue star x",
    "one two three", "a" * 5000, "a circle, " * 200, "\ud800", "a red circle\x00", "圆形", "一个", "一个圆",
    "一个圆形一个五角星", "一个圆形和", "五个圆形", "一个圆形在一个五角星", "一个圆形在一个五角星的", "一个圆形在",
    "一个圆形在两个五角星的左边", "图中只有一个圆形", "一个 圆形", "一个圆形。", "一个圆形，而且比它大", "a 圆形",
    "一个条纹的圆形", "一个带条纹的的圆形", "又在一个圆形的左边", "图中一个圆形", "一个红色蓝色圆形",
    "<pad>", "a circle <eos>",
]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_sentence_of_the_world_is_nothing(text):
    assert parse(text) is None
    assert true_of(text, SCENE) is None
    assert complete_of(text, SCENE) is None


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.lists(st.sampled_from(" ".join(BROKEN[:30]).split()), max_size=9).map(" ".join))
def test_whatever_the_text_it_is_judged(text):
    assert true_of(text, SCENE) in (True, False, None)


def test_a_word_more_or_less_is_noticed():
    """Few captions with a word left out, doubled or swapped for its neighbour say anything."""
    world, outcomes = World(min_objects=2), collections.Counter()
    for index in range(30):
        text = world.captions(index)[0]
        words, scene = text.split(" "), world.scene(index).as_dict()
        for i in range(len(words)):
            swapped = [*words[:i], *words[i + 1 : i + 2], words[i], *words[i + 2 :]]
            for changed in (words[:i] + words[i + 1 :], words[: i + 1] + words[i:], swapped):
                if " ".join(changed) != text:
                    outcomes[true_of(" ".join(changed), scene)] += 1
    assert outcomes[None] > 0.75 * outcomes.total()


def test_many_things_take_no_time():
    assert true_of(", ".join(["a circle"] * 40) + " and a circle", SCENE) is False


def test_a_scene_of_plain_data():
    scene = World().scene(0)
    assert scene_of(scene.as_dict()).as_dict() == scene.as_dict()


def test_meanings():
    circle, star = Description("circle", "red", "small", "solid"), Description("star")
    assert parse("a star") == Meaning((star,))
    assert parse("above a star is a small red solid circle") == Meaning((circle, star), (Relation("above", 0, 1),))
    assert parse("nothing but a star at the top left") == Meaning((star._replace(place="top left"),), only=True)
    assert parse("左上角有一个五角星，别无他物") == Meaning((star._replace(place="top left"),), only=True)
