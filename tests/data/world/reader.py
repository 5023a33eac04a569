"""Reads captions back and judges them without code of mmjax: words by regular expressions, truth by coordinates."""

import itertools
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

SHAPES_ZH = {
    "圆形": "circle", "正方形": "square", "三角形": "triangle", "菱形": "diamond",
    "五角星": "star", "十字形": "cross", "心形": "heart", "月牙形": "crescent",
}  # fmt: skip
COLOURS_ZH = {
    "红色": "red", "橙色": "orange", "黄色": "yellow", "绿色": "green",
    "蓝色": "blue", "紫色": "purple", "粉色": "pink", "黑色": "black",
}  # fmt: skip
TEXTURES_ZH = {"实心": "solid", "条纹": "striped", "波点": "dotted", "空心": "hollow"}
SIZES_ZH = {"小": "small", "中": "medium", "大": "large"}
SIDES_ZH = {"左": "left", "右": "right", "上": "above", "下": "below"}
COLUMNS_ZH, ROWS_ZH = {"左": "left", "右": "right"}, {"顶": "top", "上": "top", "底": "bottom", "下": "bottom"}

SHAPE = "circle|square|triangle|diamond|star|cross|heart|crescent"
COLOUR = "red|orange|yellow|green|blue|purple|pink|black"
TEXTURE = "solid|striped|dotted|hollow"
THING = re.compile(
    rf"\b(an?) (small|little|medium|large|big)? ?(?:({COLOUR}) ({TEXTURE})|({TEXTURE}) ({COLOUR})) ({SHAPE})\b"
)
THING_ZH = re.compile(
    rf"一个(小的|小号|中等大小的|中号|大的|大号)?"
    rf"(?:({'|'.join(COLOURS_ZH)})({'|'.join(TEXTURES_ZH)})"
    rf"|(实心|空心|带条纹的|带波点的)({'|'.join(COLOURS_ZH)}))({'|'.join(SHAPES_ZH)})"
)


class Claim(NamedTuple):
    """What a caption was read to say: attributes of things, (kind, subject, object), the place and that it is alone."""

    things: list[dict[str, str]]
    relations: list[tuple[str, int, int]]
    place: str | None


def read(caption: str) -> Claim:
    """Raises ValueError where a word is left over."""
    return _read_zh(caption) if re.search("[\u4e00-\u9fff]", caption) else _read_en(caption)


def true_of(claim: Claim, scene: Mapping[str, Any], *, turn: bool = False, blind_to: str = "") -> bool:
    """By brute force over who is who. `turn` (swaps left, right) and `blind_to` (an attribute) make mutants of it."""
    if claim.place is not None:
        (thing,) = scene["things"] if len(scene["things"]) == 1 else (None,)
        return thing is not None and claim.place == _place(thing) and _fits(claim.things[0], thing, blind_to)
    candidates = [[t for t in scene["things"] if _fits(wanted, t, blind_to)] for wanted in claim.things]
    return any(
        all(_stands(kind, who[i], who[j], turn) for kind, i, j in claim.relations)
        for who in itertools.product(*candidates)
        if all(a is not b for a, b in itertools.combinations(who, 2))
    )


def _fits(wanted: Mapping[str, str], thing: Mapping[str, Any], blind_to: str) -> bool:
    return all(thing[key] == value for key, value in wanted.items() if key != blind_to)


def _stands(kind: str, a: Mapping[str, Any], b: Mapping[str, Any], turn: bool) -> bool:
    if kind in ("larger", "smaller"):
        return (a["radius"] > 1.2 * b["radius"]) if kind == "larger" else (b["radius"] > 1.2 * a["radius"])
    degrees = math.degrees(math.atan2(b["y"] - a["y"], (a["x"] - b["x"]) * (-1 if turn else 1)))
    return abs((degrees - {"right": 0, "above": 90, "left": 180, "below": 270}[kind] + 180) % 360 - 180) < 40


def _place(thing: Mapping[str, Any]) -> str:
    row = "top" if thing["y"] < 0.4 else "bottom" if thing["y"] > 0.6 else ""
    column = "left" if thing["x"] < 0.4 else "right" if thing["x"] > 0.6 else ""
    return f"{row} {column}".strip() or "middle"


def _read_en(caption: str) -> Claim:
    things: list[dict[str, str]] = []

    def keep(match: re.Match) -> str:
        article, size, colour, texture, texture2, colour2, shape = match.groups()
        first = size or colour or texture2
        if (article == "an") != (first[0] in "aeiou"):
            raise ValueError(f"wrong article: {caption}")
        thing = {"colour": colour or colour2, "texture": texture or texture2, "shape": shape}
        sizes = {"little": "small", "big": "large"}
        things.append(thing | ({"size": sizes.get(size, size)} if size else {}))
        return f"T{len(things) - 1}"

    rest = THING.sub(keep, caption)
    place = re.search(
        r"\b(?:at|on|in) the (top left|top right|bottom left|bottom right|top|bottom|left|right|middle)", rest
    )
    if place:
        rest = rest.replace(place.group(), "").replace("T0", "").split()
        if rest not in (["only"], ["alone"], ["is", "only"], ["nothing", "but"]):
            raise ValueError(f"left over {rest}: {caption}")
        return Claim(things, [], place.group(1))
    return Claim(things, _relations_en(rest), None)


def _relations_en(rest: str) -> list[tuple[str, int, int]]:
    words = {"left of": "left", "right of": "right", "larger than": "larger", "bigger than": "larger"}
    words |= {"smaller than": "smaller", "above": "above", "below": "below"}
    rest = re.sub(r"^(there is|a picture of) ", "", rest).replace("to the ", "")
    inverted = re.fullmatch(r"(.*) T0 is T1", rest)
    if inverted:
        rest = f"T1 {inverted.group(1)} T0"
    relations, pending, subject, last = [], [], -1, -1
    for word in re.findall(r"T\d|\w+ (?:of|than)|above|below|which|is|and|,|\S+", rest):
        if word in words:
            pending.append(words[word])
        elif word == "which":
            subject = last
        elif word[0] == "T" and pending:
            last = int(word[1])
            relations += [(kind, subject, last) for kind in pending]
            pending = []
        elif word[0] == "T":
            subject = last = int(word[1])
        elif word not in ("is", "and", ","):
            raise ValueError(f"left over {word!r}: {rest}")
    return relations


def _read_zh(caption: str) -> Claim:
    things: list[dict[str, str]] = []

    def keep(match: re.Match) -> str:
        size, colour, texture, texture2, colour2, shape = match.groups()
        texture = texture or texture2.removeprefix("带").removesuffix("的")
        thing = {"colour": COLOURS_ZH[colour or colour2], "texture": TEXTURES_ZH[texture], "shape": SHAPES_ZH[shape]}
        things.append(thing | ({"size": SIZES_ZH[size[0]]} if size else {}))
        return f"T{len(things) - 1}"

    rest = THING_ZH.sub(keep, caption)
    place = re.search(r"([左右])(?:([上下])角|侧)|([顶底])部|中间", rest)
    if place and re.search("只有|没有别的图形|别无他物", rest) and len(things) == 1:
        column, row, edge = place.groups()
        named = f"{ROWS_ZH.get(row or edge or '', '')} {COLUMNS_ZH.get(column or '', '')}".strip()
        return Claim(things, [], named or "middle")
    return Claim(things, _relations_zh(rest), None)


def _relations_zh(rest: str) -> list[tuple[str, int, int]]:
    inverted = re.fullmatch(r"T0的([左右上下])[边侧面方]有T1", rest)
    if inverted:
        return [(SIDES_ZH[inverted.group(1)], 1, 0)]
    relations, subject, last = [], -1, -1
    rest = re.sub("^(图中|有)", "", rest)
    for clause in re.split("[，；]", rest):
        side = re.fullmatch(r"(T\d|后者|又)(?:在|位于)(T\d)的([左右上下])[边侧面方]", clause)
        size = re.fullmatch("而且比(它|后者)([大小])", clause)
        if side:
            who, other, kind = side.groups()
            subject = last if who == "后者" else subject if who == "又" else int(who[1])
            last = int(other[1])
            relations.append((SIDES_ZH[kind], subject, last))
        elif size:
            relations.append(({"大": "larger", "小": "smaller"}[size.group(2)], subject, last))
        else:
            raise ValueError(f"left over {clause}: {rest}")
    return relations
