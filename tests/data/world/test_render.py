"""Pictures: the same scene at any resolution, smooth edges, nothing cut off, attributes visible."""

import itertools

import numpy as np
import pytest

from mmjax.data.world import World
from mmjax.data.world import render as room
from mmjax.data.world.render import render
from mmjax.data.world.scene import COLOURS, RADII, SHAPES, SIZES, TEXTURES, Background, Scene, Thing

GREY = Background((0.8, 0.8, 0.8), (0.0, 0.0))


def alone(shape="square", colour="red", size="large", texture="solid"):
    return Scene((Thing(shape, colour, size, texture, 0.5, 0.5, RADII[size]),), GREY)


def inked(scene, size=64):
    """Share of the picture that is not background."""
    return float((np.abs(render(scene, size).astype(int) - 204).max(-1) > 16).mean())


@pytest.mark.parametrize("size", [1, 32, 64, 97, 224])
def test_any_resolution(size):
    pixels = render(World().scene(0), size)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8


def test_a_large_picture_reduced_is_the_small_one():
    """So edges are anti-aliased: the mutant with hard edges is far from it."""
    for index in range(30):
        scene = World().scene(index)
        large = render(scene, 512).astype(float).reshape(64, 8, 64, 8, 3).mean((1, 3))
        assert np.abs(large - render(scene, 64)).mean() < 1.0


def test_hard_edges_would_be_noticed(monkeypatch):
    scenes = [World(min_objects=4).scene(index) for index in range(30)]
    large = [render(scene, 512).astype(float).reshape(64, 8, 64, 8, 3).mean((1, 3)) for scene in scenes]
    monkeypatch.setattr(room, "_soft", lambda distance, sharpness: np.float32(distance < 0))
    assert np.mean([np.abs(a - render(scene, 64)).mean() for a, scene in zip(large, scenes, strict=True)]) > 1.0


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_leaves_its_box(shape, monkeypatch):
    scene = alone(shape)
    boxed = render(scene, 200)
    monkeypatch.setitem(room.REACH, shape, 2.0)
    assert (boxed == render(scene, 200)).all()
    monkeypatch.setitem(room.REACH, shape, 0.7)
    assert (boxed != render(scene, 200)).any()


def test_things_do_not_touch():
    """Each thing drawn alone changes pixels of its own."""
    for index in range(60):
        scene = World(min_objects=3).scene(index)
        empty = render(Scene((), scene.background), 128)
        marks = [(render(Scene((thing,), scene.background), 128) != empty).any(-1) for thing in scene.things]
        assert np.sum(marks, axis=0).max() == 1


def test_every_attribute_changes_the_picture_visibly():
    for attribute, values in (("shape", SHAPES), ("colour", COLOURS), ("texture", TEXTURES), ("size", SIZES)):
        for a, b in itertools.combinations(values, 2):
            for size in ("small", "large"):
                scenes = [alone(**({"size": size} | {attribute: value})) for value in (a, b)]
                difference = np.abs(render(scenes[0], 64).astype(int) - render(scenes[1], 64)).max(-1)
                assert (difference > 40).sum() >= 12, (attribute, a, b, size)


def test_sizes_grow():
    for shape in SHAPES:
        small, medium, large = (inked(alone(shape, size=size)) for size in SIZES)
        assert 1.4 * small < medium and 1.4 * medium < large


def test_left_is_left_and_up_is_up():
    thing = Thing("circle", "black", "small", "solid", 0.2, 0.3, 0.1)
    rows, columns = np.nonzero(render(Scene((thing,), GREY), 100).max(-1) < 60)
    assert (rows.mean() / 100, columns.mean() / 100) == pytest.approx((0.3, 0.2), abs=0.01)


def test_shapes_stand_upright():
    def tops(shape):
        dark = render(alone(shape, colour="black"), 100).max(-1) < 60
        return dark[:50].sum(), dark[50:].sum(), dark[:, :50].sum(), dark[:, 50:].sum()

    assert tops("triangle")[0] < tops("triangle")[1]
    assert tops("heart")[0] > tops("heart")[1]
    assert tops("crescent")[2] > tops("crescent")[3]


def test_backgrounds_vary_and_stay_in_range():
    corners = np.stack([render(World().scene(index), 64)[[0, -1]][:, [0, -1]] for index in range(200)]).astype(int)
    assert corners.min() > 150  # an overflow of a byte would be dark
    assert corners.reshape(200, -1).std(axis=0).min() > 5
