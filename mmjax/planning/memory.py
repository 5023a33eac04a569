"""Where the bytes of a chip go: what the state takes, what the backward pass keeps, what the compiler allots."""

import math
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, Literal

from mmjax.training.state import TrainState


class Memory(NamedTuple):
    """Bytes of one chip.

    Attributes:
      parameters, optimizer, batch: what a step is given; `optimizer` with the running average.
      activations: what the forward pass keeps for the backward pass, by the traced program; part of `temporaries`.
      temporaries: all that the compiler allots beside what is given.
      total: the most that is held at once.

    The last two are None where the compiler refused a program and did not say what it wanted.
    """

    parameters: float
    optimizer: float
    batch: float
    activations: float
    temporaries: float | None
    total: float | None


def shard_bytes(tree: Any) -> float:
    """Of one device's parts of a tree of shapes with shardings."""
    leaves = jax.tree.leaves(tree)
    return float(sum(math.prod(x.sharding.shard_shape(x.shape)) * _itemsize(x.dtype) for x in leaves))


def _itemsize(dtype: Any) -> int:
    return 8 if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) else dtype.itemsize


def state_bytes(state: TrainState) -> tuple[float, float]:
    """Parameters; moments and average."""
    return shard_bytes(state.params), shard_bytes((state.opt_state, state.ema))


def kept_bytes(loss: Any, params: Any, batch: Any) -> float:
    """What `jax.vjp` of `loss(params, batch)` keeps and what follows from the batch, of all devices together."""
    kept = lambda params, batch: jax.vjp(lambda p: loss(p, batch), params)[1]  # noqa: E731
    traced = jax.make_jaxpr(kept)(params, batch)
    first = len(jax.tree.leaves(params))
    return float(sum(_size(v) for v in dict.fromkeys(_following(traced.jaxpr, first))))


def _following(jaxpr: Jaxpr, first: int) -> list[Any]:
    """Results that depend on an input from number `first` on, inputs themselves left out."""
    known = set(jaxpr.invars[first:])
    for equation in jaxpr.eqns:
        if any(not isinstance(v, Literal) and v in known for v in equation.invars):
            known.update(equation.outvars)
    given = set(jaxpr.invars)
    return [v for v in jaxpr.outvars if not isinstance(v, Literal) and v in known and v not in given]


def _size(variable: Any) -> int:
    return math.prod(variable.aval.shape) * _itemsize(variable.aval.dtype)
