"""What one chip does in a step: a walk through the compiled program, loops as often as they run.

XLA's `cost_analysis` counts the body of a loop once, so that a scanned stack of 24 blocks passes for one.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mmjax.chips import Chip
from mmjax.planning.hlo import Computation, Instruction, Program
from mmjax.planning.matmuls import Work, work
from mmjax.planning.traffic import COLLECTIVES, moved

# {{0,1},{2,3}}, [2,2]<=[4]T(1,0), or mesh['axis_0'=2,'axis_1'=2], device_ids=([2,2]T(1,0)) {'axis_0'}
GROUPS = re.compile(
    r"(?:replica_groups|source_target_pairs)="
    r"(\{\{.*?\}\}|mesh\[[^\]]*\](?:, device_ids=\(.*?\)\))? \{[^}]*\}|\{\}|[^\s{]+)"
)


class Collective(NamedTuple):
    """One transfer between chips.

    Attributes:
      kind: one of `COLLECTIVES`.
      size: bytes that a chip holds of it: the whole operand of a reduction, the whole result of a gather.
      groups: its replica groups or pairs, as the text has them.
      where: what of the model it belongs to, as JAX names it.
      times: how often a step does it.
    """

    kind: str
    size: int
    groups: str
    where: str
    times: int


@dataclasses.dataclass
class Counts:
    """Sums over a step on one chip.

    Attributes:
      flops: of matrix products.
      unit_flops: bfloat16 operations that take the same time: six times as many for exact float32 on a TPU.
      traffic: bytes between main memory and cores.
      collectives: all transfers.
      unknown_loops: names of loops whose number of turns the text does not tell; they count once.
    """

    flops: float = 0.0
    unit_flops: float = 0.0
    traffic: float = 0.0
    collectives: list[Collective] = dataclasses.field(default_factory=list)
    unknown_loops: list[str] = dataclasses.field(default_factory=list)


def count(program: Program, chip: Chip | None = None) -> Counts:
    """Everything that runs from the entry on, on such a chip."""
    counts = Counts()
    _walk(program, program.entry, 1, counts, chip)
    return counts


def _walk(program: Program, name: str, times: int, counts: Counts, chip: Chip | None) -> None:
    around = program.computations[name]
    for instruction in around.values():
        counts.traffic += times * moved(instruction, around, program)
        for done in _products(program, instruction, around, chip):
            counts.flops += times * done.flops
            counts.unit_flops += times * done.unit_flops
        if kind := _kind(instruction):
            counts.collectives.append(_collective(kind, instruction, around, times))
        if instruction.opcode == "fusion":
            counts.collectives += _inside_fusion(program, instruction, times)
        for inner, turns in _bodies(program, instruction, counts):
            _walk(program, inner, times * turns, counts, chip)


def _products(program: Program, instruction: Instruction, around: Computation, chip: Chip | None) -> Iterator[Work]:
    """Products stand alone or in fusions, which may be nested."""
    if done := work(instruction, around, chip):
        yield done
    if instruction.opcode == "fusion":
        inside = program.computations[instruction.called("calls") or ""]
        for inner in inside.values():
            yield from _products(program, inner, inside, chip)


def _bodies(program: Program, instruction: Instruction, counts: Counts) -> Iterator[tuple[str, int]]:
    """Computations that an instruction runs, and how often."""
    if instruction.opcode == "while":
        turns = _turns(program, instruction)
        if turns is None:
            counts.unknown_loops.append(instruction.name)
        yield instruction.called("body") or "", turns or 1
    elif instruction.opcode == "call":
        yield instruction.called("to_apply") or "", 1
    elif instruction.opcode == "conditional":
        names = re.findall(r"(?:true_computation|false_computation)=%?([\w.-]+)", instruction.text)
        listed = re.search(r"branch_computations=\{([^}]*)\}", instruction.text)
        names += re.findall(r"%?([\w.-]+)", listed.group(1)) if listed else []
        yield from ((name, 1) for name in names[:1])  # one branch runs; they are alike in what mmjax compiles
    elif instruction.opcode == "async-start" and (name := instruction.called("calls")):
        yield name, 1


def _turns(program: Program, loop: Instruction) -> int | None:
    """As XLA notes it, or else the constant that the loop's condition compares its counter with."""
    if noted := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.text):
        return int(noted.group(1))
    condition = program.computations[loop.called("condition") or ""]
    root = next(i for i in condition.values() if i.root)
    if root.opcode == "fusion":
        inner = program.computations[root.called("calls") or ""]
        limits = [condition[name] for name in root.operands]
        compare = next((i for i in inner.values() if i.opcode == "compare"), None)
    else:
        limits, compare = [condition[name] for name in root.operands], root
    constants = [int(i.text) for i in limits if i.opcode == "constant" and i.text.isdigit()]
    if compare is None or "direction=LT" not in compare.text or len(constants) != 1:
        return None
    step = _step(program, loop, next(i for i in limits if i.opcode != "constant"))
    return -(-constants[0] // step) if step else None


def _step(program: Program, loop: Instruction, counter: Instruction) -> int | None:
    """What a loop's body adds to its counter: two where the compiler put two turns into one, as in products that
    gather their factors piece by piece."""
    place = re.search(r"index=(\d+)", counter.text)
    body = program.computations[loop.called("body") or ""]
    root = next(i for i in body.values() if i.root)
    if place is None or root.opcode != "tuple":
        return None
    around, last = body, body[root.operands[int(place.group(1))]]
    added = [around[name] for name in last.operands]
    if last.opcode == "fusion":
        around = program.computations[last.called("calls") or ""]
        last = next(i for i in around.values() if i.root)
        added += [around[name] for name in last.operands]
    steps = [int(i.text) for i in added if i.opcode == "constant" and i.text.isdigit()]
    return steps[0] if last.opcode == "add" and len(steps) == 1 else None


def _kind(instruction: Instruction) -> str | None:
    """Of a transfer; a "-done" belongs to the start that was counted."""
    kind = instruction.opcode.removesuffix("-start")
    return kind if kind in COLLECTIVES else None


def _inside_fusion(program: Program, instruction: Instruction, times: int) -> list[Collective]:
    """Transfers that TPUs fuse: with products that run meanwhile, or with the slice of a sum that each chip keeps.

    Of one that runs beside products its start, its steps and its end all name it; the start counts. A sum and a slice
    in a computation `all-reduce-scatter` are what its name says, though its text shows an all-reduce.
    """
    name = instruction.called("calls") or ""
    inside: Mapping[str, Instruction] = program.computations[name]
    found = [(kind, i) for i in inside.values() if (kind := _kind(i))]
    again = any("AsyncCollectiveStart" in i.text for i in inside.values())
    alone = not any("AsyncCollective" in i.text or "async_collective" in name for i in inside.values())
    if not (again or alone or "scatter" in name):
        return []
    scatters = name.startswith("all-reduce-scatter")
    return [_collective("reduce-scatter" if scatters else kind, i, inside, times) for kind, i in found]


def _collective(kind: str, instruction: Instruction, around: Computation, times: int) -> Collective:
    operands = sum(around[name].size for name in instruction.operands)
    results = instruction.size - (operands if instruction.opcode.endswith("-start") and kind != "all-reduce" else 0)
    groups = GROUPS.search(instruction.text)
    where = re.search(r'op_name="([^"]*)"', instruction.text)
    return Collective(
        kind,
        max(operands, results),
        groups.group(1).rstrip(",") if groups else "",
        where.group(1) if where else "",
        times,
    )
