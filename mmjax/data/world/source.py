"""`world:scenes`: generated scenes as a source, every item a pure function of (split, seed, index)."""

import dataclasses
from random import Random
from typing import Any, Literal

from mmjax.batch import Example
from mmjax.data.world.evaluation_set import evaluation_set
from mmjax.data.world.grades import DETAILS, MOST_SHORT, grades, regrade
from mmjax.data.world.meaning import foil
from mmjax.data.world.recipe import Recipe
from mmjax.data.world.render import render
from mmjax.data.world.scene import Scene
from mmjax.data.world.splits import FORBIDDEN
from mmjax.data.world.telling import LANGUAGES, MOST_CAPTIONS, Telling

LENGTHS = {"train": 10_000_000, "val": 512, "test": 512}
MOST_OBJECTS = 4
FOIL_KINDS = ("colour", "relation", "replace_shape", "replace_colour", "replace_size", "replace_texture")


@dataclasses.dataclass(frozen=True)
class World:
    """Scenes of a few things with captions, foils and exact truth, made on the fly; nothing is stored or downloaded.

    Streams of an item: `image` uint8 `[size, size, 3]`, `caption` tuple of str, `foil` tuple of str in the same order.
    Truth: `captions`; `scene` (things and place relations as plain data); `foils` (`colour`: the first caption with the
    colours of two things swapped, `relation`: with one relation turned round; None where impossible); `hard_of` (index
    of the scene that this one differs from in one attribute or one relation, or None); where `detail` is not "full",
    `grades` (of the captions in order: "shapes", "colours", "things" or "full").

    Attributes:
      split: "train", "val" or "test". Held-out combinations of shape and colour occur in one of the latter two alone.
      seed: other seeds are other scenes, with the same combinations held out.
      size: side of the picture in pixels.
      min_objects, max_objects: from 1 to 4.
      language: of the captions; "both" gives the English ones, then the Chinese.
      captions_per_scene: paraphrases in each language, from 1 to 8; the first is the one for one-caption retrieval.
      length: number of items; by default ten million for train, 512 for val and test. In val and test every caption is
        true of exactly one scene, so a set is made as a whole, when first used: 512 scenes take about 0.2 s.
      detail: how much captions tell of the same scenes: "full" all; "shapes", "colours" (and shapes) and "things" (all
        they look like) list the things without relations, so that a caption may be true of several scenes; "graded" all
        of these, in rising detail, evenly over `captions_per_scene`.
      foil_kinds: those in `truth["foils"]`; also "replace_shape", "replace_colour", "replace_size", "replace_texture":
        one such word of the first caption changed, as in SugarCrepe (Hsieh et al., NeurIPS 2023).
    """

    split: Literal["train", "val", "test"] = "train"
    seed: int = 0
    size: int = 64
    min_objects: int = 1
    max_objects: int = MOST_OBJECTS
    language: Literal["en", "zh", "both"] = "en"
    captions_per_scene: int = 4
    length: int | None = None
    detail: Literal["full", "shapes", "colours", "things", "graded"] = "full"
    foil_kinds: tuple[str, ...] | list[str] = FOIL_KINDS[:2]

    def __post_init__(self) -> None:
        for key, known in (("split", LENGTHS), ("language", LANGUAGES), ("detail", DETAILS)):
            if getattr(self, key) not in known:
                raise ValueError(f"{key} must be one of {', '.join(known)}, got {getattr(self, key)!r}")
        if not 1 <= self.min_objects <= self.max_objects <= MOST_OBJECTS:
            raise ValueError(f"a scene has 1 to {MOST_OBJECTS} objects, got {self.min_objects} to {self.max_objects}")
        if not 1 <= self.captions_per_scene <= MOST_CAPTIONS:
            raise ValueError(f"captions_per_scene is 1 to {MOST_CAPTIONS}, got {self.captions_per_scene}")
        if self.detail in ("shapes", "colours") and self.captions_per_scene > MOST_SHORT:
            raise ValueError(f"captions_per_scene is 1 to {MOST_SHORT} where they tell only of {self.detail}")
        if not set(self.foil_kinds) <= set(FOIL_KINDS):
            raise ValueError(f"foil_kinds are some of {', '.join(FOIL_KINDS)}, got {', '.join(self.foil_kinds)}")
        if self.seed < 0 or self.size < 1 or len(self) < 1:
            raise ValueError("seed must not be negative; size and length must be at least 1")

    @property
    def name(self) -> str:
        return f"world:scenes/{self.split}"

    def __len__(self) -> int:
        return LENGTHS[self.split] if self.length is None else self.length

    def __getitem__(self, index: int) -> Example:
        scene, telling, hard_of = self._item(index)
        truth = self._truth(index, scene, telling, hard_of)
        streams = {
            "image": render(scene, self.size),
            "caption": truth["captions"],
            "foil": telling.foil_captions(self.language),
        }
        return Example(f"{self.split}/{self.seed}/{index}", streams, truth)

    def captions(self, index: int) -> tuple[str, ...]:
        """All captions of an item, without drawing its picture."""
        return self._item(index)[1].captions(self.language)

    def truth(self, index: int) -> dict[str, Any]:
        """`Example.truth`, without drawing the picture."""
        return self._truth(index, *self._item(index))

    def scene(self, index: int) -> Scene:
        """The scene itself, for sources that derive from it."""
        if self.split != "train":
            return self._item(index)[0]
        return self._recipe().scene(self._random(index))

    def _item(self, index: int) -> tuple[Scene, Telling, int | None]:
        recipe, random = self._recipe(), self._random(index)
        if self.split != "train":
            scene, telling, hard_of = evaluation_set(recipe, self.seed, len(self))[index]
        else:
            scene = recipe.scene(random)
            telling, hard_of = recipe.tell(scene, random), None
        if self.detail != "full":
            own = Random(f"grades/{self.split}/{self.seed}/{index}")
            telling = regrade(telling, scene, self._grades(), own, FORBIDDEN[self.split])
        return scene, telling, hard_of

    def _grades(self) -> tuple[str, ...]:
        return grades(self.detail, self.captions_per_scene)

    def _recipe(self) -> Recipe:
        return Recipe(self.split, self.min_objects, self.max_objects, self.captions_per_scene)

    def _random(self, index: int) -> Random:
        """All that decides about an item of training. Python promises the same `random()` in every version."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} items, asked for item {index}")
        return Random(self.seed << 64 | int(index))  # int, as a numpy integer has only 64 bits

    def _truth(self, index: int, scene: Scene, telling: Telling, hard_of: int | None) -> dict[str, Any]:
        truth = {
            "captions": telling.captions(self.language),
            "scene": scene.as_dict(),
            "foils": self._foils(index, scene, telling),
            "hard_of": hard_of,
        }
        if self.detail != "full":
            truth["grades"] = self._grades() * len(LANGUAGES[self.language])
        return truth

    def _foils(self, index: int, scene: Scene, telling: Telling) -> dict[str, str | None]:
        """The first caption made wrong, by kind; those that the telling has not are drawn here."""
        more = [kind for kind in self.foil_kinds if kind not in telling.foil_kinds]
        if more:
            own, forbidden = Random(f"foils/{self.split}/{self.seed}/{index}"), FORBIDDEN[self.split]
            wrong = {kind: foil(telling.meanings[0], scene, kind, own, forbidden) for kind in more}
            telling = dataclasses.replace(telling, foil_kinds=telling.foil_kinds | wrong)
        told = telling.first_foils(self.language)
        return {kind: told[kind] for kind in self.foil_kinds}
