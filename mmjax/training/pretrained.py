"""The first parameters of a run, from models that exist: strict, checked by shapes before anything compiles."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from mmjax import bundle
from mmjax.config import build, plain
from mmjax.errors import UserError
from mmjax.models.stacking import Flat, stacked_as
from mmjax.tasks.base import Params
from mmjax.training import tree

log = logging.getLogger(__name__)
WHERE = "config.init_from"
SHOWN = 8  # of a list of wrong parameters
PROBE = "Two dogs run over 13 green hills; 两只狗。"


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a part of the parameters comes from.

    Attributes:
      source: a bundle folder, a run folder, or whatever else `mmjax.load` reads.
      take: which part of the source's tree, such as "towers_image"; "" for all of it.
      into: where that part goes in this model's tree; None for the same place.
      new: regexes of parameters of this model that are drawn and not loaded, such as a new head; they may lie anywhere
        in the model. What is neither loaded nor named here is missing.
      drop: regexes of parameters of the source that have no place here. One that is neither used nor named here is
        unexpected.
    """

    source: str
    take: str = ""
    into: str | None = None
    new: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


def parse_starts(value: Any) -> tuple[Start, ...]:
    """`config.init_from`, a text, a section or several of either, as sections; None is none.

    Raises:
      UserError: unknown keys or wrong types.
    """
    value = plain(value)
    items = () if value is None else value if isinstance(value, tuple) else (value,)
    sections = [{"source": item} if isinstance(item, str) else item for item in items]
    keys = [WHERE if len(sections) == 1 else f"{WHERE}[{i}]" for i in range(len(sections))]
    return tuple(build(section, Start, key) for section, key in zip(sections, keys, strict=True))


def load_starts(
    starts: Sequence[Start],
    wanted: Params,
    export: Callable[[Params], Params],
    streams: Mapping[str, Any],
    reads: Mapping[str, str],
    freeze: Sequence[str],
) -> Params:
    """Reads the sources and puts each parameter where it belongs, each device taking its shard, as float32.

    Args:
      wanted: shapes and shardings of the parameters that train.
      export: those parameters as a model has them; factors of a LoRA, which it merges, are not loaded.
      streams: this run's transforms.
      reads: {stream: the tower of this run that reads it}.
      freeze: regexes of the parameters that do not train.

    Returns:
      The loaded part of the tree; `new` parameters are not in it.

    Raises:
      UserError: a source that cannot be read; parameters that are missing, unexpected or of another shape; a regex or
        prefix that chooses nothing; new parameters that would stay as they are drawn.
    """
    if not starts:
        return {}
    shapes = own(wanted, export)
    new = [pattern for start in starts for pattern in start.new]
    tree.check_patterns(new, traverse_util.unflatten_dict(shapes, sep="/"), f"{WHERE}.new")
    check_new(new, freeze, shapes)
    parts = []
    for start in starts:
        model = bundle.load(start.source, place=placing(start, shapes))
        parts.append(part(start, model.params, shapes))
        warn_of_tokenizers(
            start, model, {n: x for n, x in parts[-1].items() if not tree.matches(new, n)}, streams, reads
        )
    values = merged(parts)
    values = {name: value for name, value in values.items() if not tree.matches(new, name)}
    check(values, {name: x.shape for name, x in shapes.items() if not tree.matches(new, name)}, starts)
    placed = {name: x if isinstance(x, jax.Array) else put(x, shapes[name].sharding) for name, x in values.items()}
    return traverse_util.unflatten_dict(placed, sep="/")


def placing(start: Start, shapes: Mapping[str, Any]) -> bundle.Place:
    """Puts each parameter of a source straight into the sharding that it has here, so that no device holds them whole.

    What is not here under its name and shape stays on the host: a stack in another form, or what is to be refused.
    """

    def place(name: str, value: np.ndarray) -> jax.Array | np.ndarray:
        wanted = shapes.get(moved(start, name))
        return put(value, wanted.sharding) if wanted is not None and wanted.shape == value.shape else value

    return place


def own(wanted: Params, export: Callable[[Params], Params]) -> dict[str, Any]:
    """Shapes and shardings by path name of what a model of this task holds."""
    names = tree.names(jax.eval_shape(export, wanted))
    flat = traverse_util.flatten_dict(wanted, sep="/")
    return {name: flat[name] for name in names}


def part(start: Start, params: Params, names: Sequence[str] | Mapping[str, Any]) -> Flat:
    """What one source gives, under this model's names and with its stacks in this model's form."""
    flat = traverse_util.flatten_dict(params, sep="/")
    taken = {name: x for name, x in flat.items() if name.startswith(_folder(start.take))}
    if not taken:
        tops = sorted({name.partition("/")[0] for name in flat})
        raise UserError(f"{WHERE}.take: {start.source} has nothing under {start.take!r}; it has {', '.join(tops)}")
    tree.check_patterns(start.drop, taken, f"{WHERE}.drop")
    kept = {name: x for name, x in taken.items() if not tree.matches(start.drop, name)}
    return stacked_as({moved(start, name): x for name, x in kept.items()}, names)


def moved(start: Start, name: str) -> str:
    """Where a parameter of the source goes in this model's tree."""
    into = start.take if start.into is None else start.into
    return _folder(into) + name.removeprefix(_folder(start.take))


def check_new(new: Sequence[str], freeze: Sequence[str], names: Iterable[str]) -> None:
    """Refuses parameters that are neither loaded nor trained: they would stay as they were drawn."""
    if stuck := [name for name in names if tree.matches(new, name) and tree.matches(freeze, name)]:
        raise UserError(
            f"{WHERE}.new: {_some(stuck)} would be drawn at random and stay so, for they are frozen; "
            "take them out of config.optimizer.freeze, or with a LoRA name them in config.lora.also"
        )


def warn_of_tokenizers(
    start: Start, model: bundle.Model, taken: Iterable[str], streams: Mapping[str, Any], reads: Mapping[str, str]
) -> None:
    """Says which streams read texts otherwise than the source did, of the towers whose table of ids is taken.

    A new text tower may read otherwise, so it is no error.
    """
    theirs = reads_of(model.config["task"])
    fed = {moved(start, f"towers_{tower}/"): tower for tower in theirs.values()}
    tables = [name for name in taken if "embedding" in name]
    into = {place: tower for place, tower in fed.items() if any(name.startswith(place) for name in tables)}
    ours = {stream: into[f"towers_{tower}/"] for stream, tower in reads.items() if f"towers_{tower}/" in into}
    for name in other_tokenizers(streams, ours, model.streams, theirs):
        text = "config.data.streams.%s: not the tokenizer that %s has; mmjax.sections(%r) gives it"
        log.warning(text, name, start.source, start.source)


def reads_of(task: Mapping[str, Any]) -> Mapping[str, str]:
    """{stream: the tower that reads it} of a task's section; nothing of a task without towers."""
    return task["streams"] if isinstance(task.get("streams"), Mapping) else {}


def other_tokenizers(
    streams: Mapping[str, Any], reads: Mapping[str, str], other: Mapping[str, Any], other_reads: Mapping[str, str]
) -> list[str]:
    """Streams that a tower reads by a tokenizer of none of the other model's streams for that tower.

    No shape tells, but ids mean other words.

    Args:
      streams, other: transforms of two models.
      reads, other_reads: {stream: tower}, by the same names of towers.
    """
    known: dict[str, list[list[int]]] = {}
    for name, tower in other_reads.items():
        known.setdefault(tower, []).append(_ids(other[name]))
    return sorted(n for n, tower in reads.items() if tower in known and _ids(streams[n]) not in known[tower])


def _ids(stream: Any) -> list[int]:
    """What a stream's tokenizer makes of a text; nothing, where it reads no texts."""
    return stream.loaded().encode(PROBE, 64)[0].tolist() if stream.kind == "text" else []


def merged(parts: Sequence[Flat]) -> Flat:
    """All parts as one; two that give the same parameter are refused."""
    out: Flat = {}
    for values in parts:
        if twice := sorted(out.keys() & values.keys()):
            raise UserError(
                f"{WHERE}: {_some(twice)} would come from two sources; use take, into and drop to part them"
            )
        out |= values
    return out


def check(
    values: Mapping[str, np.ndarray | jax.Array], shapes: Mapping[str, tuple[int, ...]], starts: Sequence[Start]
) -> None:
    """Refuses anything but exactly these parameters in exactly these shapes; all that is wrong is one message."""
    missing, unexpected = sorted(shapes.keys() - values.keys()), sorted(values.keys() - shapes.keys())
    odd = [name for name in sorted(shapes.keys() & values.keys()) if values[name].shape != shapes[name]]
    kinds = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": [f"{name} is {values[name].shape}, should be {shapes[name]}" for name in odd],
    }
    if wrong := [f"{kind}: {_some(names)}" for kind, names in kinds.items() if names]:
        sources = ", ".join(start.source for start in starts)
        raise UserError(
            f"{WHERE}: {sources} does not fit this config's model; {'; '.join(wrong)}; name what shall be drawn in "
            "`new`, what shall be left out in `drop`"
        )


def put(value: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """A host array, equal on all hosts, as a global float32 one: each device gets its shard alone."""
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index].astype(np.float32))


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more


def _folder(prefix: str) -> str:
    return f"{prefix.strip('/')}/" if prefix.strip("/") else ""
