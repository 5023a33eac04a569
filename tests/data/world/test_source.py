"""World keeps the contract of a source: random access, no state, truth without pixels."""

import dataclasses
import pickle

import numpy as np
import pytest

from mmjax.data.world import WORLDS, World


def test_an_item():
    example = World("train", size=48)[5]
    assert example.id == "train/0/5"
    assert example.streams["image"].shape == (48, 48, 3)
    assert example.streams["image"].dtype == np.uint8
    assert len(example.streams["caption"]) == len(example.streams["foil"]) == 4
    assert set(example.truth) == {"captions", "scene", "foils", "hard_of"}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_item_depends_on_seed_and_index_alone(split):
    world = World(split, length=40)
    copy = pickle.loads(pickle.dumps(world))
    for index in (17, 3, 17, 39):
        a, b = world[index], copy[index]
        assert a.truth == b.truth and a.streams["caption"] == b.streams["caption"]
        assert (a.streams["image"] == b.streams["image"]).all()
    assert World(split, seed=1, length=40)[3].truth != world[3].truth


@pytest.mark.parametrize("split", ["train", "test"])
def test_captions_and_truth_without_pixels_are_those_of_the_item(split):
    world = World(split, language="both", length=40)
    for index in range(20):
        example = world[index]
        assert world.captions(index) == example.streams["caption"] == example.truth["captions"]
        assert world.truth(index) == example.truth


def test_the_scene_does_not_depend_on_how_it_is_shown():
    for change in ({"size": 96}, {"language": "zh"}, {"length": 700}):
        assert dataclasses.replace(World("train"), **change).scene(600) == World("train").scene(600)


def test_numbers_of_objects():
    for least, most in ((1, 1), (2, 3), (4, 4)):
        counts = {len(World(min_objects=least, max_objects=most).scene(i).things) for i in range(60)}
        assert counts == set(range(least, most + 1))


def test_lengths():
    assert len(World("train")) == 10_000_000
    assert len(World("val")) == len(World("test")) == 512
    assert len(World("train", length=3)) == 3
    with pytest.raises(IndexError, match="3 items"):
        World("train", length=3)[3]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_objects": 0}, "1 to 4 objects"),
        ({"max_objects": 5}, "1 to 4 objects"),
        ({"min_objects": 3, "max_objects": 2}, "1 to 4 objects"),
        ({"captions_per_scene": 9}, "1 to 8"),
        ({"length": 0}, "at least 1"),
        ({"seed": -1}, "not be negative"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        World(**wrong)


def test_the_room_lists_its_worlds():
    assert WORLDS["scenes"] is World
