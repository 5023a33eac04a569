"""Scenes made for a question and an answer that were drawn before, so that the question alone tells nothing."""

import dataclasses
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from mmjax.data.world.asking import Question, Reference, answer_of
from mmjax.data.world.scene import (
    COLOURS,
    SHAPES,
    SIZES,
    TEXTURES,
    Combination,
    Scene,
    Thing,
    arrange,
    number_of_things,
    place_relation,
)
from mmjax.data.world.splits import ALLOWED, HELD_OUT

TRIES = 20  # of one number of things, before there is one more of them
ACROSS = ("left of", "right of")


class Slot(NamedTuple):
    """What a thing may be, each attribute one of several values."""

    shape: Sequence[str] = SHAPES
    colour: Sequence[str] = COLOURS
    size: Sequence[str] = SIZES
    texture: Sequence[str] = TEXTURES

    def but(self, **values: str) -> "Slot":
        """The slot with some attributes settled."""
        return self._replace(**{name: (value,) for name, value in values.items()})

    def without(self, attribute: str, *values: str) -> "Slot":
        """The slot with any value of an attribute but these."""
        everything = getattr(Slot(), attribute)
        return self._replace(**{attribute: tuple(value for value in everything if value not in values)})


def slot(reference: Reference) -> Slot:
    """A thing that a reference is true of."""
    return Slot().but(**{name: value for name, value in reference._asdict().items() if value is not None})


class Draft(NamedTuple):
    """A question with the answer that its scene is to give it.

    Attributes:
      things: what must be in the scene.
      near: what is almost what is asked for; it is in the scene where there is room.
      rest: what all other things may be.
      place: the place relation of the first thing to the second.
    """

    question: Question
    answer: str
    things: tuple[Slot, ...]
    near: tuple[Slot, ...] = ()
    rest: Slot = Slot()
    place: str | None = None


def stage(draft: Draft, random: Random, split: str, least: int, most: int) -> Scene:
    """Draws a scene of the split in which the question has the answer.

    A number of things is the likelier the greater it is, as in `Recipe`; there are more where the draft needs them.
    """
    count, near = max(number_of_things(random, least, most), len(draft.things)), draft.near
    while True:
        for _ in range(TRIES):
            slots = [*draft.things, *near][:count]
            slots += [draft.rest] * (count - len(slots))
            scene = _scene(slots, random, split, draft.place)
            if scene and answer_of(draft.question, scene) == draft.answer:
                return scene
        near, count = near[:-1], min(count + 1, most)  # in val and test one thing must have the split's own look


def _scene(slots: Sequence[Slot], random: Random, split: str, place: str | None) -> Scene | None:
    """A scene with these things in any order; None where the looks that were drawn cannot be in one."""
    looks = [_look(slot, random, split) for slot in slots]
    own = HELD_OUT[split]
    if len(set(looks)) < len(looks) or (own and not any(look in own for look in looks)):
        return None
    scene = arrange(random, looks, [slot.size for slot in slots], [slot.texture for slot in slots])
    things = list(scene.things)
    if place:
        things = turned(things, place)
    for i in range(len(things) - 1, 0, -1):
        j = int(random.random() * (i + 1))
        things[i], things[j] = things[j], things[i]
    return Scene(tuple(things), scene.background)


def _look(slot: Slot, random: Random, split: str) -> Combination:
    allowed = _ALLOWED[split]
    while True:
        look = (
            slot.shape[int(random.random() * len(slot.shape))],
            slot.colour[int(random.random() * len(slot.colour))],
        )
        if look in allowed:
            return look


_ALLOWED = {split: frozenset(looks) for split, looks in ALLOWED.items()}


def turned(things: Sequence[Thing], place: str) -> list[Thing]:
    """The picture mirrored or turned so that the first thing stands so to the second. No distance changes."""
    points = [(thing.x, thing.y) for thing in things]
    if (place_relation(things[0], things[1]) in ACROSS) != (place in ACROSS):
        points = [(y, x) for x, y in points]
    (x, y), (u, v) = points[:2]
    first, second = (x, u) if place in ACROSS else (y, v)
    if (first < second) != (place in ("left of", "above")):
        points = [(1 - x, y) if place in ACROSS else (x, 1 - y) for x, y in points]
    return [dataclasses.replace(thing, x=x, y=y) for thing, (x, y) in zip(things, points, strict=True)]
