"""How much arithmetic a step is: the matmuls and convolutions of a traced program, loops counted as often as they run.

XLA's own `cost_analysis` counts the body of a loop once, so a scanned stack of 24 blocks would pass for one.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def flops_of(f: Callable, *args: Any) -> int:
    """Floating-point operations of `f(*args)` over all devices; shapes suffice as arguments. Nothing is compiled."""
    return count(jax.make_jaxpr(f)(*args).jaxpr)


def training_flops(forward: int, step: int) -> float:
    """Useful operations of a step, of which MFU is a share (Chowdhery et al. 2022, "PaLM", appendix B).

    At most three times the forward pass: what rematerialisation computes again is no progress. Fewer where the traced
    step has fewer: frozen parameters need no gradient.
    """
    return float(min(step, 3 * forward))


def count(jaxpr: Jaxpr) -> int:
    """Operations of a program, one multiply-add being two; elementwise work is left out, as is usual."""
    return sum(times * operations(eqn) for eqn, times in equations(jaxpr))


def equations(jaxpr: Jaxpr, times: int = 1) -> Iterator[tuple[JaxprEqn, int]]:
    """Every equation of a program and of those inside it, and how often it runs; of branches the most costly."""
    for eqn in jaxpr.eqns:
        inner = [program for value in eqn.params.values() for program in _programs(value)]
        if eqn.primitive.name == "cond":
            inner = [max(inner, key=count)]
        if inner and not operations(eqn):
            for program in inner:
                yield from equations(program, times * _times(eqn))
        else:
            yield eqn, times


def operations(eqn: JaxprEqn) -> int:
    """Of one equation by itself; none of those inside it."""
    name = eqn.primitive.name
    if name == "dot_general":
        return _matmul(eqn)
    if name == "conv_general_dilated":
        return _convolution(eqn)
    if name.startswith("dot_product_attention"):  # cuDNN's kernel, which has no program inside
        return _fused_attention(eqn) * (2 if "bwd" in name else 1)
    return 0


def _times(eqn: JaxprEqn) -> int:
    """How often a program inside runs: a scan per element, a `shard_map` per device, a kernel over its grid."""
    if eqn.primitive.name == "pallas_call":
        return math.prod(eqn.params["grid_mapping"].grid)
    if eqn.primitive.name == "shard_map":
        return math.prod(eqn.params["mesh"].shape[axis] for axis in eqn.params["newly_manual_axes"])
    return eqn.params["length"] if eqn.primitive.name == "scan" else 1


def _programs(value: Any) -> list[Jaxpr]:
    """The programs that a parameter of an equation holds."""
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    return [jaxpr for item in value for jaxpr in _programs(item)] if isinstance(value, (tuple, list)) else []


def _matmul(eqn: JaxprEqn) -> int:
    (contract, _), _ = eqn.params["dimension_numbers"]
    shape = _shape(eqn.invars[0])
    return 2 * math.prod(_shape(eqn.outvars[0])) * math.prod(shape[axis] for axis in contract)


def _convolution(eqn: JaxprEqn) -> int:
    """Every output sums over the kernel's window and input channels: all of the kernel but its output channels."""
    kernel = _shape(eqn.invars[1])
    channels = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    return 2 * math.prod(_shape(eqn.outvars[0])) * math.prod(kernel) // channels


def _fused_attention(eqn: JaxprEqn) -> int:
    """Queries `[b, n, heads, d]` times keys `[b, m, heads, d]`, and the weights times the values."""
    query, key = _shape(eqn.invars[0]), _shape(eqn.invars[1])
    return 4 * math.prod(query) * key[1]


def _shape(value: Any) -> tuple[int, ...]:
    return value.aval.shape
