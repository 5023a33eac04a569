"""How long a transfer between chips takes, from who takes part in it and the links between them.

Conventions (bytes S, group of n): a gather or a scatter sends S (n - 1) / n from every chip, a reduction twice that
(scatter, then gather). An all-to-all sends S / n to each, over as many links as lie between: a quarter of a ring's
length on average, a third of an axis that does not close; the busiest axis is what it waits for. A chip uses both
directions of every torus axis that its group spans, one direction where the axis does not close to a ring. Transfers
between slices or nodes carry what is left after the links: the group's bytes over its chips of one slice.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from mmjax.chips import Chip
from mmjax.planning.counts import Collective
from mmjax.planning.topology import Topology


class Group(NamedTuple):
    """Chips that take part in one transfer.

    Attributes:
      axes: mesh axes along which they differ.
      members: how many.
      links: one-way links of each chip that carry it.
      slices: slices or nodes that they lie in.
      hops: links between two of them: for pairs the most; for a group the mean, were all its links as busy as those of
        the axis that carries most of an all-to-all.
    """

    axes: tuple[str, ...]
    members: int
    links: int
    slices: int
    hops: float


def group_of(collective: Collective, mesh: Mesh, topology: Topology) -> Group:
    """Reads the replica groups of a transfer."""
    places = _members(collective, mesh)
    if collective.kind == "collective-permute":
        return _pairs(places, mesh, topology)
    where = [_place(mesh.devices.flat[place], topology) for place in places]
    slices = len({slice_ for slice_, _ in where})
    axes = _axes(places, mesh)
    if not topology.chip or not topology.chip.is_tpu:
        return Group(axes, len(places), 1, slices, 1)
    links, busiest = 0, 0.0
    for axis, size in enumerate(topology.shape):
        span = len({place[axis] for _, place in where})
        closes = span == size and _directions(topology, axis) == 2
        links += 0 if span == 1 else 2 if closes else 1
        busiest = max(busiest, 0.0 if span == 1 else span / 4 / 2 if closes else span / 3)
    return Group(axes, len(places), max(1, links), slices, max(1.0, busiest * links))


def _pairs(places: Sequence[int], mesh: Mesh, topology: Topology) -> Group:
    """Of transfers from one to one: their axes, and the worst of them."""
    pairs = list(zip(places[::2], places[1::2], strict=True))
    axes = {axis for pair in pairs for axis in _axes(pair, mesh)}
    where = [[_place(mesh.devices.flat[place], topology) for place in pair] for pair in pairs]
    crosses = any(one[0] != other[0] for one, other in where)
    hops = 1.0
    if topology.chip and topology.chip.is_tpu:
        hops = max([1.0, *(_distance(one[1], other[1], topology) for one, other in where if one[0] == other[0])])
    return Group(tuple(axis for axis in mesh.axis_names if axis in axes), 2, 1, 2 if crosses else 1, hops)


def _axes(places: Sequence[int], mesh: Mesh) -> tuple[str, ...]:
    """Mesh axes along which places differ."""
    coordinates = np.array([np.unravel_index(place, mesh.devices.shape) for place in places])
    return tuple(name for axis, name in enumerate(mesh.axis_names) if len(set(coordinates[:, axis])) > 1)


def seconds(collective: Collective, group: Group, chip: Chip) -> float:
    """Of all its turns."""
    n, size, network = group.members, collective.size, chip.network / chip.cores
    if collective.kind == "collective-permute":
        once = size * group.hops / chip.link if group.slices == 1 else size / network
        return collective.times * once
    share = 2.0 if collective.kind == "all-reduce" else 1.0
    around = group.hops if collective.kind == "all-to-all" else 1.0  # rings pass on to the next
    inside = n // group.slices
    once = share * around * size * (inside - 1) / inside / (chip.link * group.links) if inside > 1 else 0.0
    if group.slices > 1:
        once += share * size / inside * (group.slices - 1) / group.slices / network
    return collective.times * once


def _members(collective: Collective, mesh: Mesh) -> list[int]:
    """Places in the mesh of one group, or of all pairs one after the other."""
    groups = collective.groups
    if named := re.match(r"mesh\[(.*?)\](.*) \{(.*)\}", groups):
        sizes, chosen = (
            [int(size) for size in re.findall(pattern, named.group(part))]
            for part, pattern in ((1, r"=(\d+)"), (3, r"_(\d+)"))
        )
        ids = _iota(named.group(2)).reshape(sizes) if named.group(2) else np.arange(math.prod(sizes)).reshape(sizes)
        return ids[tuple(slice(None) if axis in chosen else 0 for axis in range(ids.ndim))].reshape(-1).tolist()
    if iota := re.match(r"\[([\d,]+)\]<=(.*)", groups):
        return _iota(iota.group(2)).reshape([int(x) for x in iota.group(1).split(",")])[0].tolist()
    listed = [[int(x) for x in part.split(",")] for part in re.findall(r"\{([\d,]+)\}", groups)]
    if collective.kind == "collective-permute":
        return [place for pair in listed for place in pair]
    return listed[0] if listed else list(range(mesh.size))


def _iota(text: str) -> np.ndarray:
    """Numbers from 0 in the shape and the order of axes that `[2,4]T(1,0)` says."""
    found = re.search(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    assert found, text
    sizes, order = ([int(x) for x in (part or "").split(",") if x] for part in found.groups())
    ids = np.arange(math.prod(sizes)).reshape(sizes)
    return ids.transpose(order) if order else ids


def _place(device: Any, topology: Topology) -> tuple[int, tuple[int, ...]]:
    """Slice or node, and the coordinates within it."""
    if topology.chip and topology.chip.is_tpu:
        return getattr(device, "slice_index", None) or 0, tuple(device.coords)
    return device.process_index, (device.id,)


def _directions(topology: Topology, axis: int) -> int:
    """Links of a chip along an axis that a ring can use."""
    assert topology.chip
    return 2 if topology.shape[axis] % topology.chip.wraps == 0 else 1


def _distance(a: Sequence[int], b: Sequence[int], topology: Topology) -> int:
    """Links between two chips."""
    total = 0
    for axis, size in enumerate(topology.shape):
        apart = abs(a[axis] - b[axis])
        total += min(apart, size - apart) if _directions(topology, axis) == 2 else apart
    return total
