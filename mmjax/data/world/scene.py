"""What a scene is made of, and how one is drawn: the ground truth that pictures, captions and questions derive from.

Coordinates: x to the right, y downwards, the side of the picture is 1. Every two things of a scene differ in colour or
shape, do not touch, and stand in exactly one of the four place relations by a visible margin (`DOMINANCE`), so that
no caption is ever true or false by a hair.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from random import Random
from typing import Any

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "heart", "crescent")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
SIZES = ("small", "medium", "large")
TEXTURES = ("solid", "striped", "dotted", "hollow")
PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
ATTRIBUTES = ("shape", "colour", "size", "texture")
OPPOSITE = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "larger than": "smaller than",
    "smaller than": "larger than",
}

RADII = {"small": 0.1, "medium": 0.14, "large": 0.19}  # each varies by ±4 %, far less than the classes differ
GAP = 0.03  # free space between two things, and between a thing and the edge
DOMINANCE = 1.3  # the longer of the two distances (across, down) is at least this many times the other
CELLS = (0.26, 0.5, 0.74)  # where the middle of a lone thing stands, ±JITTER
JITTER = 0.03

Combination = tuple[str, str]  # (shape, colour)


@dataclasses.dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene.

    Attributes:
      x, y: its middle, in units of the side.
      radius: of the disc that it about fills.
      shade: brightness of its colour, a little below 1.
    """

    shape: str
    colour: str
    size: str
    texture: str
    x: float
    y: float
    radius: float
    shade: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Background:
    """A plain pale colour that brightens along one direction: rgb in [0, 1], slope per side."""

    rgb: tuple[float, float, float]
    slope: tuple[float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """Things in no order that a picture could show, and what lies behind them."""

    things: tuple[Thing, ...]
    background: Background

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `Example.truth`: attributes, middles and radii of all things, and their place relations."""
        things = [
            {
                "shape": t.shape, "colour": t.colour, "size": t.size, "texture": t.texture,
                "x": t.x, "y": t.y, "radius": t.radius,
            }
            for t in self.things
        ]  # fmt: skip
        pairs = [(i, j) for i in range(len(things)) for j in range(len(things)) if i != j]
        relations = [(i, place_relation(self.things[i], self.things[j]), j) for i, j in pairs]
        return {"things": things, "relations": relations}


def place_relation(a: Thing, b: Thing) -> str:
    """Where `a` stands, seen from `b`: exactly one of the four."""
    across, down = b.x - a.x, b.y - a.y
    if abs(across) > abs(down):
        return "left of" if across > 0 else "right of"
    return "above" if down > 0 else "below"


def size_relation(a: Thing, b: Thing) -> str | None:
    """ "larger than" or "smaller than" by size class; None where the classes are equal."""
    difference = SIZES.index(a.size) - SIZES.index(b.size)
    return None if difference == 0 else "larger than" if difference > 0 else "smaller than"


def place_of(thing: Thing) -> str:
    """The ninth of the picture that its middle is in. Clear for a lone thing; captions tell it of no other."""
    column, row = min(int(thing.x * 3), 2), min(int(thing.y * 3), 2)
    return PLACES[3 * row + column]


def number_of_things(random: Random, least: int, most: int) -> int:
    """A number between the two, the likelier the greater it is."""
    counts = range(least, most + 1)
    lot = random.random() * sum(counts)
    return next(n for n, upto in zip(counts, itertools.accumulate(counts), strict=True) if lot < upto)


def sample(random: Random, count: int, combinations: Sequence[Combination], first: Sequence[Combination]) -> Scene:
    """Draws a scene.

    Args:
      random: all that decides; a function of (seed, index).
      count: number of things.
      combinations: the (shape, colour) that may occur.
      first: those that the first thing is drawn from, so that an evaluation scene holds one of its split's own.
    """
    draw = random.random
    looks = [_choose(draw(), first)]
    while len(looks) < count:
        look = _choose(draw(), combinations)
        if look not in looks:
            looks.append(look)
    return arrange(random, looks, [SIZES] * count, [TEXTURES] * count)


def arrange(
    random: Random,
    looks: Sequence[Combination],
    sizes: Sequence[Sequence[str]],
    textures: Sequence[Sequence[str]],
) -> Scene:
    """Draws what is left of a scene whose shapes and colours are known.

    Args:
      looks: different ones, of one to four things.
      sizes, textures: for each thing those that it may have. At most two may have to be large: more find no room.
    """
    spots = _lone_spot(random, sizes[0]) if len(looks) == 1 else _spots(random, sizes)
    draw = random.random
    things = []
    for (shape, colour), (size, x, y, radius), allowed in zip(looks, spots, textures, strict=True):
        texture, shade = _choose(draw(), allowed), 0.86 + 0.14 * draw()
        things.append(Thing(shape, colour, size, texture, x, y, radius, shade))
    return Scene(tuple(things), _background(random))


def separate(a: Thing, b: Thing) -> bool:
    """Whether two things keep their distance and the margin of their place relation."""
    return _apart(a.x - b.x, a.y - b.y, a.radius + b.radius + GAP)


def _choose(unit: float, options: Sequence) -> Any:
    return options[int(unit * len(options))]


def _apart(across: float, down: float, distance: float) -> bool:
    across, down = abs(across), abs(down)
    if across < DOMINANCE * down and down < DOMINANCE * across:
        return False
    return across * across + down * down >= distance * distance


def radius_of(size: str, unit: float) -> float:
    """Radius of a thing of this size class; `unit` in [0, 1) varies it."""
    return RADII[size] * (0.96 + 0.08 * unit)


def _lone_spot(random: Random, sizes: Sequence[str]) -> list[tuple[str, float, float, float]]:
    draw = random.random
    size = _choose(draw(), sizes)
    x, y = (_choose(draw(), CELLS) + JITTER * (2 * draw() - 1) for _ in range(2))
    return [(size, x, y, radius_of(size, draw()))]


def _free(x: float, y: float, radius: float, spots: Sequence[tuple[str, float, float, float]]) -> bool:
    """Whether a thing may stand here, given those that stand already."""

    for _, u, v, r in spots:  # noqa: SIM110
        if not _apart(x - u, y - v, radius + r + GAP):
            return False
    return True


def _spots(random: Random, sizes: Sequence[Sequence[str]]) -> list[tuple[str, float, float, float]]:
    """(size, x, y, radius) of several things; starts anew, sizes too, when one finds no room (four large never do)."""
    draw = random.random
    while True:
        spots: list[tuple[str, float, float, float]] = []
        for allowed in sizes:
            size = _choose(draw(), allowed)
            radius = radius_of(size, draw())
            low, room = radius + GAP, 1 - 2 * (radius + GAP)
            for _ in range(12):
                x, y = low + room * draw(), low + room * draw()
                if _free(x, y, radius, spots):
                    spots.append((size, x, y, radius))
                    break
            else:
                break
        if len(spots) == len(sizes):
            return spots


def _background(random: Random) -> Background:
    draw = random.random
    grey = 0.81 + 0.08 * draw()  # with tint and slope at most 1
    rgb = (grey + 0.05 * draw(), grey + 0.05 * draw(), grey + 0.05 * draw())
    return Background(rgb, (0.12 * draw() - 0.06, 0.12 * draw() - 0.06))
