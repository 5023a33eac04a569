"""The step's program, compiled from shapes alone: there need be no state yet, nor a batch."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh

from mmjax.batch import Batch
from mmjax.mesh import ROWS
from mmjax.training.assemble import Blueprint, abstract_batch
from mmjax.training.flops import count, flops_of, training_flops
from mmjax.training.state import TrainState
from mmjax.training.step import Step, loss_of, make_step


class Program(NamedTuple):
    """A compiled step, and the floating-point operations of one on all devices; see `training.flops`."""

    step: Step
    flops: float


def compile_step(run: Blueprint, state: TrainState, key: Any) -> Program:
    """Compiles the step of a run for its mesh and precision, whichever thread calls.

    Args:
      state: shapes, dtypes and shardings; see `abstract_state`.
      key: the run's key, replicated, or its shape.
    """
    with computing(run):
        traced, flops = _trace(run, state, key)
        return Program(traced.lower().compile(), flops)


def useful_flops(run: Blueprint, state: TrainState, key: Any) -> float:
    """Operations of a step on all devices, from its trace alone."""
    with computing(run):
        return _trace(run, state, key)[1]


def _trace(run: Blueprint, state: TrainState, key: Any) -> tuple[Any, float]:
    """The step before it is compiled, and its useful operations."""
    step = make_step(run.task, run.experiment.optimizer, run.experiment.steps)
    shardings = jax.tree.map(lambda x: x.sharding, state)
    batch = global_batch(run)
    traced = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None)).trace(state, batch, key)
    forward = flops_of(functools.partial(loss_of, run.task), state.params, batch, key)
    return traced, training_flops(forward, count(traced.jaxpr.jaxpr))


def global_batch(run: Blueprint) -> Batch:
    """Shapes, dtypes and shardings of a batch of all hosts."""
    rows, sharding = run.experiment.batch_size, jax.NamedSharding(run.mesh, ROWS)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype, sharding=sharding), abstract_batch(run)
    )


@contextlib.contextmanager
def computing(run: Blueprint) -> Iterator[None]:
    """The mesh and the precision of everything that a run computes; both hold for the calling thread alone."""
    precision = run.experiment.matmul_precision
    abstract = isinstance(run.mesh, AbstractMesh)  # devices that are not here: to trace, not to compile
    mesh = jax.sharding.use_abstract_mesh(run.mesh) if abstract else jax.set_mesh(run.mesh)
    with mesh, jax.default_matmul_precision(None if precision == "default" else precision):
        yield
