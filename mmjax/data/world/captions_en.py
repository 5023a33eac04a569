"""English words for a meaning: "a small red striped circle left of a large solid blue square"."""

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


def _thing(thing: Description, style: Style) -> str:
    size = f"{SIZE_WORDS[thing.size][style.synonym]} " if thing.size else ""
    look = f"{thing.colour} {thing.texture}" if style.colour_first else f"{thing.texture} {thing.colour}"
    article = "an" if not size and look[0] in "aeiou" else "a"
    return f"{article} {size}{look} {thing.shape}"
