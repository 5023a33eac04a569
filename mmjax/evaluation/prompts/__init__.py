"""Class names and prompt templates, as versioned files; a score is worth nothing without them.

A file is JSON: `{"version": 1, "source": "...", "classes": [...], "templates": ["a photo of a {}.", ...]}`, classes in
the order of their labels. The hash covers classes and templates, not the layout of the file.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import json
import pathlib

from mmjax.errors import UserError, nearest

FOLDER = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Attributes:
    name: a shipped set, `imagenet`, or the file's path.
    version: the file's own number.
    classes: names by label.
    templates: texts with one `{}`, where the name goes.
    """

    name: str
    version: int
    classes: tuple[str, ...]
    templates: tuple[str, ...]

    def __post_init__(self):
        for template in self.templates:
            if template.count("{}") != 1:
                raise UserError(f"prompts {self.name}: the template {template!r} must hold exactly one {{}}")
        if not self.classes or not self.templates:
            raise UserError(f"prompts {self.name}: there must be at least one class and one template")

    def texts(self) -> list[str]:
        """Every class in every template, class by class."""
        return [template.replace("{}", name) for name in self.classes for template in self.templates]

    @functools.cached_property
    def sha256(self) -> str:
        content = {"classes": self.classes, "templates": self.templates}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def known() -> list[str]:
    """Names of the shipped sets; `imagenet` comes from open_clip, where that is installed."""
    return sorted([file.stem for file in FOLDER.glob("*.json")] + ["imagenet"])


def load(name: str) -> Prompts:
    """A shipped set by name, `imagenet`, or a JSON file.

    Raises:
      UserError: unknown name, or a file that is not as described at the top.
    """
    if name == "imagenet":
        return _imagenet()
    file = pathlib.Path(name) if name.endswith(".json") else FOLDER / f"{name}.json"
    if not file.is_file():
        sets = known()
        raise UserError(f"prompts {name}: no such set or .json file{nearest(name, sets)}; known: {', '.join(sets)}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Prompts(name, int(content["version"]), tuple(content["classes"]), tuple(content["templates"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: prompts need version, classes and templates as JSON ({error!r})") from None


def _imagenet() -> Prompts:
    """The 1,000 names and 80 templates that open_clip carries. Its one file is read: importing it all needs torch."""
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise UserError("prompts imagenet: install open_clip_torch, which carries them, or give your own .json file")
    file = pathlib.Path(package.submodule_search_locations[0]) / "zero_shot_metadata.py"
    spec = importlib.util.spec_from_file_location("mmjax_open_clip_metadata", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    templates = tuple(template("{}") for template in module.OPENAI_IMAGENET_TEMPLATES)
    return Prompts("imagenet", 1, tuple(module.IMAGENET_CLASSNAMES), templates)
