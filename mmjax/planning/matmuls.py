"""Floating-point operations of the matrix products of a compiled program; one multiply-add is two."""

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmjax.chips import Chip
from mmjax.planning.hlo import Computation, Instruction, Shape

FMHA = "__cudnn$fmha"
LOGITS = re.compile(r'"intermediate_tensor_shape":\{[^}]*"dimensions":\[([^\]]*)\]')
GEMM = ("__cublas$", "__onednn$matmul")  # matrix products that XLA hands to a library
PRECISION = re.compile(r'operand_precision"?[=:][{\["]+(\w+)')
COST = re.compile(r'"cost_estimate":\{[^}]*"flops":"?(\d+)')  # what a kernel of ours says of itself


class Work(NamedTuple):
    """Of one product: its operations, and how many bfloat16 ones a chip does in the same time."""

    flops: float
    unit_flops: float


def work(instruction: Instruction, around: Computation, chip: Chip | None) -> Work | None:
    """What a matrix product or a convolution costs; None for anything else.

    Args:
      chip: whose units do it; None counts float32 as bfloat16.
    """
    if instruction.opcode == "dot":
        flops = _dot(instruction, around)
    elif instruction.opcode == "convolution":
        flops = _convolution(instruction, around)
    elif instruction.opcode == "custom-call" and any(name in instruction.text for name in GEMM):
        flops = _gemm(instruction, around)
    elif instruction.opcode == "custom-call" and (told := COST.search(instruction.text)):
        return Work(float(told.group(1)), float(told.group(1)))
    elif instruction.opcode == "custom-call" and FMHA in instruction.text and (told := LOGITS.search(instruction.text)):
        flops = _cudnn_attention(instruction, around, told.group(1))
    else:
        return None
    return Work(flops, flops * _passes(instruction, around, chip))


def _passes(instruction: Instruction, around: Computation, chip: Chip | None) -> float:
    """How many bfloat16 products take the time of this one."""
    if chip is None or around[instruction.operands[0]].shapes[0].dtype != "f32":
        return 1.0
    found = PRECISION.search(instruction.text)
    return chip.passes(found.group(1).lower() if found else "default")


def _dot(instruction: Instruction, around: Computation) -> float:
    left = around[instruction.operands[0]].shapes[0]
    found = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.text)
    axes = [int(axis) for axis in found.group(1).split(",") if axis] if found else []
    return 2.0 * math.prod(instruction.shapes[0].dims) * math.prod(left.dims[axis] for axis in axes)


def _gemm(instruction: Instruction, around: Computation) -> float:
    left = around[instruction.operands[0]].shapes[0]
    found = re.search(r'"lhs_contracting_dimensions":(\[[^\]]*\])', instruction.text)
    axes = [int(axis) for axis in json.loads(found.group(1))] if found else [len(left.dims) - 1]
    return 2.0 * math.prod(instruction.shapes[0].dims) * math.prod(left.dims[axis] for axis in axes)


def _cudnn_attention(instruction: Instruction, around: Computation, dimensions: str) -> float:
    """Two products with the logits' shape forward; five backward, the first of them computed again."""
    logits = [int(size) for size in re.findall(r"\d+", dimensions)]
    dim = around[instruction.operands[0]].shapes[0].dims[-1]
    return (5 if "Backward" in instruction.text else 2) * 2.0 * math.prod(logits) * dim


def _convolution(instruction: Instruction, around: Computation) -> float:
    """TPUs write every product as a convolution; a batch axis becomes a window that meets one element in each place."""
    left, right = (around[name].shapes[0] for name in instruction.operands[:2])
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.text)
    assert labels, instruction.text
    _, kernel, output = labels.groups()
    result = instruction.shapes[0]
    meetings = math.prod(_meetings(instruction.text, left, right, result, labels.groups()))
    batch, features = result.dims[output.index("b")], result.dims[output.index("f")]
    groups = re.search(r"batch_group_count=(\d+)", instruction.text)
    batch *= int(groups.group(1)) if groups else 1
    return 2.0 * batch * features * right.dims[kernel.index("i")] * meetings


def _meetings(text: str, left: Shape, right: Shape, result: Shape, labels: Sequence[Any]) -> list[int]:
    """Along each spatial axis, how many pairs of an output place and a window place meet an element that exists."""
    inputs, kernel, output = labels
    window = re.search(r"window=\{([^}]*)\}", text)
    options = dict(part.split("=") for part in window.group(1).split()) if window else {}
    found = []
    for axis in sorted(label for label in kernel if label.isdigit()):
        place = int(axis)
        at = {key: value.split("x")[place] for key, value in options.items()}
        found.append(
            _pairs(
                length=left.dims[inputs.index(axis)],
                size=right.dims[kernel.index(axis)],
                outputs=result.dims[output.index(axis)],
                stride=int(at.get("stride", 1)),
                before=int(at.get("pad", "0_0").split("_")[0]),
                spread=int(at.get("lhs_dilate", 1)),
                step=int(at.get("rhs_dilate", 1)),
            )
        )
    return found


def _pairs(*, length: int, size: int, outputs: int, stride: int, before: int, spread: int, step: int) -> int:
    """Pairs (output, window place) that fall on an element, not on padding nor between two spread elements."""
    count = 0
    for out in range(outputs):
        for place in range(size):
            at = out * stride - before + place * step
            count += 0 <= at <= (length - 1) * spread and at % spread == 0
    return count
