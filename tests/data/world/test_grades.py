"""Captions of less detail and more kinds of foils, both beside what was there before, which stays byte for byte."""

import collections
import hashlib
import json
import re

import pytest

from mmjax.data.sources import open_source
from mmjax.data.world import World
from mmjax.data.world.grades import GRADES, grades
from mmjax.data.world.parse import complete_of, parse, true_of
from tests.data.world.reader import SHAPES_ZH

KINDS = ("replace_shape", "replace_colour", "replace_size", "replace_texture")


def told(world, index):
    example = world[index]
    return [*example.streams["caption"], *example.streams["foil"], *example.truth["foils"].values()]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_what_is_said_by_default_is_fixed(split):
    """Models and published numbers depend on it."""
    said = [told(World(split, language="both", size=8, length=64), index) for index in range(60)]
    assert hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest() == GOLDEN[split]


def attributes(meaning):
    return {name for thing in meaning.things for name, value in thing._asdict().items() if value is not None}


def named(caption):
    """Shapes and how many of each, by words alone."""
    numbers = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4, "一": 1, "两": 2, "三": 3, "四": 4}
    caption = caption.removeprefix("a picture of ")
    english = re.findall(
        rf"\b(a|an|two|three|four) (?:\w+ ){{0,3}}?({'|'.join(SHAPES_ZH.values())})(?:e?s)?\b", caption
    )
    chinese = re.findall(rf"(一|两|三|四)个[^、和]*?({'|'.join(SHAPES_ZH)})", caption)
    counts = collections.Counter()
    for number, shape in english + chinese:
        counts[SHAPES_ZH.get(shape, shape)] += numbers[number]
    return counts


def shapes(scene):
    return collections.Counter(thing["shape"] for thing in scene["things"])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("language", ["en", "both"])
def test_graded_captions_rise_in_detail_and_are_true(split, language):
    world = World(split, language=language, detail="graded", captions_per_scene=8, length=60)
    plain = World(split, language=language, captions_per_scene=8, length=60)
    for index in range(40):
        truth, scene = world.truth(index), world.scene(index).as_dict()
        assert scene == plain.truth(index)["scene"]
        several = 2 if language == "both" else 1
        assert truth["grades"] == several * tuple(grade for grade in GRADES for _ in range(2))
        for caption, grade, full in zip(truth["captions"], truth["grades"], plain.captions(index), strict=True):
            assert complete_of(caption, scene), caption
            assert grade == "full" or named(caption) == shapes(scene), caption
            meaning = parse(caption)
            if grade == "full":
                assert caption == full
            else:
                expected = {"shapes": {"shape"}, "colours": {"shape", "colour"}}
                assert attributes(meaning) == expected.get(grade, {"shape", "colour", "size", "texture"})
                assert not meaning.relations and not meaning.only
        assert not any(true_of(foil, scene) is not False for foil in world._item(index)[1].foil_captions(language))
        assert len(set(truth["captions"])) == len(truth["captions"])


@pytest.mark.parametrize("detail", ["shapes", "colours", "things"])
def test_one_grade_alone(detail):
    world = World(detail=detail)
    for index in range(30):
        example = world[index]
        assert example.truth["grades"] == (detail,) * 4
        assert all(complete_of(caption, example.truth["scene"]) for caption in example.streams["caption"])
        assert all(true_of(foil, example.truth["scene"]) is False for foil in example.streams["foil"])
        assert all(true_of(t, example.truth["scene"]) is False for t in example.truth["foils"].values() if t)


def test_grades_by_number_of_captions():
    assert grades("graded", 4) == GRADES == ("shapes", "colours", "things", "full")
    assert grades("graded", 1) == ("full",)
    assert grades("graded", 2) == ("colours", "full")
    assert grades("shapes", 2) == ("shapes", "shapes")


def test_wording():
    world = World(detail="shapes", language="both", min_objects=4)
    captions = [caption for index in range(30) for caption in world.captions(index)]
    assert any(re.fullmatch(r"there are two \w+, an? \w+ and an? \w+", caption) for caption in captions)
    assert any(re.fullmatch(r"图中有一个\w+、一个\w+和两个\w+", caption) for caption in captions)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_replaced_words_make_a_caption_false(split, language):
    world = World(split, language=language, foil_kinds=["relation", *KINDS], length=60)
    plain, missing = World(split, language=language, length=60), 0
    for index in range(50):
        truth, before = world.truth(index), plain.truth(index)
        assert list(truth["foils"]) == ["relation", *KINDS]
        assert truth["foils"]["relation"] == before["foils"]["relation"] and truth["captions"] == before["captions"]
        meaning = parse(truth["captions"][0])
        for kind in KINDS:
            if (text := truth["foils"][kind]) is None:
                missing += 1
                continue
            assert true_of(text, truth["scene"]) is False
            changed = [
                name
                for a, b in zip(meaning.things, parse(text).things, strict=True)
                for name in a._fields
                if getattr(a, name) != getattr(b, name)
            ]
            assert changed == [kind.removeprefix("replace_")]
    assert missing < 10


def test_options_are_checked():
    source = open_source({"path": "world:scenes/val", "detail": "graded", "foil_kinds": ["replace_size"], "length": 9})
    assert list(source.truth(0)["foils"]) == ["replace_size"]
    with pytest.raises(ValueError, match="foil_kinds are some of colour, relation"):
        World(foil_kinds=("shape",))
    with pytest.raises(ValueError, match="captions_per_scene is 1 to 4 where they tell only of shapes"):
        World(detail="shapes", captions_per_scene=5)


GOLDEN = {"train": "1ee21d4f47dfb77a", "val": "cd3a0049e1c6ebb8", "test": "8918142c6aedb5f1"}
