"""Hard negatives: a scene changed in exactly one attribute of one thing, or in exactly one relation."""

import dataclasses
from collections.abc import Sequence
from random import Random
from typing import Any

from mmjax.data.world.meaning import VALUES
from mmjax.data.world.scene import (
    ATTRIBUTES,
    GAP,
    Scene,
    Thing,
    place_relation,
    radius_of,
    separate,
)
from mmjax.data.world.splits import FORBIDDEN, HELD_OUT

KINDS = (*ATTRIBUTES, "relation")


def variant(scene: Scene, kind: str, random: Random, split: str) -> Scene | None:
    """The scene with one attribute of one thing changed or, for the kind "relation", two things in each other's place.

    Returns:
      A scene that the split may hold; None where what was drawn gives none (draw again).
    """
    things = _swap(scene.things, random) if kind == "relation" else _change(scene.things, kind, random)
    return Scene(tuple(things), scene.background) if _possible(things, split) else None


def _change(things: Sequence[Thing], attribute: str, random: Random) -> list[Thing]:
    changed = list(things)
    i = int(random.random() * len(things))
    values = [value for value in VALUES[attribute] if value != getattr(things[i], attribute)]
    value = values[int(random.random() * len(values))]
    radius = radius_of(value, random.random()) if attribute == "size" else things[i].radius
    new: dict[str, Any] = {attribute: value, "radius": radius}
    changed[i] = dataclasses.replace(things[i], **new)
    return changed


def _swap(things: Sequence[Thing], random: Random) -> list[Thing]:
    """Two things in each other's place; none, if that changes more than the relation between the two."""
    if len(things) < 2:
        return []
    i = int(random.random() * len(things))
    j = (i + 1 + int(random.random() * (len(things) - 1))) % len(things)
    a, b = things[i], things[j]
    swapped = list(things)
    swapped[i], swapped[j] = dataclasses.replace(a, x=b.x, y=b.y), dataclasses.replace(b, x=a.x, y=a.y)
    return swapped if _turned(things, swapped) == 1 else []


def _turned(before: Sequence[Thing], after: Sequence[Thing]) -> int:
    """How many pairs stand in another place relation than before."""
    pairs = [(i, j) for j in range(len(before)) for i in range(j)]
    return sum(place_relation(before[i], before[j]) != place_relation(after[i], after[j]) for i, j in pairs)


def _possible(things: Sequence[Thing], split: str) -> bool:
    """Whether these things make a scene of the split: distinct, apart, inside, with one of its own combinations."""
    looks = {(thing.shape, thing.colour) for thing in things}
    inside = all(
        t.radius + GAP <= t.x <= 1 - t.radius - GAP and t.radius + GAP <= t.y <= 1 - t.radius - GAP for t in things
    )
    apart = all(separate(things[i], things[j]) for j in range(len(things)) for i in range(j))
    own = not looks.isdisjoint(HELD_OUT[split]) and looks.isdisjoint(FORBIDDEN[split])
    return own and inside and apart and len(looks) == len(things)
