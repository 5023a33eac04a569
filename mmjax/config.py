"""Reading, overriding and checking configs; `build`: the only place where config becomes objects.

A config is an `ml_collections.ConfigDict`. A section with a `name` becomes the class or function of that name in its
room's dict; `my_lab.towers:Perceiver` is imported instead. The signature is the schema: unknown keys, missing keys and
wrong types are refused in one line that says where, before anything compiles.
"""

import ast
import dataclasses
import functools
import importlib
import importlib.util
import inspect
import pathlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mmjax.errors import UserError, nearest


def read(spec: str, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """Reads `PATH.py[:arg]` by calling its `get_config(arg)`, then applies `{dotted.key: text}` overrides.

    Raises:
      UserError: the file is missing, has no `get_config`, or an override does not parse.
    """
    path, _, argument = spec.partition(":")
    file = pathlib.Path(path)
    if not file.is_file():
        near = nearest(file.name, [p.name for p in file.parent.glob("*.py")] if file.parent.is_dir() else [])
        raise UserError(f"{path}: no such config file{near}")
    module_spec = importlib.util.spec_from_file_location(f"mmjax_config_{file.stem}", file)
    assert module_spec and module_spec.loader
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path}: a config file defines get_config(); this one does not")
    takes = len(inspect.signature(module.get_config).parameters)
    if argument and not takes:
        raise UserError(f"{spec}: get_config() of {path} takes no argument; leave out :{argument}")
    config = ConfigDict(module.get_config(argument) if argument else module.get_config())
    for key, text in (overrides or {}).items():
        set_key(config, key, text)
    return config


def set_key(config: ConfigDict, key: str, text: str) -> None:
    """Sets a dotted key from command-line text: a Python literal where it parses as one, else the text itself.

    A top-level section that the file leaves at its defaults is made; a deeper one must exist.
    """
    *parents, last = key.split(".")
    for depth, name in enumerate(parents):
        if name not in config and depth == 0:
            with config.unlocked():
                config[name] = ConfigDict()
        if name not in config:
            raise UserError(f"config key {'.'.join(parents[: depth + 1])} does not exist{nearest(name, list(config))}")
        config = config[name]
        if not isinstance(config, ConfigDict):
            raise UserError(f"config key {'.'.join(parents[: depth + 1])} is a value, not a section; cannot set {key}")
    with config.unlocked(), config.ignore_type():
        config[last] = literal(text)


def literal(text: str) -> Any:
    """`3`, `1e-3`, `true`, `(1, 2)`, `none` as what they say; anything else as text."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that literal_eval raises
        return text


def resolve(name: Any, known: Mapping[str, Callable], where: str) -> Callable:
    """The class or function that a config names: a key of `known`, or `module.path:Name` imported."""
    if not isinstance(name, str):
        raise UserError(f"{where}.name must be str, got {name!r}; known: {', '.join(sorted(known))}")
    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError, TypeError) as error:  # the last two: ":X" and ".a:X"
            raise UserError(f"{where}: cannot import {name} ({error}); is its folder on PYTHONPATH?") from None
    if name not in known:
        near = nearest(name, list(known))
        raise UserError(f"{where}: unknown name {name!r}{near}; known: {', '.join(sorted(known))}")
    return known[name]


def build(section: Any, known: Mapping[str, Callable] | type, where: str, **given: Any) -> Any:
    """Makes the object that a section describes.

    Args:
      section: a mapping, whatever else the user wrote being refused. Its keys are the arguments; `name` chooses among
        `known`. A bare string is a section with only a name.
      known: name → class or function; or one class, when there is nothing to choose.
      where: the dotted key of the section, for messages.
      given: arguments that the caller supplies, beside the section's own.

    A class that builds parts of itself from sub-sections has a `from_config(where, ...)`, which is called instead.

    Returns:
      An instance; for a function, the function with the section's arguments bound.
    """
    target, arguments = choose(section, known, where)
    make = getattr(target, "from_config", target)
    if make is not target:
        given = {"where": where} | given
    check(make, arguments, where, given)
    schema = schema_of(make)
    arguments = {key: as_typed(said(value, schema[key][0]), schema[key][0]) for key, value in arguments.items()}
    if not inspect.isclass(target):
        return functools.partial(target, **arguments, **given)
    try:
        return make(**arguments, **given)
    except ValueError as error:  # a class refuses a combination of values in its __post_init__
        raise UserError(f"{where}: {error}") from None


def choose(section: Any, known: Mapping[str, Callable] | type, where: str) -> tuple[Callable, dict[str, Any]]:
    """Splits a section into what it names and the arguments for that."""
    if isinstance(section, str):
        section = {"name": section}
    if not isinstance(section, (Mapping, ConfigDict)):
        raise UserError(f"{where}: expected a section, got {section!r}")
    arguments = {key: plain(value) for key, value in section.items()}
    if isinstance(known, type):
        return known, arguments
    if "name" not in arguments:
        raise UserError(f"{where}.name is missing; known: {', '.join(sorted(known))}")
    return resolve(arguments.pop("name"), known, where), arguments


def check(target: Callable, arguments: Mapping[str, Any], where: str, given: Mapping[str, Any] | None = None) -> None:
    """Refuses unknown keys, missing keys and wrong types of `target`'s arguments.

    Array arguments (before a keyword-only marker) of a bound function are the caller's: only keyword arguments with
    defaults can be configured there.
    """
    given = given or {}
    schema = schema_of(target)
    for key in arguments:
        if key not in schema or key in given:
            free = [name for name in schema if name not in given]
            raise UserError(f"unknown config key {where}.{key}{nearest(key, free)}; known: {', '.join(sorted(free))}")
    for key, (annotation, required) in schema.items():
        if key in given:
            continue
        if key not in arguments:
            if required:
                maker = getattr(target, "__self__", target)  # of Align.from_config: Align
                raise UserError(f"{where}.{key} is missing: {maker.__name__} needs it")
        elif not fits(said(arguments[key], annotation), annotation):
            raise UserError(f"{where}.{key} must be {describe(annotation)}, got {arguments[key]!r}")


def with_defaults(section: Any, known: Mapping[str, Callable] | type, where: str) -> dict[str, Any]:
    """A section with every default written out, as a bundle keeps it: a later change of a default must not touch it."""
    target, arguments = choose(section, known, where)
    make = getattr(target, "from_config", target)
    name = {"name": section if isinstance(section, str) else section["name"]} if not inspect.isclass(known) else {}
    parameters, schema = inspect.signature(make).parameters, schema_of(make)
    defaults = {
        key: parameters[key].default
        for key, (annotation, required) in schema.items()
        if not required and not isinstance(annotation, dataclasses.InitVar)
    }
    return name | {key: plain(value) for key, value in defaults.items()} | arguments


def schema_of(target: Callable) -> dict[str, tuple[Any, bool]]:
    """Argument name → (annotation, required). For a function only what has a default can be configured."""
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    if dataclasses.is_dataclass(target):
        hints = typing.get_type_hints(target)
    out = {}
    for name, parameter in inspect.signature(target).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        flax_own = name in ("parent", "name") and hasattr(target, "scope")
        if flax_own or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if required and inspect.isfunction(target):
            continue  # the arrays of a loss are its caller's
        out[name] = (hints.get(name, Any), required)
    return out


def fits(value: Any, annotation: Any) -> bool:
    """Whether a plain config value may stand for an argument of this type. Ints pass for floats, bools do not."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or isinstance(annotation, (str, typing.TypeVar)):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is typing.Literal:
        return value in args
    if annotation is type(None):
        return value is None
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return _fits_container(value, annotation, origin, args)


def said(value: Any, annotation: Any) -> Any:
    """None as the word "none" where that is one of the choices: `--config.….remat=none` means it."""
    choices = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()
    return "none" if value is None and "none" in choices else value


def as_typed(value: Any, annotation: Any) -> Any:
    """A checked value with ints turned into floats where floats are meant: a user writes `weight_decay = 0`."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(value, int) and not isinstance(value, bool) and not fits_int(annotation):
        return float(value)
    if origin is tuple and isinstance(value, tuple):
        inner = [args[0]] * len(value) if args[1:] == (Ellipsis,) else args
        return tuple(map(as_typed, value, inner))
    return value


def fits_int(annotation: Any) -> bool:
    """Whether an int may stay one: anything that is not float, or float or None."""
    members = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else ()
    return float not in (annotation, *members) or int in members


def _fits_container(value: Any, annotation: Any, origin: Any, args: tuple) -> bool:
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(fits(v, args[0]) for v in value)
        return len(value) == len(args) and all(map(fits, value, args))
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(v, args[1]) for v in value.values() if args)
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return isinstance(value, (tuple, list)) and all(fits(v, args[0]) for v in value if args)
    if inspect.isclass(annotation):
        return isinstance(value, annotation)
    return True


def describe(annotation: Any) -> str:
    """A type as a user reads it."""
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(annotation)))
    return annotation.__name__ if inspect.isclass(annotation) else str(annotation).replace("typing.", "")


def plain(value: Any) -> Any:
    """ConfigDict and lists as dict and tuple, so that objects built from them are hashable and compare equal."""
    if isinstance(value, (ConfigDict, Mapping)):
        return {key: plain(v) for key, v in value.items()}
    return tuple(plain(v) for v in value) if isinstance(value, (list, tuple)) else value


def flatten(section: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Nested sections as `{dotted.key: value}`."""
    out: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, (Mapping, ConfigDict)):
            out |= flatten(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = plain(value)
    return out
