"""The text of a compiled program as instructions: XLA has no other stable form that tells layouts and memory spaces."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

BITS = {
    **dict.fromkeys(("s4", "u4"), 4),
    **dict.fromkeys(("pred", "s8", "u8", "f8e4m3fn", "f8e5m2", "f8e4m3b11fnuz"), 8),
    **dict.fromkeys(("s16", "u16", "f16", "bf16"), 16),
    **dict.fromkeys(("s32", "u32", "f32"), 32),
    **dict.fromkeys(("s64", "u64", "f64", "c64"), 64),
    "c128": 128,
}
SHAPE = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
HEAD = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
LINE = re.compile(r"^\s*(ROOT )?%?([\w.-]+) = (.*)$")
NAME = re.compile(r"%([\w.-]+)")
COMMENT = re.compile(r"/\*.*?\*/")


class Shape(NamedTuple):
    """One array.

    Attributes:
      dtype, dims: as XLA names them.
      size: bytes, the padding of its tiles included.
      fast: whether it lies in the chip's own fast memory (TPU: VMEM), which costs no traffic.
    """

    dtype: str
    dims: tuple[int, ...]
    size: int
    fast: bool


class Instruction(NamedTuple):
    """One line.

    Attributes:
      shapes: of its result; several for a tuple, nested ones flattened.
      operands: names of instructions of the same computation.
      text: all behind the operands.
      root: whether it is the computation's result.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    text: str
    root: bool

    def called(self, key: str) -> str | None:
        """The computation that an attribute such as `calls` or `body` names."""
        found = re.search(rf"\b{key}=%?([\w.-]+)", self.text)
        return found.group(1) if found else None

    @property
    def size(self) -> int:
        return sum(shape.size for shape in self.shapes)


Computation = Mapping[str, Instruction]


class Program(NamedTuple):
    """All computations by name, and the name of the one that runs first."""

    computations: Mapping[str, Computation]
    entry: str


def parse(text: str) -> Program:
    """Reads `compiled.as_text()`."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry, inside = "", None
    for line in COMMENT.sub("", text).splitlines():
        if head := HEAD.match(line):
            inside = computations.setdefault(head.group(1), {})
            entry = head.group(1) if line.startswith("ENTRY") else entry
        elif line.startswith("}"):
            inside = None
        elif inside is not None and (found := LINE.match(line)):
            instruction = _instruction(bool(found.group(1)), found.group(2), found.group(3))
            inside[instruction.name] = instruction
    return Program(computations, entry)


def _instruction(root: bool, name: str, rest: str) -> Instruction:
    kind, rest = _type(rest)
    opcode, _, rest = rest.strip().partition("(")
    end = _closing("(" + rest) - 1
    shapes = tuple(_shape(*found.groups()) for found in SHAPE.finditer(kind))
    operands = tuple(NAME.findall(rest[:end]))
    text = rest[:end] if opcode in ("constant", "parameter") else rest[end + 1 :]
    return Instruction(name, opcode, shapes, operands, text, root)


def _type(rest: str) -> tuple[str, str]:
    """The type in front, a tuple's in brackets, and what follows it."""
    end = _closing(rest) + 1 if rest.startswith("(") else rest.index(" ")
    return rest[:end], rest[end:]


def _closing(text: str) -> int:
    """Where the bracket that opens a text closes."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if not depth:
            return place
    return len(text)


def _shape(dtype: str, dims: str, layout: str | None) -> Shape:
    sizes = tuple(int(size) for size in dims.split(",") if size)
    order, _, tiles = (layout or "").partition(":")
    padded = _padded(sizes, [int(axis) for axis in order.split(",") if axis], tiles)
    return Shape(dtype, sizes, -(-padded * BITS.get(dtype, 0) // 8), "S(1)" in tiles)


def _padded(dims: tuple[int, ...], minor_to_major: list[int], tiles: str) -> int:
    """Elements with the last axes in memory rounded up to whole tiles: T(8,128) pads them to 8 and to 128."""
    found = re.match(r"T\(([\d,]+)\)", tiles)
    sizes = list(dims)
    if found and len(dims) > 1:
        for axis, tile in zip(minor_to_major, reversed(found.group(1).split(",")), strict=False):
            sizes[axis] = -(-sizes[axis] // int(tile)) * int(tile)
    return math.prod(sizes)
