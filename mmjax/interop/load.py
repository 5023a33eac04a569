"""Checkpoint → parameters: everything is compared by name, shape and type first, then read tensor by tensor."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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
      new: regexes of parameters that the checkpoint need not have: they are left out of the result.
      drop: regexes of its tensors that are not wanted.
    """

    shapes: Mapping[str, tuple[int, ...]]
    table: Sequence[Tensor]
    new: Sequence[str] = ()
    drop: Sequence[str] = ()


def expand(family: Family, task: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """The family's table for this task, every block written out."""
    out: list[Tensor] = []
    for tensor in family.table(task):
        if "{i}" not in tensor.theirs:
            out.append(tensor)
            continue
        tower = tensor.ours[0].partition("/")[0].removeprefix("towers_")
        out += [tensor.at(block) for block in range(task["towers"][tower]["depth"])]
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
    for name in table.keys() & stored.keys():
        wrong += _mismatch(family, table[name], stored[name], wanted)
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


def _mismatch(family: Family, tensor: Tensor, stored: Stored, wanted: Wanted) -> list[str]:
    if stored.dtype not in FLOATS:
        return [f"{tensor.theirs} is {stored.dtype}, not a float"]
    hollow = np.broadcast_to(np.zeros((), np.float32), stored.shape)
    try:
        parts = tensor.layout.load(hollow)
    except (ValueError, IndexError) as error:
        return [f"{tensor.theirs} {list(stored.shape)}: {error}"]
    out = []
    for name, part in zip(tensor.ours, parts, strict=True):
        shape = wanted.shapes.get(name)
        if name in family.resize and shape and part.shape[1:] == shape[1:]:
            continue
        if shape is None:
            out.append(f"{tensor.theirs}: the model has no {name}")
        elif part.shape != shape:
            out.append(
                f"{tensor.theirs} is {list(stored.shape)}, which makes {name} {list(part.shape)}, not {list(shape)}"
            )
    return out


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
