"""`world:questions`: questions on generated scenes, every item a pure function of (split, seed, index)."""

import dataclasses
from random import Random
from typing import Any, Literal

from mmjax.batch import Example
from mmjax.data.world import questions_en, questions_zh
from mmjax.data.world.asking import TYPES, Question, possible_answers, refers
from mmjax.data.world.drafting import draft
from mmjax.data.world.render import render
from mmjax.data.world.scene import Scene
from mmjax.data.world.splits import HELD_OUT
from mmjax.data.world.staging import stage

LENGTHS = {"train": 10_000_000, "val": 2_048, "test": 2_048}
MOST_OBJECTS = 4
WORDS = {"en": questions_en, "zh": questions_zh}
LANGUAGES = (*WORDS, "both")


@dataclasses.dataclass(frozen=True)
class Questions:
    """Questions with one right answer each, on scenes by the rules of `world:scenes`; nothing is stored or downloaded.

    The question is drawn first, then the answer, evenly among those that the question admits, then a scene for both: so
    the question alone tells nothing of the answer; `asking.chance` says how often a guess is right. Every type is as
    frequent as any other. Streams of an item: `image` uint8 `[size, size, 3]`, `question` and `answer`, tuples of one
    str. Truth: `question`, `answers`, `question_type`, `language`, `scene` as in `world:scenes`, and `held_out`:
    whether a thing that the question names or is about has a look of the split's own.

    Attributes:
      split: "train", "val" or "test". Held-out combinations of shape and colour occur in one of the latter two alone.
      seed: other seeds are other questions, with the same combinations held out.
      size: side of the picture in pixels.
      min_objects, max_objects: from 1 to 4, the latter from 2, as a question is never about all that a picture shows.
      language: of question and answer; "both" takes either by lot.
      types: those of `asking.TYPES` that are asked; None for all.
      length: number of items; by default ten million for train, 2,048 for val and test.
    """

    split: Literal["train", "val", "test"] = "train"
    seed: int = 0
    size: int = 64
    min_objects: int = 1
    max_objects: int = MOST_OBJECTS
    language: Literal["en", "zh", "both"] = "en"
    types: tuple[str, ...] | list[str] | None = None
    length: int | None = None

    def __post_init__(self) -> None:
        for key, known in (("split", LENGTHS), ("language", LANGUAGES)):
            if getattr(self, key) not in known:
                raise ValueError(f"{key} must be one of {', '.join(known)}, got {getattr(self, key)!r}")
        if self.types is not None and (not self.types or not set(self.types) <= set(TYPES)):
            raise ValueError(f"types must be some of {', '.join(TYPES)}, got {', '.join(self.types) or 'none'}")
        if not (1 <= self.min_objects <= self.max_objects <= MOST_OBJECTS and self.max_objects > 1):
            raise ValueError(
                f"a scene has 1 to {MOST_OBJECTS} objects and questions need max_objects of at least 2, "
                f"got {self.min_objects} to {self.max_objects}"
            )
        if self.seed < 0 or self.size < 1 or len(self) < 1:
            raise ValueError("seed must not be negative; size and length must be at least 1")

    @property
    def name(self) -> str:
        return f"world:questions/{self.split}"

    @property
    def answers(self) -> tuple[str, ...]:
        """All answers that there are, for a classifier: in "both" the English ones first, no digit twice."""
        kinds = self.types or TYPES
        words = [word for kind in kinds for word in possible_answers(kind, self.max_objects)]
        return tuple(dict.fromkeys(module.answer(word) for module in self._words() for word in words))

    def __len__(self) -> int:
        return LENGTHS[self.split] if self.length is None else self.length

    def __getitem__(self, index: int) -> Example:
        scene, truth = self._item(index)
        streams = {
            "image": render(scene, self.size),
            "question": (truth["question"],),
            "answer": truth["answers"],
        }
        return Example(f"{self.split}/{self.seed}/{index}", streams, truth)

    def captions(self, index: int) -> tuple[str, ...]:
        """None: a question is no caption."""
        return ()

    def truth(self, index: int) -> dict[str, Any]:
        """`Example.truth`, without drawing the picture."""
        return self._item(index)[1]

    def scene(self, index: int) -> Scene:
        """The scene itself, for sources that derive from it."""
        return self._item(index)[0]

    def _words(self) -> list[Any]:
        return list(WORDS.values()) if self.language == "both" else [WORDS[self.language]]

    def _item(self, index: int) -> tuple[Scene, dict[str, Any]]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} items, asked for item {index}")
        random = Random(f"questions/{self.split}/{self.seed}/{index}")
        kinds = tuple(self.types or TYPES)
        kind = kinds[int(random.random() * len(kinds))]
        drawn = draft(kind, random, self.split, self.max_objects)
        scene = stage(drawn, random, self.split, self.min_objects, self.max_objects)
        wording = int(random.random() * questions_en.WORDINGS)
        language = self.language if self.language != "both" else ("en", "zh")[random.random() < 0.5]
        words = WORDS[language]
        return scene, {
            "question": words.ask(drawn.question, wording),
            "answers": (words.answer(drawn.answer),),
            "question_type": kind,
            "language": language,
            "scene": scene.as_dict(),
            "held_out": _held_out(drawn.question, scene, self.split),
        }


def _held_out(question: Question, scene: Scene, split: str) -> bool:
    own = HELD_OUT[split]
    named = [(reference.shape, reference.colour) for reference in question.things]
    meant = [(t.shape, t.colour) for t in scene.things for reference in question.things if refers(reference, t)]
    return any(look in own for look in named + meant)
