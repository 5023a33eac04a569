"""A step timed on the devices at hand, on a blank batch."""

import statistics
import time

import jax

from mmjax.planning.compiling import shapes_of
from mmjax.training.assemble import Blueprint, abstract_batch
from mmjax.training.program import Program, computing, global_batch
from mmjax.training.state import create_state, initializer

REPEATS = 5


def measure(blueprint: Blueprint, program: Program) -> tuple[float, ...]:
    """Seconds of some steps after a first one, the median first."""
    init = initializer(blueprint.task, blueprint.experiment.optimizer, abstract_batch(blueprint))
    with computing(blueprint):
        state = create_state(init, shapes_of(blueprint), blueprint.experiment.seed)
        batch = jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype, device=x.sharding), global_batch(blueprint))
        key = jax.device_put(jax.random.key(0), jax.NamedSharding(blueprint.mesh, jax.P()))
        times = []
        for _ in range(REPEATS + 1):
            begin = time.perf_counter()
            state, _ = jax.block_until_ready(program.step(state, batch, key))
            times.append(time.perf_counter() - begin)
    return statistics.median(times[1:]), *times[1:]
