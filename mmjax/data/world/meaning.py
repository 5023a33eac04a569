"""What a caption says, apart from its words; whether that is true of a scene; and how it is made wrong.

A meaning is a list of descriptions and of relations between them. It is true of a scene if different things of
the scene fit the descriptions and stand in the relations; the scene may hold more, unless the meaning says `only`.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import NamedTuple

from mmjax.data.world.scene import (
    ATTRIBUTES,
    COLOURS,
    OPPOSITE,
    PLACES,
    SHAPES,
    SIZES,
    TEXTURES,
    Combination,
    Scene,
    Thing,
    place_of,
    place_relation,
    size_relation,
)

COMPARED = 0.25  # share of the captions that compare two sizes, where sizes differ, in place of naming them
VALUES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "texture": TEXTURES, "place": PLACES}


class Description(NamedTuple):
    """One thing as a caption puts it; None for what it leaves open."""

    shape: str
    colour: str | None = None
    size: str | None = None
    texture: str | None = None
    place: str | None = None


class Relation(NamedTuple):
    """`kind` (a key of `OPPOSITE`) holds between two descriptions, by their positions in the meaning."""

    kind: str
    subject: int
    object: int


class Meaning(NamedTuple):
    """What a caption says. Relations of the same two descriptions follow each other, place first."""

    things: tuple[Description, ...]
    relations: tuple[Relation, ...] = ()
    only: bool = False


def holds(meaning: Meaning, scene: Scene) -> bool:
    """Whether the meaning is true of the scene."""
    if len(meaning.things) > len(scene.things) or (meaning.only and len(scene.things) != len(meaning.things)):
        return False
    fitting = []
    for wanted in meaning.things:
        fitting.append([thing for thing in scene.things if fits(wanted, thing)])
        if not fitting[-1]:
            return False
    for chosen in itertools.product(*fitting):
        if len(set(map(id, chosen))) == len(chosen) and _related(meaning.relations, chosen):
            return True
    return False


def fits(wanted: Description, thing: Thing) -> bool:
    """Whether a description is true of a thing."""
    shape, colour, size, texture, place = wanted
    return (
        shape == thing.shape
        and (colour is None or colour == thing.colour)
        and (texture is None or texture == thing.texture)
        and (size is None or size == thing.size)
        and (place is None or place == place_of(thing))
    )


def _related(relations: Sequence[Relation], chosen: Sequence[Thing]) -> bool:
    for kind, i, j in relations:
        if kind != place_relation(chosen[i], chosen[j]) and kind != size_relation(chosen[i], chosen[j]):
            return False
    return True


def plan(scene: Scene, random: Random) -> Meaning:
    """Draws a meaning that is true of the scene and describes all its things.

    One thing: with its place, and that it is alone. Several: each linked to another by a place relation; at times the
    sizes of two of them are compared in place of named, so that the comparison cannot be read off the words.
    """
    draw = random.random
    things = list(scene.things)
    if len(things) == 1:
        return Meaning((_describe(things[0], place=place_of(things[0])),), only=True)
    for i in range(len(things) - 1, 0, -1):
        j = int(draw() * (i + 1))
        things[i], things[j] = things[j], things[i]
    links = _links(len(things), draw() < 0.5)
    unequal = [(i, j) for i, j in links if things[i].size != things[j].size]
    compared = unequal[int(draw() * len(unequal))] if unequal and draw() < COMPARED else ()
    relations = []
    for i, j in links:
        relations.append(Relation(place_relation(things[i], things[j]), i, j))
        if (i, j) == compared:
            relations.append(Relation(size_relation(things[i], things[j]) or "", i, j))
    return Meaning(tuple(_describe(thing, sized=i not in compared) for i, thing in enumerate(things)), tuple(relations))


def _describe(thing: Thing, sized: bool = True, place: str | None = None) -> Description:
    return Description(thing.shape, thing.colour, thing.size if sized else None, thing.texture, place)


def _links(count: int, star: bool) -> tuple[tuple[int, int], ...]:
    """Which descriptions are related: all to the first (a star); or else a chain of three, or two pairs of four."""
    if count == 2:
        return ((0, 1),)
    if star:
        return tuple((0, i) for i in range(1, count))
    return ((0, 1), (1, 2)) if count == 3 else ((0, 1), (2, 3))


def foil(
    meaning: Meaning, scene: Scene, kind: str, random: Random, forbidden: frozenset[Combination]
) -> Meaning | None:
    """The meaning made wrong in one point.

    Args:
      meaning: true of `scene`.
      kind: "colour" swaps the colours of two things, "relation" turns one relation round, "attribute" changes one word
        about a lone thing, "replace_shape" a word of that attribute; so "replace_colour", "replace_size" and
        "replace_texture".
      forbidden: (shape, colour) that a foil must not name, so that training never reads of those held out.

    Returns:
      A meaning that is false of the scene; None where that kind has none.
    """
    options, change = _WRONG[kind]
    edits = options(meaning)
    start = int(random.random() * len(edits))
    for edit in edits[start:] + edits[:start]:
        wrong = change(meaning, *edit)
        if forbidden.isdisjoint([(thing.shape, thing.colour) for thing in wrong.things]) and not holds(wrong, scene):
            return wrong
    return None


def _colour_pairs(meaning: Meaning) -> list[tuple[int, int]]:
    things = meaning.things
    return [(i, j) for j in range(len(things)) for i in range(j) if things[i].colour != things[j].colour]


def _swap_colours(meaning: Meaning, i: int, j: int) -> Meaning:
    things = list(meaning.things)
    a, b = things[i], things[j]
    things[i] = Description(a.shape, b.colour, a.size, a.texture, a.place)
    things[j] = Description(b.shape, a.colour, b.size, b.texture, b.place)
    return Meaning(tuple(things), meaning.relations, meaning.only)


def _turnable(meaning: Meaning) -> list[tuple[int]]:
    """Where sizes are compared it is the comparison that turns, else any place relation."""
    kinds = [relation.kind for relation in meaning.relations]
    compared = [(i,) for i, kind in enumerate(kinds) if kind in ("larger than", "smaller than")]
    return compared or [(i,) for i in range(len(kinds))]


def _turn(meaning: Meaning, i: int) -> Meaning:
    kind, subject, other = meaning.relations[i]
    turned = Relation(OPPOSITE[kind], subject, other)
    return Meaning(meaning.things, (*meaning.relations[:i], turned, *meaning.relations[i + 1 :]), meaning.only)


def _words(meaning: Meaning, attributes: Sequence[str] = tuple(VALUES)) -> list[tuple[int, str, str]]:
    """(thing, attribute, another value) for all that is told of the things."""
    return [
        (i, attribute, value)
        for i, thing in enumerate(meaning.things)
        for attribute in attributes
        for value in VALUES[attribute]
        if getattr(thing, attribute) not in (None, value)
    ]


def _change_word(meaning: Meaning, i: int, attribute: str, value: str) -> Meaning:
    changed = meaning.things[i]._replace(**{attribute: value})
    return Meaning((*meaning.things[:i], changed, *meaning.things[i + 1 :]), meaning.relations, meaning.only)


# kind -> (what could be changed in a meaning, the change)
_WRONG: dict[str, tuple[Callable[[Meaning], list], Callable[..., Meaning]]] = {
    "colour": (_colour_pairs, _swap_colours),
    "relation": (_turnable, _turn),
    "attribute": (_words, _change_word),
    **{f"replace_{name}": (partial(_words, attributes=(name,)), _change_word) for name in ATTRIBUTES},
}
