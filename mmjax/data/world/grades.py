"""Captions of less detail: the things alone, by shape, by colour and shape, or by all that they look like."""

import dataclasses
from collections.abc import Sequence
from random import Random

from mmjax.data.world.meaning import Description, Meaning, foil
from mmjax.data.world.scene import ATTRIBUTES, Combination, Scene
from mmjax.data.world.telling import Telling

# grade, from short to full → what it tells of each thing; "full" also relates them and is told by `Telling`
TOLD = {"shapes": ("shape",), "colours": ("shape", "colour"), "things": ATTRIBUTES}
GRADES = (*TOLD, "full")
DETAILS = (*GRADES, "graded")
MOST_SHORT = 4  # captions of one scene that differ in words, where no texture stands before or after a colour


def grades(detail: str, count: int) -> tuple[str, ...]:
    """The grade of each of `count` captions: of "graded", in rising detail, the last one full."""
    if detail != "graded":
        return (detail,) * count
    return tuple(GRADES[(len(GRADES) * (k + 1) - 1) // count] for k in range(count))


def regrade(
    telling: Telling, scene: Scene, wanted: Sequence[str], random: Random, forbidden: frozenset[Combination]
) -> Telling:
    """The same telling with some captions and their foils made shorter.

    Args:
      wanted: the grade of each caption.
      random: for the foils of those that are not full.
      forbidden: (shape, colour) that a foil must not name.
    """
    pairs = list(zip(telling.meanings, wanted, strict=True))
    meanings = tuple(shortened(meaning, scene, grade) for meaning, grade in pairs)
    foils = tuple(
        old if grade == "full" else _wrong(meaning, scene, random, forbidden)
        for meaning, grade, old in zip(meanings, wanted, telling.foils, strict=True)
    )
    first = telling.foil_kinds
    if wanted[0] != "full":
        first = {kind: foil(meanings[0], scene, kind, random, forbidden) for kind in first}
    return dataclasses.replace(telling, meanings=meanings, foils=foils, foil_kinds=first)


def shortened(meaning: Meaning, scene: Scene, grade: str) -> Meaning:
    """The things of a full meaning of the scene, in its order, with what the grade tells of them."""
    if grade == "full":
        return meaning
    things = {(thing.shape, thing.colour): thing for thing in scene.things}
    told = [things[thing.shape, thing.colour or ""] for thing in meaning.things]
    return Meaning(tuple(Description(**{name: getattr(thing, name) for name in TOLD[grade]}) for thing in told))


def _wrong(meaning: Meaning, scene: Scene, random: Random, forbidden: frozenset[Combination]) -> Meaning:
    """Two colours swapped, or where that has none a word changed."""
    for kind in ("colour", "attribute"):
        wrong = foil(meaning, scene, kind, random, forbidden)
        if wrong is not None:
            return wrong
    raise AssertionError("a scene of at most four things lacks some shape")
