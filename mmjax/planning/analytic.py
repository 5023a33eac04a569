"""A step of GPUs that are not here, from the traced model alone: less than a compiler knows, and said so.

Operations are those of the traced step, recomputation included. Memory traffic is what every matrix product reads and
writes, parameters whole and activations by their share, plus the update of the parameters; elementwise work counts as
fused into the products. The state is split by the sharding rules. What the backward pass keeps is an upper bound:
attention is traced as XLA does it, with its logits. Transfers are those of the gradients (`data`) and of gathered
parameters (`fsdp`), for each micro-batch; a `tensor` axis is refused.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn
from jax.sharding import AbstractMesh, AxisType
from ml_collections import ConfigDict

from mmjax.chips import Chip
from mmjax.errors import UserError
from mmjax.mesh import AXES, axis_sizes
from mmjax.planning.compiling import kept_on_a_chip, key_of, shapes_of
from mmjax.planning.counts import Collective, Counts
from mmjax.planning.draft import draft
from mmjax.planning.estimate import Estimate, estimate_of
from mmjax.planning.memory import Memory, shard_bytes, state_bytes
from mmjax.planning.network import Group
from mmjax.planning.topology import Topology
from mmjax.tasks.base import Params
from mmjax.training.assemble import Blueprint
from mmjax.training.experiment import Experiment
from mmjax.training.flops import count, equations, operations, training_flops
from mmjax.training.optimizer import trained
from mmjax.training.program import computing, global_batch
from mmjax.training.state import TrainState
from mmjax.training.step import loss_of, make_step

TOUCHED = 7  # float32 values of each parameter that an update reads or writes: itself, two moments, its gradient


class Analysis(NamedTuple):
    """What `plan.Plan` wants to know; see there."""

    mesh: dict[str, int]
    memory: Memory
    flops: float
    counts: Counts
    estimate: Estimate


def analyse(config: ConfigDict, experiment: Experiment, topology: Topology) -> Analysis:
    """Raises UserError for a mistake in the config, or a mesh that does not fit the chips."""
    sizes = axis_sizes(experiment.mesh, topology.chips)
    if sizes[-1] > 1:
        raise UserError(
            f"--topology {topology.name}: a plan without a compiler knows no tensor axis; set mesh.tensor=1"
        )
    blueprint = draft(config, experiment, AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3))
    state, chips = shapes_of(blueprint), topology.chips
    step, forward = _traced(blueprint, state)
    flops = training_flops(forward, count(step))
    parameters, optimizer = state_bytes(state)
    batch, kept = shard_bytes(global_batch(blueprint)), kept_on_a_chip(blueprint, state)
    learning = trained(blueprint.experiment.optimizer, state.params)
    gradients = shard_bytes(learning)
    total = parameters + optimizer + batch + kept + gradients
    memory = Memory(parameters, optimizer, batch, kept, kept + gradients, total)
    assert topology.chip
    operations, traffic = count(step) / chips, _products_bytes(blueprint, state, step) + TOUCHED * gradients
    counts = Counts(operations, _unit_operations(step, topology.chip) / chips, traffic)
    mesh = dict(zip(AXES, sizes, strict=True))
    grouped = _transfers(mesh, state.params, learning, topology, _passes(blueprint), _compute_bytes(step))
    known = estimate_of(counts, grouped, flops / chips, topology.chip)
    return Analysis(mesh, memory, flops, counts, known)


def _traced(blueprint: Blueprint, state: TrainState) -> tuple[Jaxpr, int]:
    """The step, and the operations of its forward pass."""
    batch, key = global_batch(blueprint), key_of(blueprint)
    step = make_step(blueprint.task, blueprint.experiment.optimizer, blueprint.experiment.steps)
    with computing(blueprint):
        whole = jax.make_jaxpr(step)(state, batch, key).jaxpr
        forward = jax.make_jaxpr(lambda p, b, k: loss_of(blueprint.task, p, b, k).total)(state.params, batch, key)
    return whole, count(forward.jaxpr)


def _products(jaxpr: Jaxpr) -> Iterator[tuple[JaxprEqn, int]]:
    """The matrix products and convolutions of a program, and how often each runs."""
    names = ("dot_general", "conv_general_dilated")
    yield from ((eqn, times) for eqn, times in equations(jaxpr) if eqn.primitive.name in names)


def _unit_operations(step: Jaxpr, chip: Chip) -> float:
    """bfloat16 operations that take the time of all operations."""
    total, exact = float(count(step)), 0.0
    for eqn, times in _products(step):
        if _dtype(eqn.invars[0]) == jnp.float32:
            precision = eqn.params["precision"] or (jax.lax.Precision.DEFAULT,)
            exact += times * operations(eqn) * (chip.passes(precision[0].name.lower()) - 1)
    return total + exact


def _products_bytes(blueprint: Blueprint, state: TrainState, step: Jaxpr) -> float:
    """What the products of one chip read and write: all parameters, and its share of what grows with the batch.

    What another batch costs, the fewest rows or twice as many, tells the two apart. The logits of a dense loss, which
    grow with the square, are no matter beside a batch of activations.
    """
    experiment, ways = blueprint.experiment, blueprint.mesh.size
    rows, least = experiment.batch_size, ways * experiment.optimizer.accumulate
    whole = _bytes(step)
    other = least if rows > least else 2 * least
    changed = dataclasses.replace(blueprint, experiment=dataclasses.replace(experiment, batch_size=other))
    row = (whole - _bytes(_traced(changed, state)[0])) / (rows - other)
    return whole - row * rows + row * rows / ways


def _bytes(jaxpr: Jaxpr) -> float:
    """What all products read and write."""
    return float(sum(times * _size(v) for eqn, times in _products(jaxpr) for v in (*eqn.invars, *eqn.outvars)))


def _size(variable: Any) -> int:
    return math.prod(variable.aval.shape) * _dtype(variable).itemsize


def _dtype(variable: Any) -> np.dtype:
    return variable.aval.dtype


def _compute_bytes(step: Jaxpr) -> int:
    """Of a number in the dtype in which most is computed."""
    sums: Counter[int] = Counter()
    for eqn, times in _products(step):
        sums[_dtype(eqn.invars[0]).itemsize] += times * operations(eqn)
    return sums.most_common(1)[0][0]


def _passes(blueprint: Blueprint) -> tuple[int, int]:
    """Passes of a step, forward and backward; a coupled task goes forward twice over micro-batches."""
    micro = blueprint.experiment.optimizer.accumulate
    return micro * (2 if micro > 1 and blueprint.task.coupled else 1), micro


def _transfers(
    sizes: dict[str, int],
    params: Params,
    learning: Params,
    topology: Topology,
    passes: tuple[int, int],
    itemsize: int,
) -> list[tuple[Collective, Group]]:
    """Of one step: gradients in float32 of those that learn, all gathered by every pass in the compute dtype."""
    whole, learnt = (sum(math.prod(x.shape) for x in jax.tree.leaves(tree)) for tree in (params, learning))
    own, (forward, backward) = int(shard_bytes(learning)), passes
    wanted = (
        ("data", "all-reduce", own, backward),
        ("fsdp", "all-gather", itemsize * whole, forward + backward),
        ("fsdp", "reduce-scatter", 4 * learnt, backward),
    )
    found = []
    for axis, kind, size, times in wanted:
        nodes = _nodes(sizes[axis], sizes["fsdp"] if axis == "data" else 1, topology)
        group = Group((axis,), sizes[axis], 1, nodes, 1.0)
        found += [(Collective(kind, size, "", axis, times), group)] if sizes[axis] > 1 else []
    return found


def _nodes(members: int, apart: int, topology: Topology) -> int:
    """Nodes that a group lies in, whose members are so many devices apart."""
    node = topology.shape[0]
    return min(members, -(-members * apart // node)) if members * apart > node else 1
