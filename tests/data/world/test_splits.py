"""Held-out combinations never occur in training, in pictures or in words, and every evaluation scene holds one."""

import itertools

import pytest

from mmjax.data.world import World
from mmjax.data.world.scene import COLOURS, SHAPES
from mmjax.data.world.splits import ALLOWED, FORBIDDEN, HELD_OUT
from tests.data.world.reader import read


def looks(scene):
    return {(thing.shape, thing.colour) for thing in scene.things}


def test_every_word_is_held_out_equally_often():
    assert not set(HELD_OUT["val"]) & set(HELD_OUT["test"])
    for split in ("val", "test"):
        shapes, colours = zip(*HELD_OUT[split], strict=True)
        assert sorted(shapes) == sorted(SHAPES)
        assert sorted(colours) == sorted(COLOURS)
        assert set(ALLOWED[split]) == set(itertools.product(SHAPES, COLOURS)) - FORBIDDEN[split]


def test_the_split_is_fixed():
    """Changing it would make every published number incomparable."""
    assert sorted(HELD_OUT["val"]) == GOLDEN_VAL
    assert sorted(HELD_OUT["test"]) == GOLDEN_TEST


@pytest.mark.parametrize("seed", [0, 7])
def test_training_never_shows_a_held_out_combination(seed):
    world, seen = World("train", seed=seed), set()
    for index in range(0, len(world), len(world) // 2_500):
        seen |= looks(world.scene(index))
    assert seen == set(ALLOWED["train"])


def test_training_never_reads_of_one_either():
    world = World("train")
    for index in range(400):
        example = world[index]
        for text in (*example.streams["caption"], *example.streams["foil"], *example.truth["foils"].values()):
            for thing in read(text).things if text else ():
                assert (thing["shape"], thing["colour"]) in ALLOWED["train"], text


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize(("seed", "length"), [(0, None), (1, 100)])
def test_every_evaluation_scene_holds_one_of_its_own(split, seed, length):
    world = World(split, seed=seed, length=length)
    for index in range(len(world)):
        assert looks(world.scene(index)) & set(HELD_OUT[split])
        assert not looks(world.scene(index)) & FORBIDDEN[split]


GOLDEN_VAL = [
    ("circle", "black"), ("crescent", "purple"), ("cross", "red"), ("diamond", "orange"),
    ("heart", "green"), ("square", "blue"), ("star", "yellow"), ("triangle", "pink"),
]  # fmt: skip
GOLDEN_TEST = [
    ("circle", "red"), ("crescent", "yellow"), ("cross", "black"), ("diamond", "green"),
    ("heart", "orange"), ("square", "pink"), ("star", "purple"), ("triangle", "blue"),
]  # fmt: skip
