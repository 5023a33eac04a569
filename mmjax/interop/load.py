"""Checkpoint → parameters: everything is compared by name, shape and type first, then read tensor by tensor."""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.errors import UserError
from mmjax.interop.family import Family, Tensor
from mmjax.interop.positions import resize_table
from mmjax.interop.tensors import Stored

Place = Callable[[str, np.ndarray], Any]  # (parameter, its values on the host) → the array on its devices
FLOATS = ("F32", "F16", "BF16", "F64")
SHOW = 8  # names that an error lists


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a model's config asks of a checkpoint.

    Attributes:
      shapes: {parameter: shape} of the model.
      table: the family's tensors, blocks written out.
      rows: {position table: rows it has by the checkpoint's own config}; it is resized from them to those of `shapes`.
      new: regexes of parameters that the checkpoint need not have: they are left out of the result.
      drop: regexes of its tensors that are not wanted.
    """

    shapes: Mapping[str, tuple[int, ...]]
    table: Sequence[Tensor]
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    new: Sequence[str] = ()
    drop: Sequence[str] = ()

    def stored(self, name: str) -> tuple[int, ...] | None:
        """The shape that a parameter has in the checkpoint, before any resizing; None if the model has no such one."""
        shape = self.shapes.get(name)
        return shape if shape is None or name not in self.rows else (self.rows[name], *shape[1:])


def expand(family: Family, task: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """The family's table for this task, every block written out."""
    out: list[Tensor] = []
    for tensor in family.table(task):
        if "{i}" not in tensor.theirs:
            out.append(tensor)
            continue
        name = tensor.ours[0].partition("/")[0].removeprefix("towers_")
        section = task["towers"][name] if name in task["towers"] else task[name]
        out += [tensor.at(block) for block in range(section["depth"])]
    return tuple(out)


def strip_prefix(family: Family, stored: Mapping[str, Stored], table: Sequence[Tensor]) -> dict[str, Stored]:
    """The tensors under the names of the bare model: a model with a head has it one level down."""
    known = {tensor.theirs for tensor in table}
    best = max(family.prefixes, key=lambda prefix: sum(prefix + name in stored for name in known))
    return {name.removeprefix(best) if name.startswith(best) else name: value for name, value in stored.items()}


def check(family: Family, stored: Mapping[str, Stored], wanted: Wanted, source: str) -> None:
    """Compares a checkpoint with what is wanted, before a single value is read.

    Raises:
      UserError: all that is missing, unexpected, of another shape, or of a type that is no float, in one line.
    """
    table = {tensor.theirs: tensor for tensor in wanted.table}
    wrong = [f"missing {name}" for name, tensor in table.items() if name not in stored and not _new(tensor, wanted)]
    extra = [name for name in stored if name not in table and not _ignored(family, name, wanted.drop)]
    wrong += [f"unexpected {name}" for name in extra]
    for name in (name for name in table if name in stored):
        wrong += _mismatch(table[name], stored[name], wanted)
    if wrong:
        more = f" and {len(wrong) - SHOW} more" if len(wrong) > SHOW else ""
        hint = "; leave tensors out by --drop REGEX" if extra and len(extra) == len(wrong) else ""
        raise UserError(
            f"{source} does not hold the {family.name} of its config: {'; '.join(wrong[:SHOW])}{more}{hint}"
        )


def _new(tensor: Tensor, wanted: Wanted) -> bool:
    return all(any(re.search(pattern, name) for pattern in wanted.new) for name in tensor.ours)


def _ignored(family: Family, name: str, drop: Sequence[str]) -> bool:
    known = (*family.ignore, *(f"^{re.escape(tied)}$" for tied in family.tied), *drop)
    return any(re.search(pattern, name) for pattern in known)


def _mismatch(tensor: Tensor, stored: Stored, wanted: Wanted) -> list[str]:
    if stored.dtype not in FLOATS:
        return [f"{tensor.theirs} is {stored.dtype}, not a float"]
    hollow = np.broadcast_to(np.zeros((), np.float32), stored.shape)
    try:
        parts = tensor.layout.load(hollow)
    except (ValueError, IndexError) as error:
        return [f"{tensor.theirs} {list(stored.shape)}: {error}"]
    out = []
    for name, part in zip(tensor.ours, parts, strict=True):
        shape = wanted.stored(name)
        if shape is None:
            out.append(f"{tensor.theirs}: the model has no {name}")
        elif part.shape != shape:
            out.append(
                f"{tensor.theirs} is {list(stored.shape)}, which makes {name} {list(part.shape)}, not {list(shape)}"
            )
    return out


def check_drop(stored: Collection[str], table: Sequence[Tensor], drop: Sequence[str]) -> None:
    """Refuses a pattern that leaves nothing out: a rule that does nothing is a typing mistake.

    Raises:
      UserError: such a pattern, or one that is no regular expression.
    """
    extra = sorted(set(stored) - {tensor.theirs for tensor in table})
    for pattern in drop:
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise UserError(f"--drop {pattern!r} is no regular expression ({error})") from None
        if not any(map(wanted.search, extra)):
            others = f"there are {', '.join(extra[:4])}" if extra else "there is none"
            raise UserError(f"--drop {pattern!r} matches no tensor beside those that the model needs; {others}")


def check_tied(family: Family, stored: Mapping[str, Stored], source: str) -> None:
    """Refuses a head that has come untied from the table it repeats: nothing here could hold it."""
    for name, other in family.tied.items():
        if name in stored and other in stored and not np.array_equal(stored[name].read(), stored[other].read()):
            raise UserError(f"{source}: {name} differs from {other}; mmjax has this head tied alone")


def read(family: Family, stored: Mapping[str, Stored], wanted: Wanted, place: Place) -> dict[str, Any]:
    """Reads one tensor after the other onto the devices; float32, whatever the checkpoint holds.

    Returns:
      {parameter: what `place` made of it}, all but those that are `new`.
    """
    return {name: place(name, values) for name, values in _parts(family, stored, wanted)}


def _parts(family: Family, stored: Mapping[str, Stored], wanted: Wanted) -> Iterator[tuple[str, np.ndarray]]:
    """Every parameter with its values, in the order of the files, so that each is read once from front to back."""
    table = {tensor.theirs: tensor for tensor in wanted.table}
    for theirs, entry in stored.items():
        if theirs not in table:
            continue
        tensor = table[theirs]
        values = entry.read().astype(np.float32, copy=False)
        for name, part in zip(tensor.ours, tensor.layout.load(values), strict=True):
            if name in family.resize:
                part = resize_table(part, wanted.shapes[name][0], family.resize[name])
            yield name, np.asarray(part, order="C")
