"""A family's config as our task section, and back. What does not survive the way back cannot be expressed there."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from mmjax.config import check, choose, flatten, with_defaults
from mmjax.errors import UserError
from mmjax.interop.family import Family, Flat, Key
from mmjax.models import DECODERS, ENCODERS
from mmjax.models.connector import Connection
from mmjax.models.encoders.sizes import resolve_size
from mmjax.models.multimodal_decoder import MultimodalDecoder
from mmjax.tasks import TASKS

# What a model computes does not depend on these: how it is trained, how it is compiled, what it was initialised with.
TRAINING = (
    *("streams", "pairs", "positives", "foils", "loss", "soft", "scale_init", "bias_init"),
    *("contrastive_weight", "caption_weight", "smoothing", "parallel"),
    *("image", "text"),  # names of streams
)
TOWER_FREE = (
    *("dropout", "drop_path", "patch_dropout", "scan", "remat", "attention", "dtype", "size", "mean", "std"),
    "begin",  # whoever writes by it
)
DECODER_FREE = ("dropout", "scan", "remat", "dtype", "cross")  # the last follows from the connection
TOWERS = {**ENCODERS, **DECODERS}
WRITING = ("caption", "answer")  # one model
BIAS_INIT = -10.0  # SigLIP's; a placeholder that the loaded value replaces
BROKEN = (TypeError, ValueError, AttributeError, KeyError, ArithmeticError)  # what arithmetic on such a config raises


class Inexpressible(UserError):
    """A model that a family cannot express; `count` keys stand in the way."""

    def __init__(self, message: str, count: int):
        super().__init__(message)
        self.count = count


@dataclasses.dataclass(frozen=True)
class Sections:
    """What a config of theirs says, as ours.

    Attributes:
      task: the task section, every default written out.
      image_size: pixels on a side, or None without pictures (or where pictures have no one size).
    """

    task: Mapping[str, Any]
    image_size: int | None


def to_sections(family: Family, config: Mapping[str, Any], names: Collection[str]) -> Sections:
    """Their config as our sections.

    Args:
      names: of the tensors in the checkpoint: whether an optional head is there, no config tells.

    Raises:
      UserError: a value that we do not have, with its key.
    """
    try:
        flat = _checked(family, config, names)
    except BROKEN as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{family.name} config: a value is not of the kind that belongs there ({reason})") from None
    size = flat.pop("image_size", None)
    task = _task(flat)
    for name, tower in task["towers"].items():
        check(*choose(tower, TOWERS, f"task.towers.{name}"), f"task.towers.{name}")
    return Sections(task, size)


def _checked(family: Family, config: Mapping[str, Any], names: Collection[str]) -> Flat:
    """Their config as our flat section, nothing in it that we have no word for."""
    theirs = flatten(family.complete(config))
    for key, wanted in family.required.items():
        if key in theirs and theirs[key] != wanted:
            raise UserError(
                f"{family.name} config: {key} is {theirs[key]!r}; mmjax has this model with {wanted!r} alone"
            )
    return _flat(family, config, names, strict=True)


def to_config(family: Family, task: Mapping[str, Any], image_size: int | None) -> dict[str, Any]:
    """Our sections as their config.

    Raises:
      Inexpressible: what the family cannot express, each key with its value and the one that it would need.
    """
    wanted = essentials(task) | {"image_size": image_size}
    needed = [key.ours for key in family.keys if key.ours not in wanted]
    towers = {key.split(".")[1] for key in (*wanted, *needed) if key.startswith("towers.")}
    if needed or wanted["name"] != family.fixed["name"]:
        this = f"a task {wanted['name']!r} with the towers {', '.join(task['towers'])}"
        message = f"{family.name} ({family.library}) is a task {family.fixed['name']!r} of other towers; this is {this}"
        raise Inexpressible(message, 1000 + 10 * len(needed) + len(towers))
    theirs: Flat = dict(family.required)
    for key in family.keys:
        back = {ours: theirs for theirs, ours in (key.values or {}).items()}
        value = wanted[key.ours]
        theirs[key.theirs] = back.get(value, value) if key.values else value
    config = unflatten(theirs | family.restore(wanted))
    flat = _flat(family, config, family.optional(wanted), strict=False)
    size = flat.pop("image_size", None)
    have = _first_of_largest(essentials(_task(flat))) | {"image_size": size}
    wanted = _first_of_largest(wanted)
    wrong = [key for key in sorted(wanted.keys() | have.keys()) if wanted.get(key) != have.get(key)]
    if wrong:
        place = lambda key: _place(key, stream_of(task, "image"))  # noqa: E731
        text = "; ".join(f"{place(key)} = {wanted.get(key)!r}, it has {have.get(key)!r}" for key in wrong)
        raise Inexpressible(f"{family.name} ({family.library}) cannot express this model: {text}", len(wrong))
    return config


def _first_of_largest(flat: Flat) -> Flat:
    """Pooling at the end's id as pooling at the largest id, where the end's is the largest of all: the same place."""
    tower = "towers.text"
    if flat.get(f"{tower}.pooling") != "eos" or flat[f"{tower}.eos"] != flat[f"{tower}.vocabulary"] - 1:
        return flat
    return {key: value for key, value in flat.items() if key != f"{tower}.eos"} | {f"{tower}.pooling": "argmax"}


def stream_of(task: Mapping[str, Any], tower: str) -> str | None:
    """The stream that a tower reads, the first of several."""
    return next((stream for stream, name in task["streams"].items() if name == tower), None)


def _place(key: str, pictures: str | None) -> str:
    """Where a user finds a key."""
    return f"config.data.streams.{pictures}.size" if key == "image_size" else f"config.task.{key}"


@dataclasses.dataclass(frozen=True)
class _Other:
    """A value outside those that a family has; equal to none of ours."""

    known: tuple[Any, ...]

    def __repr__(self) -> str:
        return " or ".join(map(repr, dict.fromkeys(self.known)))


def _flat(family: Family, config: Mapping[str, Any], names: Collection[str], strict: bool) -> Flat:
    """Their config as our flat section. Unless strict, a value that we have no word for stands as `_Other`."""
    theirs, flat = flatten(family.complete(config)), dict(family.fixed)
    for key in family.keys:
        if key.theirs not in theirs:
            raise UserError(f"{family.name} config: {key.theirs} is missing")
        value = _single(family, key, theirs[key.theirs])
        if key.values is None:
            flat[key.ours] = value
        elif value in key.values or not strict:
            flat[key.ours] = key.values.get(value, _Other(tuple(key.values.values())))
        else:
            known = ", ".join(map(str, key.values))
            raise UserError(f"{family.name} config: {key.theirs} is {value!r}, which mmjax has not; known: {known}")
    return flat | family.adapt(family.complete(config), names)


def _single(family: Family, key: Key, value: Any) -> Any:
    """A number that is given as a pair of the same, as configs may say a square's height and width."""
    if not isinstance(value, (list, tuple)):
        return value
    if len(set(value)) != 1:
        raise UserError(f"{family.name} config: {key.theirs} is {list(value)}; mmjax takes one number, as for a square")
    return value[0]


def _task(flat: Flat) -> dict[str, Any]:
    """The nested task section with every default written out."""
    nested = unflatten({key: value for key, value in flat.items() if key != "bias"})
    if flat.get("bias"):
        nested["bias_init"] = BIAS_INIT
    for name, tower in nested["towers"].items():
        nested["towers"][name] = with_defaults(tower, TOWERS, f"task.towers.{name}")
    if "decoder" in nested:
        nested["decoder"] = with_defaults(nested["decoder"], MultimodalDecoder, "task.decoder")
    if "connection" in nested:
        nested["connection"] = with_defaults(nested["connection"], Connection, "task.connection")
    return with_defaults(nested, TASKS, "task")


def essentials(task: Mapping[str, Any]) -> Flat:
    """The keys on which the features depend, flat, in one normal form."""
    towers = {name: _tower(section, f"task.towers.{name}") for name, section in task["towers"].items()}
    rest = {key: value for key, value in task.items() if key not in (*TRAINING, "towers", "project")}
    if task["name"] == "align":
        rest["project"] = dict.fromkeys(towers, "linear") | dict(task.get("project") or {})
        rest["bias"] = task.get("bias_init") is not None
    if task["name"] == "coca":
        decoder = with_defaults(task["decoder"], MultimodalDecoder, "task.decoder")
        rest["decoder"] = {key: value for key, value in decoder.items() if key not in TOWER_FREE}
    if task["name"] in WRITING:
        towers["image"].pop("head", None)  # the decoder reads tokens
        rest |= {"name": "caption", **_reading(task)}
    return flatten({**rest, "towers": towers})


def _reading(task: Mapping[str, Any]) -> dict[str, Any]:
    """How a captioner comes to read pictures and prompts."""
    connection = with_defaults(task.get("connection") or {}, Connection, "task.connection")
    if connection["connector"] != "resampler":
        connection = {key: value for key, value in connection.items() if key not in ("queries", "depth")}
    prompt = task.get("prompt") is not None
    return {"connection": connection, "prompt": prompt, "free_prompt": prompt and task.get("free_prompt", False)}


def sized(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A tower's section with every default written out, and numbers in place of a size's name.

    Raises:
      UserError: an encoder that is not ours.
    """
    full = with_defaults(section, TOWERS, where)
    if full["name"] in DECODERS:
        return full
    if full["name"] not in ENCODERS:
        raise UserError(f"{where}.name = {full['name']!r}: an encoder from outside mmjax has no counterpart there")
    size = resolve_size(*(full[key] for key in ("size", "width", "depth", "heads", "mlp_dim")))
    return full | dataclasses.asdict(size) | {"size": None}


def _tower(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    full = sized(section, where)
    if full["name"] in DECODERS:
        return _decoder(full)
    if full.get("pooling") != "eos":
        full.pop("eos", None)
    if full.get("stem") == "patch":
        full.pop("stem_widths")
    if full.get("stem") != "naflex":
        full.pop("grid", None)
    return {key: value for key, value in full.items() if key not in TOWER_FREE}


def _decoder(full: dict[str, Any]) -> dict[str, Any]:
    full |= {
        "kv_heads": full["kv_heads"] or full["heads"],
        "head_dim": full["head_dim"] or full["width"] // full["heads"],
    }
    if full["positions"] != "rotary":
        full.pop("rotary_base")
    return {key: value for key, value in full.items() if key not in DECODER_FREE}


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` to `{"a": {"b": 1}}`."""
    out: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        place = out
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return out
