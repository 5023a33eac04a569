"""Scenes as drawn: things apart, inside, distinct, and related by a visible margin."""

import itertools
import random

import pytest

from mmjax.data.world.scene import (
    DOMINANCE,
    OPPOSITE,
    PLACES,
    RADII,
    SIZES,
    TEXTURES,
    Background,
    Scene,
    Thing,
    place_of,
    place_relation,
    sample,
    size_relation,
)
from mmjax.data.world.splits import ALLOWED

SCENES = {
    count: [sample(random.Random(i), count, ALLOWED["train"], ALLOWED["train"]) for i in range(400)]
    for count in (1, 2, 3, 4)
}


@pytest.mark.parametrize("count", SCENES)
def test_things_are_inside_apart_and_distinct(count):
    for scene in SCENES[count]:
        assert len({(thing.shape, thing.colour) for thing in scene.things}) == count
        for thing in scene.things:
            assert all(thing.radius < middle < 1 - thing.radius for middle in (thing.x, thing.y))
        for a, b in itertools.combinations(scene.things, 2):
            across, down = abs(a.x - b.x), abs(a.y - b.y)
            assert (across**2 + down**2) ** 0.5 > a.radius + b.radius
            assert max(across, down) >= DOMINANCE * min(across, down)


@pytest.mark.parametrize("count", SCENES)
def test_every_value_occurs(count):
    things = [thing for scene in SCENES[count] for thing in scene.things]
    assert {(t.shape, t.colour) for t in things} == set(ALLOWED["train"])
    for attribute, values in (("size", SIZES), ("texture", TEXTURES)):
        found = [getattr(thing, attribute) for thing in things]
        assert all(found.count(value) > len(things) / 10 for value in values)
    if count == 1:
        assert {place_of(thing) for thing in things} == set(PLACES)


def test_sizes_are_clearly_distinct():
    for smaller, larger in itertools.pairwise(SIZES):
        assert RADII[larger] * 0.96 > 1.2 * RADII[smaller] * 1.04


def test_relations_are_those_a_viewer_sees():
    left, right = (
        Thing("circle", "red", "small", "solid", 0.2, 0.5, 0.1),
        Thing("star", "blue", "large", "solid", 0.8, 0.4, 0.19),
    )
    assert (place_relation(left, right), place_relation(right, left)) == ("left of", "right of")
    assert (size_relation(left, right), size_relation(right, left)) == ("smaller than", "larger than")
    high = Thing("heart", "pink", "small", "solid", 0.3, 0.1, 0.1)
    assert (place_relation(high, left), place_relation(left, high)) == ("above", "below")
    assert size_relation(high, left) is None


def test_relations_are_each_others_opposites():
    for scene in SCENES[4]:
        for a, b in itertools.permutations(scene.things, 2):
            assert place_relation(a, b) == OPPOSITE[place_relation(b, a)]


def test_scene_as_plain_data():
    a = Thing("circle", "red", "small", "solid", 0.25, 0.5, 0.1)
    b = Thing("star", "blue", "large", "hollow", 0.75, 0.5, 0.19)
    plain = Scene((a, b), Background((0.8, 0.8, 0.8), (0.0, 0.0))).as_dict()
    assert plain["relations"] == [(0, "left of", 1), (1, "right of", 0)]
    assert plain["things"][1] == {
        "shape": "star", "colour": "blue", "size": "large", "texture": "hollow", "x": 0.75, "y": 0.5, "radius": 0.19,
    }  # fmt: skip
