"""Bytes that an instruction moves between a chip's main memory and its cores."""

from collections.abc import Iterable

from mmjax.planning.hlo import Computation, Instruction, Program, Shape

# What only names, groups or reserves memory.
FREE = frozenset(
    (
        "parameter",
        "constant",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "after-all",
        "partition-id",
        "replica-id",
        "iota",
        "opt-barrier",
        "while",
        "call",
        "conditional",
    )
)
FREE_CALLS = ("AllocateBuffer", "ConcatBitcast", "AssumeGatherIndicesInBound", "GatherScatterIndicesBitpacked")
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
SLICES = frozenset(("dynamic-slice", "slice", "gather"))
VIEWS = frozenset(("bitcast", "reshape", "get-tuple-element"))


def moved(instruction: Instruction, around: Computation, program: Program) -> int:
    """Bytes read and written, those of the fast memory left out.

    A fusion reads of an operand what it slices out of it, and writes of a buffer what it updates in place; anything
    else is read and written once, whole.
    """
    if (
        instruction.opcode in FREE
        or instruction.opcode.endswith(("-done", "-update", "async-start"))
        or any(name in instruction.text for name in FREE_CALLS)
    ):
        return 0
    if instruction.opcode in ("copy-start", "slice-start"):
        return _transfer(instruction, around)
    if instruction.opcode.endswith("-start"):
        return _collective(instruction, around)
    if instruction.opcode == "fusion":
        return _fusion(instruction, around, program)
    if instruction.opcode in SLICES:
        return 2 * _slow(instruction.shapes)
    if instruction.opcode == "dynamic-update-slice":
        return 2 * _slow(around[instruction.operands[1]].shapes)
    return _slow(instruction.shapes) + sum(_slow(around[name].shapes) for name in instruction.operands)


def _transfer(instruction: Instruction, around: Computation) -> int:
    """A copy that runs beside the computation: what is shorter of source and destination, on each slow side."""
    source, target = around[instruction.operands[0]].shapes[0], _target(instruction)
    size = min(source.size, target.size)
    return size * ((not source.fast) + (not target.fast))


def _collective(instruction: Instruction, around: Computation) -> int:
    """Of a transfer between chips: what is read, and the results, which most starts list behind their operands."""
    read = sum(_slow(around[name].shapes) for name in instruction.operands)
    listed = _slow(instruction.shapes)
    return read + (listed if instruction.opcode.startswith("all-reduce") else max(0, listed - read))


def _target(instruction: Instruction) -> Shape:
    """The result is (destination, source, ...) for a copy and (sources, destination, ...) for a slice."""
    return instruction.shapes[0 if instruction.opcode == "copy-start" else 1]


def _fusion(instruction: Instruction, around: Computation, program: Program) -> int:
    inside = program.computations[instruction.called("calls") or ""]
    read = sum(
        min(_slow(around[name].shapes), _read(parameter, inside, program))
        for parameter, name in zip(_parameters(inside), instruction.operands, strict=True)
    )
    root = next(i for i in inside.values() if i.root)
    results = [inside[name] for name in root.operands] if root.opcode == "tuple" else [root]
    if len(results) != len(instruction.shapes):
        return read + _slow(instruction.shapes)
    return read + sum(
        _written(result, shape, inside) for result, shape in zip(results, instruction.shapes, strict=True)
    )


def _parameters(inside: Computation) -> list[str]:
    """Names, in the order of the operands."""
    found = {int(i.text): name for name, i in inside.items() if i.opcode == "parameter"}
    return [found[place] for place in range(len(found))]


def _read(parameter: str, inside: Computation, program: Program) -> int:
    """Of an operand: what its users slice out; nothing of a buffer that is only written to; else all."""
    whole = inside[parameter].size
    return min(whole, sum(_part(user, name, inside, program) for user, name in _users(parameter, inside)))


def _part(user: Instruction, name: str, inside: Computation, program: Program) -> int:
    """What one user reads of an operand, by which name it knows it."""
    if _sends(user):
        return 0
    if user.opcode == "fusion":
        inner = program.computations[user.called("calls") or ""]
        names = [p for p, operand in zip(_parameters(inner), user.operands, strict=True) if operand == name]
        return sum(_read(parameter, inner, program) for parameter in names)
    first = user.operands[0] == name
    if user.opcode in SLICES and first:
        return user.size
    return 0 if user.opcode == "dynamic-update-slice" and first else inside[name].size


def _written(result: Instruction, shape: Shape, inside: Computation) -> int:
    """Of a result: the part that is updated, where it is a buffer's update; else all."""
    if shape.fast:
        return 0
    made = inside[_origin(result.name, inside)]
    if _sends(made):
        return 0
    return inside[made.operands[1]].size if made.opcode == "dynamic-update-slice" else shape.size


def _sends(instruction: Instruction) -> bool:
    """A transfer that runs beside the fusion: it is counted as what it is, and not as the fusion's own."""
    return instruction.opcode in COLLECTIVES or "AsyncCollective" in instruction.text


def _users(name: str, inside: Computation) -> list[tuple[Instruction, str]]:
    """Who reads an instruction, through views that move nothing, and the name of the view."""
    found = []
    for instruction in inside.values():
        if name in instruction.operands:
            found += _users(instruction.name, inside) if instruction.opcode in VIEWS else [(instruction, name)]
    return found


def _origin(name: str, inside: Computation) -> str:
    """What a chain of views shows."""
    while inside[name].opcode in VIEWS:
        name = inside[name].operands[0]
    return name


def _slow(shapes: Iterable[Shape]) -> int:
    return sum(shape.size for shape in shapes if not shape.fast)
