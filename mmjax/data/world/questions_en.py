"""English words for a question: "is the red circle left of the blue square?"."""

from mmjax.data.world.asking import COUNTED, Question, Reference
from mmjax.data.world.captions_en import plural

SINGLE = {
    "existence": ("is there {a}?", "does the picture show {a}?"),
    "count": ("how many {some} are there?", "how many {some} does the picture show?"),
    "colour": ("what colour is {the}?", "which colour does {the} have?"),
    "shape": ("what shape is {the}?", "which shape does {the} have?"),
    "size": ("what size is {the}?", "which size does {the} have?"),
    "texture": ("what texture does {the} have?", "which pattern does {the} have?"),
}
RELATION = ("is {a} {kind} {b}?", "does {a} stand {kind} {b}?")
SIZES = {"larger than": ("larger than", "bigger than"), "smaller than": ("smaller than", "smaller than")}
NUMBERS = ("are there {kind} {a} than {b}?", "does the picture show {kind} {a} than {b}?")
WORDINGS = 2


def ask(question: Question, wording: int) -> str:
    """The question in one of `WORDINGS` ways."""
    if question.type in SINGLE:
        name = _name(question.things[0])
        article = "an" if name[0] in "aeiou" else "a"
        forms = {"a": f"{article} {name}", "the": f"the {name}", "some": plural(name)}
        return SINGLE[question.type][wording].format(**forms)
    a, b = map(_name, question.things)
    if question.kind in COUNTED:
        return NUMBERS[wording].format(kind=question.kind, a=plural(a), b=plural(b))
    if question.type == "relation":
        return RELATION[wording].format(kind=question.kind, a=f"the {a}", b=f"the {b}")
    return RELATION[0].format(kind=SIZES[question.kind][wording], a=f"the {a}", b=f"the {b}")


def answer(word: str) -> str:
    """The word for an answer."""
    return word


def _name(reference: Reference) -> str:
    words = (reference.size, reference.texture, reference.colour, reference.shape or "thing")
    return " ".join(word for word in words if word)
