"""Questions as drawn: first what is asked, then the answer, and by these what the scene must hold.

The answer is uniform over those that the question admits, and nothing of the question depends on it: so no guess from
the question alone beats chance. Training names no combination of shape and colour that is held out; in val and test
every second look that is named is one of the split's own.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from mmjax.data.world.asking import COUNTED, Question, Reference
from mmjax.data.world.meaning import VALUES
from mmjax.data.world.scene import SIZES, Combination
from mmjax.data.world.splits import ALLOWED, HELD_OUT
from mmjax.data.world.staging import Draft, Slot, slot

PLACES = ("left of", "right of", "above", "below")
# type -> which attributes the reference names
NAMED: dict[str, tuple[tuple[str, ...], ...]] = {
    "existence": (
        ("shape", "colour"),
        ("shape", "colour"),
        ("shape", "size"),
        ("shape", "texture"),
        ("colour", "texture"),
        ("shape", "colour", "size"),
    ),
    "count": (("shape",), ("colour",), ("texture",)),
    "colour": (("shape",), ("shape", "size"), ("shape", "texture")),
    "shape": (("colour",), ("colour", "size"), ("colour", "texture")),
    "size": (("shape",), ("colour",), ("shape", "colour"), ("shape", "colour")),
    "texture": (("shape",), ("colour",), ("shape", "colour"), ("shape", "colour")),
    "two": (("shape", "colour"), ("shape", "colour"), ("shape",), ("colour",)),
    "numbers": (("shape",), ("colour",), ("texture",)),
}


def draft(question_type: str, random: Random, split: str, most: int) -> Draft:
    """Draws a question of a type, its answer, and what its scene is to hold.

    Args:
      most: things in a scene, at least two.
    """
    return DRAFTS[question_type](question_type, random, split, most)


def _existence(kind: str, random: Random, split: str, most: int) -> Draft:
    reference = _reference(kind, random, split)
    answer = _choose(random, ("yes", "no"))
    things = (slot(reference),) if answer == "yes" else ()
    return Draft(Question(kind, (reference,)), answer, things, _near(reference, random))


def _count(kind: str, random: Random, split: str, most: int) -> Draft:
    reference = _reference(kind, random, split)
    number = _choose(random, range(most + 1))
    return Draft(Question(kind, (reference,)), str(number), (slot(reference),) * number, rest=_other(Slot(), reference))


def _attribute(kind: str, random: Random, split: str, most: int) -> Draft:
    """The value of one attribute of a thing; colour and shape are uniform over those that the split allows."""
    reference = _reference(kind, random, split)
    shape, colour = reference.shape, reference.colour
    options: Sequence[str] = VALUES[kind]
    if kind == "colour":
        options = [c for s, c in ALLOWED[split] if s == shape]
    elif kind == "shape":
        options = [s for s, c in ALLOWED[split] if c == colour]
    answer = _choose(random, options)
    near = _near(reference, random) if sum(value is not None for value in reference) > 1 else ()
    return Draft(Question(kind, (reference,)), answer, (slot(reference).but(**{kind: answer}),), near)


def _relation(kind: str, random: Random, split: str, most: int) -> Draft:
    references, asked = _two(random, split), _choose(random, PLACES)
    answer = _choose(random, ("yes", "no"))
    place = asked if answer == "yes" else _choose(random, [other for other in PLACES if other != asked])
    return Draft(Question(kind, references, asked), answer, tuple(map(slot, references)), place=place)


def _comparison(kind: str, random: Random, split: str, most: int) -> Draft:
    return (_sizes if random.random() < 0.5 else _numbers)(kind, random, split, most)


def _sizes(kind: str, random: Random, split: str, most: int) -> Draft:
    references, asked = _two(random, split), _choose(random, ("larger than", "smaller than"))
    answer = _choose(random, ("yes", "no"))
    small, large = _choose(random, [(a, b) for b in SIZES for a in SIZES[: SIZES.index(b)]])
    first, second = (large, small) if (asked == "larger than") == (answer == "yes") else (small, large)
    things = (slot(references[0]).but(size=first), slot(references[1]).but(size=second))
    return Draft(Question(kind, references, asked), answer, things)


def _numbers(kind: str, random: Random, split: str, most: int) -> Draft:
    (attribute,) = _choose(random, NAMED["numbers"])
    a, b = (Reference(**{attribute: value}) for value in _different(random, VALUES[attribute]))
    asked, answer = _choose(random, COUNTED), _choose(random, ("yes", "no"))
    numbers = [(n, m) for n in range(most + 1) for m in range(most + 1 - n) if n + m]
    n, m = _choose(random, [pair for pair in numbers if (pair[0] > pair[1]) == (answer == "yes")])
    first, second = (n, m) if asked == "more" else (m, n)
    things = (slot(a),) * first + (slot(b),) * second
    return Draft(Question(kind, (a, b), asked), answer, things, rest=_other(Slot(), a, b))


DRAFTS: dict[str, Callable[[str, Random, str, int], Draft]] = {
    "existence": _existence,
    "count": _count,
    "colour": _attribute,
    "shape": _attribute,
    "size": _attribute,
    "texture": _attribute,
    "relation": _relation,
    "comparison": _comparison,
}


def _reference(kind: str, random: Random, split: str) -> Reference:
    """A description of one thing, by one of the ways of `NAMED`."""
    look = _look(random, split)
    drawn = dict(zip(("shape", "colour"), look, strict=True))
    drawn |= {name: _choose(random, VALUES[name]) for name in ("size", "texture")}
    return Reference(**{name: drawn[name] for name in _choose(random, NAMED[kind])})


def _two(random: Random, split: str) -> tuple[Reference, Reference]:
    """Two things, described alike. In val and test one of them has a look of the split's own, if looks are named."""
    names = _choose(random, NAMED["two"])
    looks = [_choose(random, HELD_OUT[split] or ALLOWED[split])]
    while len(looks) < 2:
        look = _choose(random, ALLOWED[split])
        values = dict(zip(("shape", "colour"), zip(look, looks[0], strict=True), strict=True))
        if any(values[name][0] != values[name][1] for name in names):
            looks.append(look)
    if random.random() < 0.5:
        looks.reverse()
    drawn = [dict(zip(("shape", "colour"), look, strict=True)) for look in looks]
    a, b = (Reference(**{name: values[name] for name in names}) for values in drawn)
    return a, b


def _look(random: Random, split: str) -> Combination:
    own = HELD_OUT[split]
    return _choose(random, own if own and random.random() < 0.5 else ALLOWED[split])


def _near(reference: Reference, random: Random) -> tuple[Slot, ...]:
    """Things of which all but one word of a description is true, for each of its words, in any order."""
    named = [(name, value) for name, value in reference._asdict().items() if value is not None]
    start = int(random.random() * len(named))
    return tuple(slot(reference).without(name, value) for name, value in named[start:] + named[:start])


def _other(rest: Slot, *references: Reference) -> Slot:
    """What none of these references of a single word, all of one attribute, is true of."""
    ((attribute, _),) = [(k, v) for k, v in references[0]._asdict().items() if v is not None]
    return rest.without(attribute, *(getattr(reference, attribute) for reference in references))


def _different(random: Random, values: Sequence[str]) -> tuple[str, str]:
    i, j = int(random.random() * len(values)), int(random.random() * (len(values) - 1))
    return values[i], values[j + (j >= i)]


def _choose(random: Random, options: Sequence[Any]) -> Any:
    return options[int(random.random() * len(options))]
