"""Reads English captions: phrases become marks, their order is held to a pattern, and then they are put together."""

import re

from mmjax.data.world.captions_en import NUMBERS, PLACE_PHRASES, RELATION_WORDS, SIZE_WORDS
from mmjax.data.world.meaning import Description, Meaning
from mmjax.data.world.reading import Phrase, any_of, linked, listed, phrases
from mmjax.data.world.scene import COLOURS, SHAPES, TEXTURES

_SIZES = {word: size for size, words in SIZE_WORDS.items() for word in words}
_RELATIONS = {word: kind for kind, words in RELATION_WORDS.items() for word in words}
_PLACES = {phrase: place for place, phrase in PLACE_PHRASES.items()}
_NUMBERS = {"a": 1, "an": 1, **{word: number for number, word in NUMBERS.items()}}

_COLOUR, _TEXTURE = any_of(COLOURS), any_of(TEXTURES)
_LOOK = (
    rf"(?:(?P<c1>{_COLOUR}) (?:(?P<t1>{_TEXTURE}) )?"
    rf"|(?P<t2>{_TEXTURE}) (?:(?P<c2>{_COLOUR}) )?)?"
)
_THING = re.compile(
    rf"(?P<number>{any_of(_NUMBERS)}) (?:(?P<size>{any_of(_SIZES)}) )?{_LOOK}(?P<shape>{any_of(SHAPES)})(?P<more>e?s)?"
)
# Mark → phrase. `a picture of` goes before things, `there is` before `is`.
_WORDS = {
    "H": "there is|there are",
    "O": "a picture of|the picture shows",
    "W": "which is",
    "I": "is",
    "N": "only|nothing but",
    "A": "alone",
    ",": ",",
    "&": "and",
    "K": any_of(_PLACES),
    "P": any_of(word for word, kind in _RELATIONS.items() if not kind.endswith("than")),
    "S": any_of(word for word, kind in _RELATIONS.items() if kind.endswith("than")),
}
_TOKENS = [(mark, re.compile(rf"(?:{words})(?= |$)")) for mark, words in _WORDS.items()]
_LONE = re.compile("NTK|TAK|KINT")
_LISTED = re.compile("[HO]?(?:T|(?:T,)*T&T)")
_R = "(?:P(?:&S)?|S)"
_INVERTED = re.compile(f"{_R}TIT")
_LINKED = re.compile(f"[HO]?TI?{_R}T(?:(?:,{_R}T)*&{_R}T|,W{_R}T|,&TI?{_R}T)?")


def parse(text: str) -> Meaning | None:
    """What an English caption says; None where it is no sentence of the world."""
    found = phrases(text.replace(",", " ,"), _TOKENS, _thing, " ")
    if found is None:
        return None
    marks = "".join(phrase.mark for phrase in found)
    if _LONE.fullmatch(marks):
        return _lone(found)
    if _LISTED.fullmatch(marks):
        return listed(found) if _agrees(found) else None
    if any(phrase.number > 1 for phrase in found):
        return None
    if _INVERTED.fullmatch(marks):
        *relation, b, is_, a = found
        return linked([a, is_, *relation, b], _RELATIONS)
    return linked(found, _RELATIONS) if _LINKED.fullmatch(marks) else None


def _lone(found: list[Phrase]) -> Meaning | None:
    thing = next(phrase for phrase in found if phrase.mark == "T")
    place = next(_PLACES[phrase.text] for phrase in found if phrase.mark == "K")
    return Meaning((thing.thing._replace(place=place),), only=True) if thing.thing and thing.number == 1 else None


def _agrees(found: list[Phrase]) -> bool:
    """ "There are" goes with two or more of the first."""
    return found[0].mark != "H" or (found[0].text == "there are") == (found[1].number > 1)


def _thing(text: str, start: int) -> Phrase | None:
    """A thing, or several of a kind, that the text goes on with."""
    found = _THING.match(text, start)
    if found is None or text[found.end() : found.end() + 1] not in ("", " "):
        return None
    number, after = _NUMBERS[found["number"]], text[found.end("number") + 1]
    plural = {1: None}.get(number, "es" if found["shape"].endswith("s") else "s")
    if found["more"] != plural or (number == 1 and (found["number"] == "an") != (after in "aeiou")):
        return None
    size = _SIZES.get(found["size"])
    return Phrase(
        "T",
        found[0],
        Description(found["shape"], found["c1"] or found["c2"], size, found["t1"] or found["t2"]),
        number,
    )
