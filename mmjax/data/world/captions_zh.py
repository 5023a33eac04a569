"""Chinese words for a meaning: 一个小的红色条纹圆形在一个大的蓝色实心正方形的左边."""

import collections
from collections.abc import Sequence

from mmjax.data.world.captions_en import Style
from mmjax.data.world.meaning import Description, Meaning

SHAPE_WORDS = {
    "circle": "圆形",
    "square": "正方形",
    "triangle": "三角形",
    "diamond": "菱形",
    "star": "五角星",
    "cross": "十字形",
    "heart": "心形",
    "crescent": "月牙形",
}
COLOUR_WORDS = {
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "blue": "蓝色",
    "purple": "紫色",
    "pink": "粉色",
    "black": "黑色",
}
SIZE_WORDS = {"small": ("小的", "小号"), "medium": ("中等大小的", "中号"), "large": ("大的", "大号")}
TEXTURE_WORDS = {"solid": "实心", "striped": "条纹", "dotted": "波点", "hollow": "空心"}
TEXTURE_WORDS_FIRST = {"solid": "实心", "striped": "带条纹的", "dotted": "带波点的", "hollow": "空心"}
PLACE_PHRASES = {
    "top left": "左上角",
    "top": "顶部",
    "top right": "右上角",
    "left": "左侧",
    "middle": "中间",
    "right": "右侧",
    "bottom left": "左下角",
    "bottom": "底部",
    "bottom right": "右下角",
}
RELATION_WORDS = {
    "left of": ("左边", "左侧"),
    "right of": ("右边", "右侧"),
    "above": ("上面", "上方"),
    "below": ("下面", "下方"),
}
SIZE_COMPARISONS = {"larger than": "大", "smaller than": "小"}
LONE = (
    "图中只有{thing}，在{place}",
    "图的{place}有{thing}，没有别的图形",
    "只有{thing}，位于{place}",
    "{place}有{thing}，别无他物",
)
LINKED = ("{a}在{b}的{side}", "{a}位于{b}的{side}", "有{a}在{b}的{side}", "图中{a}在{b}的{side}")
LISTED = ("{things}", "图中有{things}", "画面上有{things}", "图里是{things}")
NUMBERS = {1: "一", 2: "两", 3: "三", 4: "四"}
INVERTED = "{b}的{side}有{a}"  # in place of the last form, where nothing else hangs on the two things


def caption(meaning: Meaning, style: Style) -> str:
    """The meaning as one sentence without a full stop."""
    things = [_thing(thing, style) for thing in meaning.things]
    if meaning.only:
        return LONE[style.form].format(thing=things[0], place=PLACE_PHRASES[meaning.things[0].place or ""])
    if not meaning.relations:
        return LISTED[style.form].format(things=_listing(things))
    forms = (*LINKED[:3], INVERTED) if len(meaning.relations) == 1 else LINKED
    text, before = "", -1
    for kind, a, b in meaning.relations:
        if kind in SIZE_COMPARISONS:
            # 后者 is the thing named last; 它 would be unclear after several.
            text += f"，而且比{'后者' if a == 0 and b > 1 else '它'}{SIZE_COMPARISONS[kind]}"
            continue
        side = RELATION_WORDS[kind][style.synonym]
        if not text:
            text = forms[style.form].format(a=things[a], b=things[b], side=side)
        elif a == 0:
            text += f"，又在{things[b]}的{side}"
        elif a == before:
            text += f"，后者在{things[b]}的{side}"
        else:
            text += f"；{things[a]}在{things[b]}的{side}"
        before = b
    return text


def _listing(things: Sequence[str]) -> str:
    """一个圆形、两个正方形和一个五角星: each once, in order of first appearance."""
    names = [NUMBERS[n] + name[1:] for name, n in collections.Counter(things).items()]
    return f"{'、'.join(names[:-1])}和{names[-1]}" if len(names) > 1 else names[0]


def _thing(thing: Description, style: Style) -> str:
    size = SIZE_WORDS[thing.size][style.synonym] if thing.size else ""
    colour = COLOUR_WORDS[thing.colour] if thing.colour else ""
    textures = TEXTURE_WORDS if style.colour_first else TEXTURE_WORDS_FIRST
    texture = textures[thing.texture] if thing.texture else ""
    look = colour + texture if style.colour_first else texture + colour
    return f"{NUMBERS[1]}个{size}{look}{SHAPE_WORDS[thing.shape]}"
