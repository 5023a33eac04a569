"""How long a step takes at the peaks of the chips: what binds it, and what share of the peak is useful work."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from jax.sharding import Mesh

from mmjax.chips import Chip
from mmjax.planning.counts import Collective, Counts
from mmjax.planning.network import Group, group_of, seconds
from mmjax.planning.topology import Topology


class Transfer(NamedTuple):
    """All transfers of one kind among the same chips.

    Attributes:
      kind, axes: of which kind, along which mesh axes.
      members: chips of a group.
      times: how many a step.
      size: bytes of all of them, each as `counts.Collective` has it.
      seconds: at the peak of the links.
    """

    kind: str
    axes: tuple[str, ...]
    members: int
    times: int
    size: float
    seconds: float


class Estimate(NamedTuple):
    """A step at the peaks.

    Attributes:
      compute, memory, network: seconds of each by itself.
      transfers: what the network does.
      useful: seconds that the useful operations alone would take.
    """

    compute: float
    memory: float
    network: float
    transfers: tuple[Transfer, ...]
    useful: float

    @property
    def overlapped(self) -> float:
        """Seconds if the three run at the same time, perfectly."""
        return max(self.compute, self.memory, self.network)

    @property
    def serial(self) -> float:
        """Seconds if none of the three ever runs beside another."""
        return self.compute + self.memory + self.network

    @property
    def binds(self) -> str:
        """Which of the three is the longest."""
        return max(("compute", "memory", "network"), key=lambda name: getattr(self, name))


def estimate(counts: Counts, flops: float, chip: Chip, mesh: Mesh, topology: Topology) -> Estimate:
    """Of a compiled program.

    Args:
      counts: what one device does.
      flops: useful operations of all devices.
    """
    grouped = [(collective, group_of(collective, mesh, topology)) for collective in counts.collectives]
    return estimate_of(counts, grouped, flops / mesh.size, chip)


def estimate_of(counts: Counts, grouped: Sequence[tuple[Collective, Group]], flops: float, chip: Chip) -> Estimate:
    """Of one device's work, whose groups are known."""
    transfers = _transfers(grouped, chip)
    peak = chip.flops / chip.cores
    network = sum(transfer.seconds for transfer in transfers)
    memory = counts.traffic / (chip.bandwidth / chip.cores)
    return Estimate(counts.unit_flops / peak, memory, network, tuple(transfers), flops / peak)


def _transfers(grouped: Sequence[tuple[Collective, Group]], chip: Chip) -> list[Transfer]:
    """Sums by kind and group, the longest first; what stays on a chip is none."""
    sums: dict[tuple[str, tuple[str, ...], int], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for collective, group in grouped:
        if group.members > 1:
            entry = sums[collective.kind, group.axes, group.members]
            entry[0] += collective.times
            entry[1] += collective.times * collective.size
            entry[2] += seconds(collective, group, chip)
    found = [Transfer(*key, int(count), size, time) for key, (count, size, time) in sums.items()]
    return sorted(found, key=lambda transfer: -transfer.seconds)
