"""Reads captions back: what a sentence of the world says, and whether that is true of a scene.

The sentences are those that `World` makes, and what lies between them: every phrase in any of its wordings. A word
that does not belong there makes the text no sentence of the world: a caption that a model made up is judged whole.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from mmjax.data.world import parse_en, parse_zh
from mmjax.data.world.meaning import Meaning, holds
from mmjax.data.world.scene import Background, Scene, Thing

MOST_CHARACTERS = 1_000  # the longest caption of the world has 231
_CHINESE = re.compile("[\u4e00-\u9fff]")
_BLANK = Background((1.0, 1.0, 1.0), (0.0, 0.0))


def parse(text: str, language: Literal["en", "zh", "both"] = "both") -> Meaning | None:
    """What a caption says; None if it is no sentence of the world. Never raises, whatever the text.

    Args:
      language: that the caption must be in; "both" takes either.
    """
    text = text.strip()
    found = "zh" if _CHINESE.search(text) else "en"
    if language not in (found, "both") or len(text) > MOST_CHARACTERS:
        return None
    return (parse_zh if found == "zh" else parse_en).parse(text)


def true_of(text: str, scene: Mapping[str, Any]) -> bool | None:
    """Whether a caption in either language is true of a scene.

    Args:
      scene: plain data, as in `Example.truth["scene"]`.

    Returns:
      None where the text is no sentence of the world.
    """
    meaning = parse(text)
    return None if meaning is None else holds(meaning, scene_of(scene))


def complete_of(text: str, scene: Mapping[str, Any]) -> bool | None:
    """Whether a caption is true of a scene and tells of all its things. Arguments and None as in `true_of`."""
    meaning = parse(text)
    if meaning is None:
        return None
    return len(meaning.things) == len(scene["things"]) and holds(meaning, scene_of(scene))


def scene_of(scene: Mapping[str, Any]) -> Scene:
    """The scene of plain data, on a white ground: what `Scene.as_dict` gives, back."""
    return Scene(tuple(Thing(**thing) for thing in scene["things"]), _BLANK)
