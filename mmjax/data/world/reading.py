"""What reading captions has in common in every language: phrases one after another, and relations between things."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from mmjax.data.world.meaning import Description, Meaning, Relation


class Phrase(NamedTuple):
    """A part of a sentence.

    Attributes:
      mark: what it is, one letter: "T" a thing, "P" a place relation, "S" a comparison of sizes, "W" goes on with the
        thing named last, "," and "&" go on with the first one, others by language.
      thing, number: of a "T" what it is and how many there are.
    """

    mark: str
    text: str
    thing: Description | None = None
    number: int = 1


def any_of(words: Iterable[str]) -> str:
    """A pattern of these words, the longest that fits."""
    return "|".join(sorted(words, key=len, reverse=True))


def phrases(
    text: str,
    tokens: Sequence[tuple[str, re.Pattern]],
    thing: Callable[[str, int], Phrase | None],
    space: str,
) -> list[Phrase] | None:
    """The phrases of a text, from left to right, the first that fits; None where one does not.

    Args:
      tokens: mark and pattern of the phrases.
      thing: reads a thing that begins at a position.
      space: between two phrases.
    """
    found: list[Phrase] = []
    at = 0
    while at < len(text):
        if found and not text.startswith(space, at):
            return None
        at += len(space) if found else 0
        phrase = thing(text, at) or _token(text, at, tokens)
        if phrase is None:
            return None
        found.append(phrase)
        at += len(phrase.text)
    return found


def _token(text: str, at: int, tokens: Sequence[tuple[str, re.Pattern]]) -> Phrase | None:
    matches = ((mark, pattern.match(text, at)) for mark, pattern in tokens)
    return next((Phrase(mark, match[0]) for mark, match in matches if match), None)


def listed(found: Sequence[Phrase]) -> Meaning:
    """A list of things, without relations."""
    return Meaning(tuple(p.thing for p in found if p.thing for _ in range(p.number)))


def linked(found: Sequence[Phrase], kinds: Mapping[str, str]) -> Meaning:
    """Things with the relations that stand before each object.

    Args:
      kinds: words → kind of relation.
    """
    things: list[Description] = []
    relations: list[Relation] = []
    subject, pending = 0, []
    for phrase in found:
        if phrase.mark in "PS":
            pending.append(kinds[phrase.text])
        elif phrase.mark == "W":
            subject = len(things) - 1
        elif phrase.thing:
            things.append(phrase.thing)
            if pending:
                relations += [Relation(kind, subject, len(things) - 1) for kind in pending]
            else:
                subject = len(things) - 1
            pending = []
    return Meaning(tuple(things), tuple(relations))
