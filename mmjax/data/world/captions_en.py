"""English words for a meaning: "a small red striped circle left of a large solid blue square"."""

import collections
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from mmjax.data.world.meaning import Description, Meaning

SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium", "medium"), "large": ("large", "big")}
PLACE_PHRASES = {
    "top left": "at the top left",
    "top": "at the top",
    "top right": "at the top right",
    "left": "on the left",
    "middle": "in the middle",
    "right": "on the right",
    "bottom left": "at the bottom left",
    "bottom": "at the bottom",
    "bottom right": "at the bottom right",
}
RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "above"),
    "below": ("below", "below"),
    "larger than": ("larger than", "bigger than"),
    "smaller than": ("smaller than", "smaller than"),
}
LONE = ("only {thing} {place}", "{thing} alone {place}", "{place} is only {thing}", "nothing but {thing} {place}")
LINKED = (
    "{a} {relation} {b}",
    "{a} is {relation} {b}",
    "there is {a} {relation} {b}",
    "a picture of {a} {relation} {b}",
)
LISTED = ("{things}", "there {are} {things}", "a picture of {things}", "the picture shows {things}")
NUMBERS = {2: "two", 3: "three", 4: "four"}
INVERTED = "{relation} {b} is {a}"  # in place of the last form, where nothing else hangs on the two things


class Style(NamedTuple):
    """The choices between paraphrases; a caption and its foil share one, so that they differ in meaning alone."""

    form: int
    synonym: int
    colour_first: bool

    @classmethod
    def draw(cls, random: Random, count: int) -> list["Style"]:
        """`count` styles, no two of the same form and order of adjectives (so at most 8)."""
        form, order = int(random.random() * 4), int(random.random() * 2)
        return [cls((form + k) % 4, int(random.random() * 2), (order + k + k // 4) % 2 == 1) for k in range(count)]


def caption(meaning: Meaning, style: Style) -> str:
    """The meaning as one lower-case sentence without a full stop."""
    things = [_thing(thing, style) for thing in meaning.things]
    if meaning.only:
        return LONE[style.form].format(thing=things[0], place=PLACE_PHRASES[meaning.things[0].place or ""])
    if not meaning.relations:
        return _listing(things, style)
    links = _links(meaning, style)
    (a, b, relation), *more = links
    forms = (*LINKED[:3], INVERTED) if len(things) == 2 else LINKED
    text = forms[style.form].format(a=things[a], b=things[b], relation=relation)
    before = b
    for i, (a, b, relation) in enumerate(more):
        if a == 0:
            text += f"{' and' if i == len(more) - 1 else ','} {relation} {things[b]}"
        elif a == before:
            text += f", which is {relation} {things[b]}"
        else:
            text += f", and {things[a]} {relation} {things[b]}"
        before = b
    return text


def _links(meaning: Meaning, style: Style) -> list[tuple[int, int, str]]:
    """(subject, object, words), with both relations of the same two things in one: "left of and larger than"."""
    links: list[tuple[int, int, str]] = []
    for kind, a, b in meaning.relations:
        words = RELATION_WORDS[kind][style.synonym]
        if links and links[-1][:2] == (a, b):
            links[-1] = (a, b, f"{links[-1][2]} and {words}")
        else:
            links.append((a, b, words))
    return links


def _listing(things: Sequence[str], style: Style) -> str:
    """ "a circle, two squares and a star": each once, in order of first appearance."""
    counts = collections.Counter(things)
    names = [name if n == 1 else f"{NUMBERS[n]} {plural(name.partition(' ')[2])}" for name, n in counts.items()]
    text = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return LISTED[style.form].format(things=text, are="is" if counts[things[0]] == 1 else "are")


def plural(name: str) -> str:
    """Of a name that ends with a shape, or with "thing"."""
    return f"{name}es" if name.endswith("s") else f"{name}s"


def _thing(thing: Description, style: Style) -> str:
    size = SIZE_WORDS[thing.size][style.synonym] if thing.size else None
    look = (thing.colour, thing.texture) if style.colour_first else (thing.texture, thing.colour)
    name = " ".join(word for word in (size, *look, thing.shape) if word)
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
