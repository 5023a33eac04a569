"""What a question asks, apart from its words, and its answer in a scene."""

from typing import NamedTuple

from mmjax.data.world.scene import (
    ATTRIBUTES,
    COLOURS,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
    Thing,
    place_relation,
    size_relation,
)
from mmjax.data.world.splits import ALLOWED

TYPES = ("existence", "count", "colour", "shape", "size", "texture", "relation", "comparison")
COUNTED = ("more", "fewer")  # comparisons of numbers; the others compare sizes


class Reference(NamedTuple):
    """What a question says of a thing or of several; None for what it leaves open."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None


class Question(NamedTuple):
    """A question of one of `TYPES`.

    Attributes:
      things: one reference; two for relations and comparisons.
      kind: of a relation or a comparison: a key of `OPPOSITE`, or one of `COUNTED`.
    """

    type: str
    things: tuple[Reference, ...]
    kind: str = ""


def refers(reference: Reference, thing: Thing) -> bool:
    """Whether all that is said is true of a thing."""
    shape, colour, size, texture = reference
    return (
        shape in (None, thing.shape)
        and colour in (None, thing.colour)
        and size in (None, thing.size)
        and texture in (None, thing.texture)
    )


def answer_of(question: Question, scene: Scene) -> str | None:
    """The one right answer, as an English word or a digit.

    Returns:
      None where the question has none: "the ..." is not exactly one thing, or two sizes are of the same class.
    """
    found = [[thing for thing in scene.things if refers(reference, thing)] for reference in question.things]
    numbers = [len(things) for things in found]
    if question.type == "existence":
        return _yes(numbers[0] > 0)
    if question.type == "count":
        return str(numbers[0])
    if question.kind in COUNTED:
        return _yes(numbers[0] > numbers[1] if question.kind == "more" else numbers[0] < numbers[1])
    if any(number != 1 for number in numbers):
        return None
    if question.type in ATTRIBUTES:
        return getattr(found[0][0], question.type)
    return _between(question, found[0][0], found[1][0])


def _between(question: Question, a: Thing, b: Thing) -> str | None:
    """Whether `a` stands to `b` as the question says."""
    if a is b:
        return None
    if question.type == "relation":
        return _yes(place_relation(a, b) == question.kind)
    relation = size_relation(a, b)
    return None if relation is None else _yes(relation == question.kind)


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def possible_answers(question_type: str, max_objects: int) -> tuple[str, ...]:
    """All answers that questions of a type ever have, as English words and digits."""
    values = {"colour": COLOURS, "shape": SHAPES, "size": SIZES, "texture": TEXTURES}
    if question_type == "count":
        return tuple(map(str, range(max_objects + 1)))
    return values.get(question_type, ("yes", "no"))


def chance(split: str, max_objects: int = 4) -> dict[str, float]:
    """How often the best guess from the question alone is right, by type: one by the number of answers it admits.

    "What colour is the star?" admits the colours in which a split may show stars: six in train, seven in val and test.
    """
    numbers = {kind: len(possible_answers(kind, max_objects)) for kind in TYPES}
    numbers["colour"] = len(ALLOWED[split]) // len(SHAPES)
    numbers["shape"] = len(ALLOWED[split]) // len(COLOURS)
    return {kind: 1 / number for kind, number in numbers.items()}
