"""A scene told several times over: paraphrases, each with its foil, and the words for them in each language."""

import dataclasses
from random import Random

from mmjax.data.world import captions_en, captions_zh
from mmjax.data.world.captions_en import Style
from mmjax.data.world.meaning import Meaning, foil, plan
from mmjax.data.world.scene import Combination, Scene
from mmjax.data.world.splits import FORBIDDEN

LANGUAGES = {"en": (captions_en,), "zh": (captions_zh,), "both": (captions_en, captions_zh)}
MOST_CAPTIONS = 8  # of one scene in one language, all worded differently


@dataclasses.dataclass(frozen=True, slots=True)
class Telling:
    """What the captions of a scene say.

    Attributes:
      meanings: one a caption, all true of the scene.
      foils: one a caption, all false of the scene.
      styles: the wording that a caption and its foil share.
      foil_kinds: "colour" and "relation" foils of the first caption, None where it has none.
    """

    meanings: tuple[Meaning, ...]
    foils: tuple[Meaning, ...]
    styles: tuple[Style, ...]
    foil_kinds: dict[str, Meaning | None]

    def captions(self, language: str) -> tuple[str, ...]:
        """In "both", the English ones first; the Chinese ones say the same in the same order."""
        return self._words(self.meanings, language)

    def foil_captions(self, language: str) -> tuple[str, ...]:
        """Parallel to `captions`."""
        return self._words(self.foils, language)

    def first_foils(self, language: str) -> dict[str, str | None]:
        """The first caption made wrong, by kind."""
        words, style = LANGUAGES[language][0], self.styles[0]
        return {kind: wrong and words.caption(wrong, style) for kind, wrong in self.foil_kinds.items()}

    def _words(self, meanings: tuple[Meaning, ...], language: str) -> tuple[str, ...]:
        return tuple(
            words.caption(meaning, style)
            for words in LANGUAGES[language]
            for meaning, style in zip(meanings, self.styles, strict=True)
        )


def tell(scene: Scene, random: Random, split: str, count: int) -> Telling:
    """Draws `count` captions of a scene and their foils."""
    meanings = tuple(plan(scene, random) for _ in range(count))
    forbidden = FORBIDDEN[split]
    first = {kind: foil(meanings[0], scene, kind, random, forbidden) for kind in ("colour", "relation")}
    foils = tuple(_any_foil(meaning, scene, random, forbidden) for meaning in meanings)
    return Telling(meanings, foils, tuple(Style.draw(random, count)), first)


def _any_foil(meaning: Meaning, scene: Scene, random: Random, forbidden: frozenset[Combination]) -> Meaning:
    """Colours swapped or a relation turned, by lot, the other where that has none; of a lone thing, a word changed."""
    kinds = ("colour", "relation") if random.random() < 0.5 else ("relation", "colour")
    for kind in kinds if meaning.relations else ("attribute",):
        wrong = foil(meaning, scene, kind, random, forbidden)
        if wrong is not None:
            return wrong
    raise AssertionError("turning a relation of a scene's own things always makes it false")
