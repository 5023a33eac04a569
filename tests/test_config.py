"""Configs become objects or one line that says what is wrong: unknown, missing and mistyped keys never get further."""

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pytest
from flax import linen as nn
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict, FrozenConfigDict

from mmjax import config
from mmjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Tower:
    width: int
    dropout: float = 0.0
    pool: Literal["mean", "cls"] = "mean"
    scale: tuple[float, float] | None = (0.5, 1.0)
    names: Sequence[str] = ()
    parts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    flip: bool = False
    kind: ClassVar[str] = "tower"

    def __post_init__(self):
        if self.width % 2:
            raise ValueError(f"width {self.width} is odd")


class Linen(nn.Module):
    width: int
    act: Callable = nn.gelu


class Plain:
    """Neither dataclass nor __init__."""


@dataclasses.dataclass(frozen=True)
class Composed:
    part: Tower
    where: str

    @classmethod
    def from_config(cls, where: str, part: Mapping[str, Any], size: int = 1) -> "Composed":
        return cls(config.build(part, {"tower": Tower}, f"{where}.part"), f"{where}/{size}")


def loss(a, b, *, margin: float = 0.2, valid_a=None):
    return a, b, margin, valid_a


KNOWN = {"tower": Tower, "linen": Linen, "plain": Plain, "loss": loss, "composed": Composed}


def refused(pattern: str):
    return pytest.raises(UserError, match=pattern)


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda text, name="a.py": (tmp_path / name).write_text(text)


# --- read


def test_read_passes_the_argument_and_applies_overrides(write):
    write("def get_config(arg='en'):\n    return dict(arg=arg, steps=1, task=dict(dim=8))")
    assert config.read("a.py").to_dict() == {"arg": "en", "steps": 1, "task": {"dim": 8}}
    made = config.read("a.py:zh", {"steps": "2", "task.dim": "16", "task.loss": "sigmoid"})
    assert made.to_dict() == {"arg": "zh", "steps": 2, "task": {"dim": 16, "loss": "sigmoid"}}


@pytest.mark.parametrize("wrapper", [ConfigDict, FrozenConfigDict, lambda x: ConfigDict(x).lock()])
def test_read_accepts_any_kind_of_config(write, wrapper, monkeypatch):
    monkeypatch.setattr("ml_collections.test_wrapper", wrapper, raising=False)
    write("import ml_collections\ndef get_config():\n    return ml_collections.test_wrapper(dict(a=dict(b=1)))")
    assert config.read("a.py", {"a.b": "2", "a.c": "3"}).a.to_dict() == {"b": 2, "c": 3}


def test_read_names_what_is_wrong_with_a_file(write):
    write("x = 1", "quickstart.py")
    with refused(r"quickstrat.py: no such config file; did you mean quickstart.py"):
        config.read("quickstrat.py")
    with refused(r"nowhere/a.py: no such config file"):
        config.read("nowhere/a.py")
    with refused(r"quickstart.py: .*get_config"):
        config.read("quickstart.py")
    write("def get_config():\n    return {}")
    with refused(r"a.py:en: get_config\(\) of a.py takes no argument"):
        config.read("a.py:en")


# --- overrides


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-1", -1), ("1e-3", 1e-3), ("1_000", 1000), ("0.5", 0.5), ("(1, 2)", (1, 2)), ("()", ()),
        ("true", True), ("False", False), ("none", None), ("None", None), ("'3'", "3"), ("", ""),
        ("[1, 'a']", [1, "a"]), ("{'a': 1}", {"a": 1}), ("adamw", "adamw"),
        ("world:scenes/train", "world:scenes/train"), ("data/1-2.tar", "data/1-2.tar"),
        ("007", "007"), ("{[]: 1}", "{[]: 1}"), ("红色", "红色"), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_override_text_means_what_it_says(text, value):
    made = config.literal(text)
    assert made == value and type(made) is type(value)


@given(st.text())
def test_no_override_text_raises(text):
    config.literal(text)


SCALARS = st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.none()


@given(st.recursive(SCALARS, lambda x: st.tuples(x, x)))
def test_the_repr_of_a_value_is_read_back(value):
    assert config.literal(repr(value)) == value


def test_overrides_replace_values_of_another_type_and_whole_sections():
    made = ConfigDict(dict(a=dict(b=1), loss=dict(name="sigmoid")))
    config.set_key(made, "a.b", "text")
    config.set_key(made, "loss", "info_nce")
    assert made.to_dict() == {"a": {"b": "text"}, "loss": "info_nce"}


def test_an_override_may_name_a_top_level_section_that_the_file_leaves_out():
    made = ConfigDict(dict(steps=1)).lock()
    config.set_key(made, "mesh.fsdp", "2")
    assert made.mesh.to_dict() == {"fsdp": 2}


def test_overrides_of_what_does_not_exist_are_refused():
    made = ConfigDict(dict(data=dict(streams=dict(image=dict(size=8)))))
    with refused(r"data.streams.imgae does not exist; did you mean image"):
        config.set_key(made, "data.streams.imgae.size", "4")
    with refused(r"image.size is a value, not a section; cannot set .*size.x"):
        config.set_key(made, "data.streams.image.size.x", "4")


# --- build


def test_build_makes_what_the_section_names():
    assert config.build(ConfigDict(dict(name="tower", width=4, names=["a"])), KNOWN, "t") == Tower(4, names=("a",))
    assert config.build({"width": 4}, Tower, "t") == Tower(4)
    assert isinstance(config.build("plain", KNOWN, "t"), Plain)
    assert config.build({"name": "linen", "width": 4}, KNOWN, "t") == Linen(width=4)
    assert config.build({"name": "loss", "margin": 1}, KNOWN, "t")(1, 2) == (1, 2, 1, None)
    assert config.build({"name": "tower"}, KNOWN, "t", width=6) == Tower(6)


def test_a_class_may_build_its_parts_from_its_section():
    section = {"name": "composed", "part": {"name": "tower", "width": 4}, "size": 2}
    assert config.build(section, KNOWN, "task") == Composed(Tower(4), "task/2")
    with refused(r"unknown config key task.part.widht"):
        config.build(section | {"part": {"name": "tower", "widht": 4}}, KNOWN, "task")
    with refused(r"task.part is missing: Composed needs it"):
        config.build("composed", KNOWN, "task")
    with refused(r"unknown config key task.where.*; known: part, size"):
        config.build(section | {"where": "x"}, KNOWN, "task")


def test_build_leaves_its_section_alone():
    section = ConfigDict(dict(name="tower", width=4))
    config.build(section, KNOWN, "t")
    assert section.name == "tower"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "towr", "width": 4}, r"unknown name 'towr'; did you mean tower\?; known: composed, linen, loss"),
        ({"name": 3}, r"t.name must be str, got 3"),
        ({"width": 4}, r"t.name is missing; known: composed, linen, loss"),
        (3, r"t: expected a section, got 3"),
        (None, r"t: expected a section, got None"),
        ({"name": "tower"}, r"t.width is missing: Tower needs it"),
        ({"name": "tower", "width": 4, "dropuot": 0.1}, r"key t.dropuot; did you mean dropout\?; known: dr"),
        ({"name": "tower", "width": 4, "kind": "x"}, r"unknown config key t.kind"),
        ({"name": "tower", "width": 4, "self": 1}, r"unknown config key t.self"),
        ({"name": "tower", "width": 3}, r"t: width 3 is odd"),
        ({"name": "linen", "width": 4, "parent": None}, r"unknown config key t.parent"),
        ({"name": "loss", "a": 1}, r"unknown config key t.a.*; known: margin, valid_a"),
        ({"name": "plain", "x": 1}, r"unknown config key t.x; known: $"),
    ],
)  # fmt: skip
def test_build_refuses_in_one_line(section, message):
    with refused(message) as caught:
        config.build(section, KNOWN, "t")
    assert "\n" not in str(caught.value)


def test_what_the_caller_supplies_is_no_config_key():
    with refused(r"unknown config key t.width; .*known: dropout, flip, names, parts, pool, scale"):
        config.build({"name": "tower", "width": 4}, KNOWN, "t", width=4)


@pytest.mark.parametrize("width", ["4", 4.0, True, None, (4,)])
def test_a_wrong_type_is_refused(width):
    with refused(r"t.width must be int, got"):
        config.build({"name": "tower", "width": width}, KNOWN, "t")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pool", "max", r"t.pool must be one of 'mean', 'cls', got 'max'"),
        ("scale", (0.5, 1.0, 2.0), r"t.scale must be tuple\[float, float\] \| None, got"),
        ("scale", "wide", r"t.scale must be"),
        ("names", "a", r"t.names must be"),
        ("names", (1,), r"t.names must be"),
        ("parts", {"a": "b"}, r"t.parts must be"),
        ("flip", 1, r"t.flip must be bool, got 1"),
        ("dropout", True, r"t.dropout must be float, got True"),
        ("dropout", "1e-3x", r"t.dropout must be float"),
    ],
)
def test_wrong_types_of_every_kind(key, value, message):
    with refused(message):
        config.build({"name": "tower", "width": 4, key: value}, KNOWN, "t")


@pytest.mark.parametrize(
    ("value", "annotation", "fits"),
    [
        (1, float, True), (1, int | None, True), (None, int | None, True), ("x", int | None, False),
        ([1, 2], tuple[int, ...], True), ([1, "a"], tuple[int, ...], False), ((), tuple[()], True),
        ((1,), tuple[()], False), ({"a": (1, 2)}, Mapping[str, tuple[int, int]], True),
        ({"a": (1,)}, Mapping[str, tuple[int, int]], False),
        ({"a": 1}, typing.Mapping, True), ((1,), typing.Sequence, True), (3, typing.Mapping, False),
        (ConfigDict(), Any, True), ("x", str, True), (b"x", str, False), (object(), Callable[..., int], True),
        ("x", str | tuple[str, ...], True), (("x",), str | tuple[str, ...], True), ({"x": 1}, dict, True),
    ],
)  # fmt: skip
def test_fits(value, annotation, fits):
    assert config.fits(value, annotation) is fits


# --- outside names


def test_a_name_with_a_colon_is_imported(write, tmp_path, monkeypatch):
    write("import dataclasses\n@dataclasses.dataclass\nclass Mine:\n    width: int = 2", "my_lab_towers.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert config.build({"name": "my_lab_towers:Mine", "width": 3}, KNOWN, "t").width == 3
    with refused(r"unknown config key t.widht; did you mean width"):
        config.build({"name": "my_lab_towers:Mine", "widht": 3}, KNOWN, "t")


@pytest.mark.parametrize("name", ["no_such_lab:Mine", "math:Mine", ":Mine", ".math:Mine", "math:"])
def test_a_name_that_cannot_be_imported_says_where(name):
    with refused(rf"t: cannot import {name} .*PYTHONPATH"):
        config.build(name, KNOWN, "t")


# --- plain and flatten


def test_plain_holds_neither_configdicts_nor_lists():
    made = config.plain(ConfigDict(dict(a=[1, [2]], b=dict(c=[dict(d=[3])]))))
    assert made == {"a": (1, (2,)), "b": {"c": ({"d": (3,)},)}}
    assert type(made["b"]) is dict and type(made["b"]["c"][0]) is dict


def test_flatten_joins_keys_with_dots():
    assert config.flatten(ConfigDict(dict(a=dict(b=1, c=dict(d=[2])), e=None))) == {"a.b": 1, "a.c.d": (2,), "e": None}
