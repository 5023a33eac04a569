"""The same step that a run would compile, for devices that need not exist, and what the compiler says of it."""

import functools
import re
from typing import NamedTuple

import jax

from mmjax.chips import Chip
from mmjax.planning import counts as counting
from mmjax.planning import hlo
from mmjax.planning.memory import Memory, kept_bytes, shard_bytes, state_bytes
from mmjax.training.assemble import Blueprint, abstract_batch
from mmjax.training.program import Program, compile_step, computing, global_batch, useful_flops
from mmjax.training.state import TrainState, abstract_state, initializer
from mmjax.training.step import loss_of

# What a refusal names: temporaries, or everything that a program would hold.
TEMPORARIES = re.compile(r"\(([\d.]+)([KMGT])\) exceeds available HBM")
EVERYTHING = re.compile(r"Used ([\d.]+)([KMGT]) of [\d.]+[KMGT] hbm")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Compiled(NamedTuple):
    """What is known of a step.

    Attributes:
      program: None where the compiler refused it for its memory.
      memory: with the `total` that it asked for.
      counts: what a chip does; None where it was refused.
      flops: useful operations of a step on all chips, see `training.flops`.
    """

    program: Program | None
    memory: Memory
    counts: counting.Counts | None
    flops: float


def compile_for(blueprint: Blueprint, chip: Chip | None) -> Compiled:
    """Compiles for the mesh of the blueprint, and counts in the units of the chip, where it is known.

    A program that does not fit is no error: its memory says by how much.
    """
    state = shapes_of(blueprint)
    kept = kept_on_a_chip(blueprint, state)
    parameters, optimizer = state_bytes(state)
    batch = shard_bytes(global_batch(blueprint))
    memory = functools.partial(Memory, parameters, optimizer, batch, kept)
    try:
        program = compile_step(blueprint, state, key_of(blueprint))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        given = parameters + optimizer + batch
        asked, whole = _asked(TEMPORARIES, str(error)), _asked(EVERYTHING, str(error))
        if asked is None and whole is not None:
            asked = whole - given
        flops = useful_flops(blueprint, state, key_of(blueprint))
        return Compiled(None, memory(asked, None if asked is None else given + asked), None, flops)
    told = program.step.memory_analysis()  # type: ignore[attr-defined]
    total = told.argument_size_in_bytes + told.output_size_in_bytes - told.alias_size_in_bytes + told.temp_size_in_bytes
    counts = counting.count(hlo.parse(program.step.as_text()), chip)  # type: ignore[attr-defined]
    return Compiled(program, memory(float(told.temp_size_in_bytes), float(total)), counts, program.flops)


def shapes_of(blueprint: Blueprint) -> TrainState:
    """The state's shapes, dtypes and shardings."""
    init = initializer(blueprint.task, blueprint.experiment.optimizer, abstract_batch(blueprint))
    return abstract_state(init, blueprint.mesh)


def key_of(blueprint: Blueprint) -> jax.ShapeDtypeStruct:
    """The run's key, as a shape."""
    dtype = jax.eval_shape(lambda: jax.random.key(0)).dtype
    return jax.ShapeDtypeStruct((), dtype, sharding=jax.NamedSharding(blueprint.mesh, jax.P()))


def kept_on_a_chip(blueprint: Blueprint, state: TrainState) -> float:
    """What a chip keeps for the backward pass of one micro-batch, rows divided evenly."""
    key, batch = key_of(blueprint), global_batch(blueprint)
    with computing(blueprint):
        kept = kept_bytes(lambda p, b: loss_of(blueprint.task, p, b[0], b[1]).total, state.params, (batch, key))
    ways = blueprint.mesh.shape["data"] * blueprint.mesh.shape["fsdp"]
    return kept / ways / blueprint.experiment.optimizer.accumulate


def _asked(pattern: re.Pattern, message: str) -> float | None:
    """Bytes that a refusal names; None where it does not."""
    found = pattern.search(message)
    return float(found.group(1)) * UNITS[found.group(2)] if found else None
