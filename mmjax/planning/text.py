"""A plan as lines for a terminal."""

from collections import defaultdict
from collections.abc import Iterator

from mmjax.planning.counts import Counts
from mmjax.planning.estimate import Estimate
from mmjax.planning.plan import Plan

GIB = 2**30


def lines(plan: Plan, price: float | None = None) -> Iterator[str]:
    """What a reader wants to know first, first."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    slices = f" x {plan.topology.slices} slices" if plan.topology.slices > 1 else ""
    yield f"{plan.topology.name}{slices}: {plan.topology.chips} chips, {mesh}, batch {plan.batch_size:,} ({plan.how})"
    yield from _memory(plan)
    yield f"  a step: {plan.flops:.3g} useful FLOPs on all chips (3 x forward, recomputation not counted)"
    if plan.counts:
        yield from _work(plan.counts)
    if plan.estimate:
        yield from _times(plan, plan.estimate, price)
    elif plan.counts:
        yield from _transfers(plan.counts)
    if plan.measured:
        yield from _measured(plan)


def _memory(plan: Plan) -> Iterator[str]:
    memory = plan.memory
    if memory.total is None:
        yield "  does NOT fit; the compiler did not say by how much"
    elif plan.capacity is None:
        yield f"  takes {_gib(memory.total)} a device; what it has is not known"
    elif plan.fits:
        left = plan.capacity - memory.total
        yield f"  fits: {_gib(memory.total)} of {_gib(plan.capacity)} a device, {_gib(left)} left"
    else:
        over = memory.total - plan.capacity
        yield f"  does NOT fit: {_gib(memory.total)} asked of {_gib(plan.capacity)} a device, {_gib(over)} too many"
    yield (
        f"    parameters {_gib(memory.parameters)}, optimizer {_gib(memory.optimizer)}, batch {_gib(memory.batch)}, "
        f"temporaries {_gib(memory.temporaries)} (kept for the backward pass: {_gib(memory.activations)})"
    )


def _gib(size: float | None) -> str:
    return "?" if size is None else f"{size / GIB:.2f} GiB"


def _work(counts: Counts) -> Iterator[str]:
    yield f"  a device does {counts.flops:.3g} FLOPs and moves {counts.traffic / 1e9:,.1f} GB between memory and cores"
    if counts.unknown_loops:
        yield f"  loops of unknown length, counted once: {', '.join(counts.unknown_loops)}"


def _transfers(counts: Counts) -> Iterator[str]:
    """Where no peaks are known, and so no times."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for transfer in counts.collectives:
        sums[transfer.kind][0] += transfer.times
        sums[transfer.kind][1] += transfer.times * transfer.size
    for kind, (times, size) in sums.items():
        yield f"    {kind}: {times:.0f} x, {size / 1e6:,.1f} MB"


def _times(plan: Plan, known: Estimate, price: float | None) -> Iterator[str]:
    for transfer in known.transfers:
        where = f"{' x '.join(transfer.axes) or 'devices'} ({transfer.members})"
        done = f"{transfer.times} x, {transfer.size / 1e6:,.1f} MB, {transfer.seconds * 1e3:,.2f} ms"
        yield f"    {transfer.kind} over {where}: {done}"
    yield (
        f"  at the peaks: compute {known.compute * 1e3:,.1f} ms, memory {known.memory * 1e3:,.1f} ms, network "
        f"{known.network * 1e3:,.1f} ms; {known.binds} binds"
    )
    for name, seconds in (("all overlaps", known.overlapped), ("nothing overlaps", known.serial)):
        cost = "" if price is None else f", cost {plan.cost(seconds, price):,.0f}"
        yield (
            f"    if {name}: {seconds * 1e3:,.1f} ms, MFU {100 * plan.mfu(seconds):.1f} %, "
            f"{plan.batch_size / seconds:,.0f} examples/s, {plan.days(seconds):.2f} days for {plan.steps:,} steps{cost}"
        )


def _measured(plan: Plan) -> Iterator[str]:
    median, *times = plan.measured
    against = f", {median / plan.estimate.overlapped:.2f} x the time if all overlaps" if plan.estimate else ""
    spread = f"{min(times) * 1e3:,.1f} to {max(times) * 1e3:,.1f}"
    yield f"  measured here: {median * 1e3:,.1f} ms, median of {len(times)} ({spread}){against}"
