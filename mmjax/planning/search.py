"""Which mesh, recomputation and micro-batches suit a topology best: all that fit, the fastest first."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from mmjax import progress
from mmjax.config import set_key
from mmjax.errors import UserError
from mmjax.planning.plan import Plan, make_plan
from mmjax.planning.topology import Topology

REMATS = ("none", "dots", "full")
MICRO_BATCHES = (1, 2, 4)


class Found(NamedTuple):
    """Overrides of a config, and the plan that they give."""

    overrides: dict[str, str]
    plan: Plan


def search(config: ConfigDict, topology: Topology) -> list[Found]:
    """Plans of the choices that fit, by the seconds of a step in which nothing overlaps; the shortest first.

    On devices whose peaks nobody publishes, by what a device computes, and then by what it moves.

    The config is planned once before, whatever its mesh, so that its mistakes are told. With each mesh and each way of
    recomputing, as few micro-batches as fit: more of them only take longer.
    """
    first = _changed(config, {"mesh.data": "-1", "mesh.fsdp": "1"})  # a mesh that fits any chips
    make_plan(first, topology)  # what is wrong with the config itself is told, and not passed over
    pairs = list(itertools.product(meshes(topology), REMATS))
    found: list[Found] = []
    with progress.bar("planning", len(pairs)) as advance:
        for mesh, remat in pairs:
            found += itertools.islice(_fitting(config, topology, mesh, remat), 1)
            advance()
    return sorted(found, key=lambda one: _rank(one.plan))


def _changed(config: ConfigDict, overrides: Mapping[str, str]) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    for key, text in overrides.items():
        set_key(changed, key, text)
    return changed


def _rank(plan: Plan) -> tuple[float, ...]:
    if plan.estimate:
        return (plan.estimate.serial,)
    return (plan.counts.flops, plan.counts.traffic) if plan.counts else (math.inf,)


def meshes(topology: Topology) -> list[int]:
    """Sizes of the `fsdp` axis to try: none, each axis of the torus or a node, all chips of a slice."""
    whole = math.prod(topology.shape)
    sizes = topology.shape if topology.chip and topology.chip.is_tpu else topology.shape[:1]
    return sorted({1, *sizes, whole})


def _fitting(config: ConfigDict, topology: Topology, fsdp: int, remat: str) -> Iterator[Found]:
    """From the fewest micro-batches on."""
    for count in MICRO_BATCHES:
        overrides = {"mesh.data": "-1", "mesh.fsdp": str(fsdp), "optimizer.accumulate": str(count)}
        overrides |= {f"task.towers.{name}.remat": remat for name in config.task.get("towers", ())}
        try:
            plan = make_plan(_changed(config, overrides), topology)
        except UserError:  # a batch that does not divide so
            continue
        if plan.fits:
            yield Found(overrides, plan)
