"""Captions, read back by a reader of their words alone, say what was meant, are true, and their foils are not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjax.data.world import World, captions_en, captions_zh
from mmjax.data.world.captions_en import Style
from mmjax.data.world.meaning import Description, Meaning, Relation
from tests.data.world.reader import read, true_of

CIRCLE = Description("circle", "red", "small", "striped")
SQUARE = Description("square", "blue", "large", "solid")
STAR = Description("star", "green", "medium", "dotted")
ORANGE = Description("heart", "orange", None, "hollow")


@pytest.mark.parametrize(
    ("meaning", "style", "english", "chinese"),
    [
        (
            Meaning((CIRCLE, SQUARE), (Relation("left of", 0, 1),)), Style(0, 0, True),
            "a small red striped circle left of a large blue solid square",
            "一个小的红色条纹圆形在一个大的蓝色实心正方形的左边",
        ),
        (
            Meaning((CIRCLE, SQUARE), (Relation("left of", 0, 1),)), Style(3, 1, False),
            "to the left of a big solid blue square is a little striped red circle",
            "一个大号实心蓝色正方形的左侧有一个小号带条纹的红色圆形",
        ),
        (
            Meaning((ORANGE, CIRCLE._replace(size=None)), (Relation("above", 0, 1), Relation("larger than", 0, 1))),
            Style(1, 0, True),
            "an orange hollow heart is above and larger than a red striped circle",
            "一个橙色空心心形位于一个红色条纹圆形的上面，而且比它大",
        ),
        (
            Meaning((CIRCLE, SQUARE, STAR), (Relation("left of", 0, 1), Relation("above", 1, 2))), Style(0, 0, True),
            "a small red striped circle left of a large blue solid square, which is above a medium green dotted star",
            "一个小的红色条纹圆形在一个大的蓝色实心正方形的左边，后者在一个中等大小的绿色波点五角星的上面",
        ),
        (
            Meaning((CIRCLE, SQUARE, ORANGE), (Relation("left of", 0, 1), Relation("above", 0, 2))), Style(1, 1, True),
            "a little red striped circle is to the left of a big blue solid square and above an orange hollow heart",
            "一个小号红色条纹圆形位于一个大号蓝色实心正方形的左侧，又在一个橙色空心心形的上方",
        ),
        (
            Meaning((CIRCLE._replace(place="top left"),), only=True), Style(0, 0, True),
            "only a small red striped circle at the top left",
            "图中只有一个小的红色条纹圆形，在左上角",
        ),
    ],
)  # fmt: skip
def test_wording(meaning, style, english, chinese):
    assert captions_en.caption(meaning, style) == english
    assert captions_zh.caption(meaning, style) == chinese


@settings(max_examples=150, deadline=None)
@given(index=st.integers(0, 10**6), objects=st.integers(1, 4))
def test_captions_are_true_and_foils_false_in_both_languages(index, objects):
    world = World(min_objects=objects, max_objects=objects, language="both", captions_per_scene=8)
    example = world[index]
    scene, captions, foils = example.truth["scene"], example.streams["caption"], example.streams["foil"]
    assert len(captions) == len(foils) == len(set(captions)) == 16
    for caption, foil in zip(captions, foils, strict=True):
        assert true_of(read(caption), scene), caption
        assert not true_of(read(foil), scene), foil
    for english, chinese in zip(captions[:8], captions[8:], strict=True):
        assert same(read(english), read(chinese)), (english, chinese)
    assert max(len(caption.split()) for caption in captions) <= 40


def same(a, b) -> bool:
    """Whether two claims say the same; inverted order numbers the things the other way round."""

    def said(claim):
        names = [tuple(sorted(thing.items())) for thing in claim.things]
        return sorted(names), sorted((kind, names[i], names[j]) for kind, i, j in claim.relations), claim.place

    return said(a) == said(b)


@pytest.mark.parametrize("mutant", [{"turn": True}, {"blind_to": "colour"}])
def test_the_reader_tells_right_from_wrong(mutant):
    world = World(min_objects=2)
    right, wrong = [], []
    for index in range(200):
        example = world[index]
        for caption, foil in zip(example.streams["caption"], example.streams["foil"], strict=True):
            right.append(true_of(read(caption), example.truth["scene"], **mutant))
            wrong.append(true_of(read(foil), example.truth["scene"], **mutant))
    assert not all(right) or any(wrong)


def test_first_foils_change_what_they_say_they_change():
    world = World(min_objects=2)
    for index in range(300):
        truth = world.truth(index)
        claim = read(truth["captions"][0])
        relation, colour = read(truth["foils"]["relation"]), truth["foils"]["colour"]
        assert relation.things == claim.things or relation.things == claim.things[::-1]
        assert sum(a != b for a, b in zip(claim.relations, relation.relations, strict=True)) == 1
        if colour:
            changed = [a for a, b in zip(claim.things, read(colour).things, strict=True) if a != b]
            assert len(changed) == 2
            assert sorted(t["colour"] for t in read(colour).things) == sorted(t["colour"] for t in claim.things)
            assert not true_of(read(colour), truth["scene"])


def test_a_lone_thing_has_no_colours_to_swap_nor_a_relation_to_turn():
    truth = World(max_objects=1).truth(3)
    assert truth["foils"] == {"colour": None, "relation": None}
