"""Chinese words for a question: 红色圆形在蓝色正方形的左边吗？"""

from mmjax.data.world.asking import COUNTED, Question, Reference
from mmjax.data.world.captions_zh import (
    COLOUR_WORDS,
    RELATION_WORDS,
    SHAPE_WORDS,
    SIZE_COMPARISONS,
    SIZE_WORDS,
    TEXTURE_WORDS,
)

SINGLE = {
    "existence": ("图中有{a}吗？", "图里能看到{a}吗？"),
    "count": ("图中有几个{a}？", "图里一共有多少个{a}？"),
    "colour": ("图中的{a}是什么颜色？", "{a}的颜色是什么？"),
    "shape": ("图中的{a}是什么形状？", "{a}的形状是什么？"),
    "size": ("图中的{a}是什么尺寸？", "{a}的尺寸是什么？"),
    "texture": ("图中的{a}是什么花纹？", "{a}的花纹是什么？"),
}
RELATION = ("{a}在{b}的{kind}吗？", "{a}是不是位于{b}的{kind}？")
SIZES = ("{a}比{b}{kind}吗？", "{a}是不是比{b}{kind}？")
NUMBERS = ("{a}的数量比{b}{kind}吗？", "{a}是不是比{b}{kind}？")
NUMBER_WORDS = {"more": "多", "fewer": "少"}
ANSWERS = {
    "yes": "是",
    "no": "否",
    **{size: words[1] for size, words in SIZE_WORDS.items()},
    **TEXTURE_WORDS,
    **COLOUR_WORDS,
    **SHAPE_WORDS,
}


def ask(question: Question, wording: int) -> str:
    """The question in one of two ways."""
    a, *others = map(_name, question.things)
    if question.type in SINGLE:
        return SINGLE[question.type][wording].format(a=a)
    (b,) = others
    if question.kind in COUNTED:
        return NUMBERS[wording].format(a=a, b=b, kind=NUMBER_WORDS[question.kind])
    if question.type == "relation":
        return RELATION[wording].format(a=a, b=b, kind=RELATION_WORDS[question.kind][wording])
    return SIZES[wording].format(a=a, b=b, kind=SIZE_COMPARISONS[question.kind])


def answer(word: str) -> str:
    """The word for an answer; digits stay."""
    return ANSWERS.get(word, word)


def _name(reference: Reference) -> str:
    size = SIZE_WORDS[reference.size][0] if reference.size else ""
    colour = COLOUR_WORDS[reference.colour] if reference.colour else ""
    texture = TEXTURE_WORDS[reference.texture] if reference.texture else ""
    return f"{size}{colour}{texture}{SHAPE_WORDS[reference.shape] if reference.shape else '图形'}"
