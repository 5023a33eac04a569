"""Answers questions without code of mmjax: words by regular expressions, the answer by coordinates and radii."""

import re
from collections.abc import Mapping
from typing import Any

from tests.data.world.reader import COLOURS_ZH, SHAPES_ZH, TEXTURES_ZH

COLOURS, SHAPES, TEXTURES = COLOURS_ZH.values(), SHAPES_ZH.values(), TEXTURES_ZH.values()
SIZES = ("small", "medium", "large")
NAME = r"[a-z ]+?"
ENGLISH = (
    ("existence", rf"(?:is there|does the picture show) an? (?P<a>{NAME})\?"),
    ("count", rf"how many (?P<a>{NAME}) (?:are there|does the picture show)\?"),
    ("colour|shape|size", rf"what (?P<type>colour|shape|size) is the (?P<a>{NAME})\?"),
    ("any", rf"(?:which|what) (?P<type>colour|shape|size|texture|pattern) does the (?P<a>{NAME}) have\?"),
    ("more", rf"(?:are there|does the picture show) (?P<kind>more|fewer) (?P<a>{NAME}) than (?P<b>{NAME})\?"),
    ("two", rf"is the (?P<a>{NAME}) (?P<kind>left of|right of|above|below|\w+er than) the (?P<b>{NAME})\?"),
    ("two", rf"does the (?P<a>{NAME}) stand (?P<kind>left of|right of|above|below) the (?P<b>{NAME})\?"),
)
TYPES_ZH = {"颜色": "colour", "形状": "shape", "尺寸": "size", "花纹": "texture"}
CHINESE = (
    ("existence", r"(?:图中有|图里能看到)(?P<a>.+)吗？"),
    ("count", r"(?:图中有几个|图里一共有多少个)(?P<a>.+)？"),
    ("any", r"图中的(?P<a>.+)是什么(?P<type>颜色|形状|尺寸|花纹)？"),
    ("any", r"(?P<a>.+)的(?P<type>颜色|形状|尺寸|花纹)是什么？"),
    ("more", r"(?P<a>.+)的数量比(?P<b>.+)(?P<kind>多|少)吗？"),
    ("more", r"(?P<a>.+)是不是比(?P<b>.+)(?P<kind>多|少)？"),
    ("two", r"(?P<a>.+)是不是比(?P<b>.+)(?P<kind>大|小)？"),
    ("two", r"(?P<a>.+)比(?P<b>.+)(?P<kind>大|小)吗？"),
    ("two", r"(?P<a>.+)是不是位于(?P<b>.+)的(?P<kind>[左右上下])[侧方]？"),
    ("two", r"(?P<a>.+)在(?P<b>.+)的(?P<kind>[左右上下])[边面]吗？"),
)
KINDS_ZH = {
    "多": "more", "少": "fewer", "大": "larger than", "小": "smaller than",
    "左": "left of", "右": "right of", "上": "above", "下": "below",
}  # fmt: skip
WORDS_ZH = COLOURS_ZH | SHAPES_ZH | TEXTURES_ZH
WORDS_ZH |= {"小的": "small", "中等大小的": "medium", "大的": "large", "图形": "thing"}
ANSWERS_ZH = {word: english for english, word in {
    "small": "小号", "medium": "中号", "large": "大号", "yes": "是", "no": "否",
}.items()} | COLOURS_ZH | SHAPES_ZH | TEXTURES_ZH  # fmt: skip


def answer(question: str, scene: Mapping[str, Any], *, turn: bool = False, blind_to: str = "", off: int = 0) -> str:
    """The answer in English. The mutants swap left and right, ignore an attribute, count wrong.

    Raises:
      ValueError: the question is no such sentence, or has no single answer in the scene.
    """
    chinese = question.endswith("？")
    parts, form = _match(question, CHINESE if chinese else ENGLISH)
    named = {key: (_name_zh if chinese else _name)(parts[key], blind_to) for key in ("a", "b") if parts.get(key)}
    found = {key: [t for t in scene["things"] if _fits(t, wanted)] for key, wanted in named.items()}
    if form == "existence":
        return "yes" if found["a"] else "no"
    if form == "count":
        return str(len(found["a"]) + off)
    kind = KINDS_ZH.get(parts.get("kind", ""), parts.get("kind", ""))
    if form == "more":
        more, fewer = (found["a"], found["b"]) if kind == "more" else (found["b"], found["a"])
        return "yes" if len(more) > len(fewer) else "no"
    if any(len(things) != 1 for things in found.values()) or found["a"] == found.get("b"):
        raise ValueError(f"not about one thing: {question}")
    if form != "two":
        asked = TYPES_ZH.get(parts["type"], parts["type"].replace("pattern", "texture"))
        return found["a"][0][asked]
    return "yes" if _stands(kind, found["a"][0], found["b"][0], turn) else "no"


def _match(question: str, forms: tuple) -> tuple[dict[str, str], str]:
    for form, pattern in forms:
        if match := re.fullmatch(pattern, question):
            return match.groupdict(), form
    raise ValueError(f"not a question: {question}")


def _name(text: str, blind_to: str) -> dict[str, str]:
    *words, noun = text.split()
    singular = {f"{shape}{'es' if shape.endswith('s') else 's'}": shape for shape in (*SHAPES, "thing")}
    return _said([*words, singular.get(noun, noun)], text, blind_to)


def _name_zh(text: str, blind_to: str) -> dict[str, str]:
    words = re.findall("|".join(WORDS_ZH), text)
    if "".join(words) != text:
        raise ValueError(f"left over in {text}")
    return _said([WORDS_ZH[word] for word in words], text, blind_to)


def _said(words: list[str], text: str, blind_to: str) -> dict[str, str]:
    out = {}
    for word in words:
        kinds = {"colour": COLOURS, "shape": SHAPES, "texture": TEXTURES, "size": SIZES}
        (kind,) = [kind for kind, values in kinds.items() if word in values] or ("",)
        if kind in out or (not kind and (word != "thing" or word is not words[-1])):
            raise ValueError(f"{word!r} in {text!r}")
        out |= {kind: word} if kind else {}
    return {kind: word for kind, word in out.items() if kind != blind_to}


def _fits(thing: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    return all(thing[kind] == word for kind, word in wanted.items())


def _stands(kind: str, a: Mapping[str, Any], b: Mapping[str, Any], turn: bool) -> bool:
    if kind.endswith("than"):
        larger, smaller = (b, a) if kind == "smaller than" else (a, b)
        if 1 / 1.2 < larger["radius"] / smaller["radius"] < 1.2:
            raise ValueError("sizes that are equal to the eye")
        return larger["radius"] > smaller["radius"]
    across, down = (a["x"] - b["x"]) * (-1 if turn else 1), a["y"] - b["y"]
    if 1 / 1.29 < abs(across) / max(abs(down), 1e-9) < 1.29:
        raise ValueError("a relation by a hair")
    sideways = abs(across) > abs(down)
    return {
        "left of": sideways and across < 0, "right of": sideways and across > 0,
        "above": not sideways and down < 0, "below": not sideways and down > 0,
    }[kind]  # fmt: skip
