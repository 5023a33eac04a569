"""A config on a topology: does it fit, how long is a step, what does the run take."""

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmjax.mesh import make_mesh
from mmjax.planning.analytic import analyse
from mmjax.planning.compiling import Compiled, compile_for
from mmjax.planning.counts import Counts
from mmjax.planning.draft import draft
from mmjax.planning.estimate import Estimate, estimate
from mmjax.planning.measure import measure
from mmjax.planning.memory import Memory
from mmjax.planning.topology import HERE, Topology, capacity_of, devices_of
from mmjax.training.experiment import Experiment, parse

DAY = 86_400


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is known of a run before it starts. Bytes and counts are of one chip, useful operations of all.

    Attributes:
      how: "compiled" by the compiler of these chips, or "analytic", from the model alone.
      mesh: devices along each axis.
      batch_size, steps: of the config.
      memory, capacity: what a device must hold and what it has; capacity None where it is not known.
      flops: useful operations of a step, on all chips.
      counts: what a device does in a step; None where the compiler refused the program.
      estimate: times at the chip's peaks; None where there are no counts or no peaks.
      measured: seconds of a step on the devices at hand, median and all; None where it was not asked for.
    """

    topology: Topology
    how: str
    mesh: dict[str, int]
    batch_size: int
    steps: int
    memory: Memory
    capacity: float | None
    flops: float
    counts: Counts | None
    estimate: Estimate | None
    measured: tuple[float, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the compiler took it, and a device has the memory."""
        if self.counts is None or self.memory.total is None:
            return False
        return self.capacity is None or self.memory.total <= self.capacity

    def days(self, seconds: float) -> float:
        """Of all steps, at so many seconds each."""
        return self.steps * seconds / DAY

    def cost(self, seconds: float, price: float) -> float:
        """Of all steps, at a price per chip and hour."""
        return self.days(seconds) * 24 * price * self.topology.chips

    def mfu(self, seconds: float) -> float:
        """Useful operations as a share of what the peak allows in that time."""
        assert self.estimate
        return self.estimate.useful / seconds


def make_plan(config: ConfigDict, topology: Topology, measured: bool = False) -> Plan:
    """Compiles the config's step for the topology, or counts it from the model where no compiler is at hand.

    Args:
      measured: also run it, on the devices at hand.

    Raises:
      UserError: a mistake in the config, or devices that its mesh does not fit.
    """
    experiment = parse(config)
    if not topology.compiles:
        return _analytic(config, experiment, topology)
    mesh = make_mesh(experiment.mesh, devices_of(topology))
    blueprint = draft(config, experiment, mesh)
    compiled = compile_for(blueprint, topology.chip)
    plan = _plan(compiled, experiment, topology, mesh)
    if not (measured and compiled.program and plan.fits):
        return plan
    return dataclasses.replace(plan, measured=measure(blueprint, compiled.program))


def _plan(compiled: Compiled, experiment: Experiment, topology: Topology, mesh: Mesh) -> Plan:
    chip, counts = topology.chip, compiled.counts
    known = estimate(counts, compiled.flops, chip, mesh, topology) if chip and counts else None
    return Plan(
        topology=topology,
        how="compiled",
        mesh=dict(mesh.shape),
        batch_size=experiment.batch_size,
        steps=experiment.steps,
        memory=compiled.memory,
        capacity=capacity_of(topology),
        flops=compiled.flops,
        counts=counts,
        estimate=known,
    )


def _analytic(config: ConfigDict, experiment: Experiment, topology: Topology) -> Plan:
    found = analyse(config, experiment, topology)
    return Plan(
        topology=topology,
        how="analytic",
        mesh=found.mesh,
        batch_size=experiment.batch_size,
        steps=experiment.steps,
        memory=found.memory,
        capacity=capacity_of(topology),
        flops=found.flops,
        counts=found.counts,
        estimate=found.estimate,
    )


def as_json(plan: Plan, price: float | None = None) -> dict[str, Any]:
    """All of it as numbers and text; seconds, bytes, operations."""
    out: dict[str, Any] = {
        "topology": plan.topology.name,
        "slices": plan.topology.slices,
        "chips": plan.topology.chips,
        "how": plan.how,
        "mesh": plan.mesh,
        "batch_size": plan.batch_size,
        "steps": plan.steps,
        "fits": plan.fits,
        "capacity_bytes": plan.capacity,
        "memory_bytes": plan.memory._asdict(),
        "useful_flops": plan.flops,
    }
    if plan.counts:
        out["chip_flops"], out["chip_traffic_bytes"] = plan.counts.flops, plan.counts.traffic
        out["unknown_loops"] = plan.counts.unknown_loops
    if plan.estimate:
        out["seconds"] = {name: getattr(plan.estimate, name) for name in ("compute", "memory", "network")}
        out["binds"] = plan.estimate.binds
        out["transfers"] = [transfer._asdict() for transfer in plan.estimate.transfers]
        out |= {name: _rates(plan, getattr(plan.estimate, name), price) for name in ("overlapped", "serial")}
    if plan.measured:
        out["measured_seconds"] = list(plan.measured)
        out["device"] = jax.devices()[0].device_kind if plan.topology.name == HERE else plan.topology.name
    return out


def _rates(plan: Plan, seconds: float, price: float | None) -> dict[str, float]:
    rates = {
        "seconds": seconds,
        "mfu": plan.mfu(seconds),
        "examples_per_second": plan.batch_size / seconds,
        "days": plan.days(seconds),
    }
    return rates if price is None else rates | {"cost": plan.cost(seconds, price)}
