"""Reads Chinese captions: phrases become marks, their order is held to a pattern, and then they are put together."""

import re
from collections.abc import Iterable

from mmjax.data.world.captions_zh import (
    COLOUR_WORDS,
    NUMBERS,
    PLACE_PHRASES,
    RELATION_WORDS,
    SHAPE_WORDS,
    SIZE_COMPARISONS,
    SIZE_WORDS,
    TEXTURE_WORDS,
    TEXTURE_WORDS_FIRST,
)
from mmjax.data.world.meaning import Description, Meaning, Relation
from mmjax.data.world.reading import Phrase, any_of, listed, phrases

_SIZES = {word: size for size, words in SIZE_WORDS.items() for word in words}
_COLOURS = {word: colour for colour, word in COLOUR_WORDS.items()}
_TEXTURES = {word: texture for texture, word in (*TEXTURE_WORDS.items(), *TEXTURE_WORDS_FIRST.items())}
_SHAPES = {word: shape for shape, word in SHAPE_WORDS.items()}
_PLACES = {phrase: place for place, phrase in PLACE_PHRASES.items()}
_SIDES = {f"的{word}": kind for kind, words in RELATION_WORDS.items() for word in words}
_COMPARISONS = {f"，而且比{other}{word}": kind for kind, word in SIZE_COMPARISONS.items() for other in ("它", "后者")}
_NUMBERS = {word: number for number, word in NUMBERS.items()}

_FIRST, _LAST = any_of(TEXTURE_WORDS_FIRST.values()), any_of(TEXTURE_WORDS.values())
_THING = re.compile(
    rf"(?P<number>{any_of(_NUMBERS)})个(?P<size>{any_of(_SIZES)})?"
    rf"(?:(?P<c1>{any_of(_COLOURS)})(?P<t1>{_LAST})?|(?P<t2>{_FIRST})(?P<c2>{any_of(_COLOURS)})?)?"
    rf"(?P<shape>{any_of(_SHAPES)})"
)
# Mark → phrase; the longer go before those that they begin with.
_WORDS = {
    "N": "图中只有|只有",
    "H": "画面上有|图里是",
    "M": "图中",
    "G": "图的",
    "S": any_of(_COMPARISONS),
    "E": "，又在",
    "W": "，后者在",
    "X": "，没有别的图形|，别无他物",
    "Q": "，在|，位于",
    ";": "；",
    "、": "、",
    "&": "和",
    "Y": "有",
    "Z": "在|位于",
    "P": any_of(_SIDES),
    "K": any_of(_PLACES),
}
_TOKENS = [(mark, re.compile(words)) for mark, words in _WORDS.items()]
_LONE = re.compile("NTQK|G?KYTX")
_LISTED = re.compile("(?:H|M?Y)?(?:T|(?:T、)*T&T)")
_INVERTED = re.compile("TPYT")
_LINKED = re.compile("M?Y?TZTPS?(?:(?:ETPS?)*|WTPS?|;TZTPS?)")


def parse(text: str) -> Meaning | None:
    """What a Chinese caption says; None where it is no sentence of the world."""
    found = phrases(text, _TOKENS, _thing, "")
    if found is None:
        return None
    marks = "".join(phrase.mark for phrase in found)
    things = [phrase for phrase in found if phrase.thing]
    if _LISTED.fullmatch(marks):
        return listed(found)
    if any(phrase.number > 1 for phrase in things):
        return None
    if _LONE.fullmatch(marks) and things[0].thing:
        place = next(_PLACES[phrase.text] for phrase in found if phrase.mark == "K")
        return Meaning((things[0].thing._replace(place=place),), only=True)
    if _INVERTED.fullmatch(marks):
        b, side, _, a = found
        return _linked([a, Phrase("Z", ""), b, side])
    return _linked(found) if _LINKED.fullmatch(marks) else None


def _linked(found: Iterable[Phrase]) -> Meaning:
    """Things with the relations that stand behind each object."""
    things: list[Description] = []
    relations: list[Relation] = []
    subject = 0
    for phrase in found:
        last = len(things) - 1
        if phrase.thing:
            things.append(phrase.thing)
        elif phrase.mark in "ZW":
            subject = last
        elif kind := _SIDES.get(phrase.text) or _COMPARISONS.get(phrase.text):
            relations.append(Relation(kind, subject, last))
    return Meaning(tuple(things), tuple(relations))


def _thing(text: str, start: int) -> Phrase | None:
    """A thing, or several of a kind, that the text goes on with."""
    found = _THING.match(text, start)
    if found is None:
        return None
    colour, texture = found["c1"] or found["c2"], found["t1"] or found["t2"]
    thing = Description(
        _SHAPES[found["shape"]],
        _COLOURS[colour] if colour else None,
        _SIZES[found["size"]] if found["size"] else None,
        _TEXTURES[texture] if texture else None,
    )
    return Phrase("T", found[0], thing, _NUMBERS[found["number"]])
