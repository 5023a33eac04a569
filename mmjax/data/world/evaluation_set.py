"""Evaluation sets: a caption is true of exactly one scene of its set; a quarter of the scenes are hard negatives."""

import functools
from collections import defaultdict
from random import Random
from typing import NamedTuple

from mmjax.data.world.hard import KINDS, variant
from mmjax.data.world.meaning import Description, Meaning, holds
from mmjax.data.world.recipe import Recipe
from mmjax.data.world.scene import Scene, Thing
from mmjax.data.world.telling import Telling
from mmjax.errors import UserError

EVERY = 4  # of so many scenes the last is a hard negative of the one before it
TRIES, VARIANTS = 500, 10


class Item(NamedTuple):
    """One scene of a set; `hard_of` is the index of the scene that this one differs from in one point, or None."""

    scene: Scene
    telling: Telling
    hard_of: int | None


@functools.lru_cache(maxsize=8)
def evaluation_set(recipe: Recipe, seed: int, length: int) -> tuple[Item, ...]:
    """Draws the set: always the same for the same arguments.

    Raises:
      UserError: the recipe has too few scenes for unique captions.
    """
    told = _Told()
    items: list[Item] = []
    while len(items) < length:
        index = len(items)
        random = Random(f"{recipe.split}/{seed}/{index}")
        for _ in range(TRIES):
            if new := _draw(recipe, random, told, index, paired=index % EVERY == EVERY - 2 and index + 1 < length):
                break
        else:
            raise UserError(
                f"world:scenes/{recipe.split}: found only {index} of {length} scenes with captions of their own; "
                "ask for a smaller length or more objects"
            )
        items += new
        for item in new:
            told.add(item.scene, item.telling)
    return tuple(items)


Look = tuple[str, str | None, str | None]  # (shape, colour, texture): what every caption tells of every thing


class _Told:
    """The scenes and captions so far, by look, so that only the few that could clash are compared."""

    def __init__(self) -> None:
        self.scenes: dict[Look, list[Scene]] = defaultdict(list)
        self.meanings: dict[Look, list[Meaning]] = defaultdict(list)

    def clashes(self, scene: Scene, telling: Telling) -> bool:
        """Whether a new caption is true of an old scene or an old caption of the new scene."""
        old = ((m, other) for m in telling.meanings for other in self.scenes[_look(m.things[0])])
        new = ((m, scene) for thing in scene.things for m in self.meanings[_look(thing)])
        return any(holds(*pair) for pair in old) or any(holds(*pair) for pair in new)

    def add(self, scene: Scene, telling: Telling) -> None:
        for thing in scene.things:
            self.scenes[_look(thing)].append(scene)
        for meaning in telling.meanings:
            self.meanings[_look(meaning.things[0])].append(meaning)


def _look(thing: Thing | Description) -> Look:
    return thing.shape, thing.colour, thing.texture


def _draw(recipe: Recipe, random: Random, told: _Told, index: int, paired: bool) -> list[Item]:
    """A scene, and if `paired` its hard negative too, the kinds in turn; nothing if what was drawn clashes."""
    item = _item(recipe, recipe.scene(random), random, told)
    if item is None or not paired:
        return [item] if item else []
    for _ in range(VARIANTS):
        scene = variant(item.scene, KINDS[index // EVERY % len(KINDS)], random, recipe.split)
        other = scene and _item(recipe, scene, random, told)
        if other and not _confusable(item, other):
            return [item, other._replace(hard_of=index)]
    return []


def _item(recipe: Recipe, scene: Scene, random: Random, told: _Told) -> Item | None:
    telling = recipe.tell(scene, random)
    return None if told.clashes(scene, telling) else Item(scene, telling, None)


def _confusable(a: Item, b: Item) -> bool:
    return any(holds(m, b.scene) for m in a.telling.meanings) or any(holds(m, a.scene) for m in b.telling.meanings)
