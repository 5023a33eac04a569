"""Who takes part in a transfer, over which links, and how long it takes."""

import jax
import pytest

from mmjax.chips import CHIPS
from mmjax.mesh import MeshShape, make_mesh
from mmjax.planning.counts import GROUPS, Collective
from mmjax.planning.network import Group, group_of, seconds
from mmjax.planning.topology import Topology, devices_of, parse_topology

pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install 'mmjax[plan]'")


@pytest.fixture(scope="module")
def pod():
    """16 x 16 chips as data 16 x fsdp 16."""
    topology = parse_topology("v5e:16x16")
    return topology, make_mesh(MeshShape(16, 16, 1), devices_of(topology))


def collective(kind, groups, size=1 << 20, times=1):
    found = GROUPS.search(
        f"replica_groups={groups}, more" if "permute" not in kind else f"source_target_pairs={groups}, x"
    )
    return Collective(kind, size, found.group(1).rstrip(","), "", times)


ROW = ",".join(map(str, range(16)))
COLUMN = ",".join(map(str, range(0, 256, 16)))


@pytest.mark.parametrize(
    ("groups", "axes"),
    [
        (f"{{{{{ROW}}},{{16,17}}}}", ("fsdp",)),
        (f"{{{{{COLUMN}}},{{1,17}}}}", ("data",)),
        ("[16,16]<=[256]", ("fsdp",)),
        ("[16,16]<=[16,16]T(1,0)", ("data",)),
        ("mesh['axis_0'=16,'axis_1'=16] {'axis_1'}", ("fsdp",)),
        ("mesh['axis_0'=16,'axis_1'=1,'axis_2'=16], device_ids=([16,16]T(1,0)) {'axis_0'}", ("fsdp",)),
        ("mesh['axis_0'=256,'axis_1'=1,'axis_2'=1] {'axis_0','axis_1'}", ("data", "fsdp")),
        ("{}", ("data", "fsdp")),  # nobody is named: everybody
    ],
)
def test_groups_are_read_in_every_way_they_are_written(groups, axes, pod):
    topology, mesh = pod
    found = group_of(collective("all-reduce", groups), mesh, topology)
    assert found.axes == axes
    assert found.members == 16 ** len(axes) and found.slices == 1
    assert found.links == 2 * len(axes)  # each axis of 16 closes to a ring: both directions


def test_an_axis_that_does_not_close_has_one_direction():
    topology = parse_topology("v5e:8x8")
    mesh = make_mesh(MeshShape(8, 8, 1), devices_of(topology))
    assert group_of(collective("all-reduce", "[8,8]<=[64]"), mesh, topology).links == 1


def test_neighbours_of_a_ring_are_few_hops_apart(pod):
    topology, mesh = pod
    pairs = "{" + ",".join(f"{{{i},{(i - 1) % 256}}}" for i in range(256)) + "}"
    found = group_of(collective("collective-permute", pairs), mesh, topology)
    assert found.members == 2 and found.hops == 2  # from the end of a row around to its start, and one row on


def test_rings_within_slices_do_not_cross_them():
    """Each of the rings stays in its slice, though together they lie in both."""
    topology = parse_topology("v5e:4x4", slices=2)
    mesh = make_mesh(MeshShape(8, 4, 1), devices_of(topology))
    pairs = "{" + ",".join(f"{{{i},{i - i % 4 + (i - 1) % 4}}}" for i in range(32)) + "}"
    found = group_of(collective("collective-permute", pairs), mesh, topology)
    assert found.axes == ("fsdp",) and found.slices == 1


def test_a_part_of_an_axis_is_no_ring(pod):
    topology = pod[0]
    mesh = make_mesh(MeshShape(32, 8, 1), devices_of(topology))
    assert group_of(collective("all-gather", "[32,8]<=[256]"), mesh, topology).links == 1


def test_slices_meet_over_the_data_centre():
    topology = parse_topology("v5e:4x4", slices=2)
    mesh = make_mesh(MeshShape(-1, 1, 1), devices_of(topology))
    assert mesh.shape["data"] == 32
    assert [getattr(d, "slice_index", None) for d in mesh.devices.flat] == [0] * 16 + [1] * 16
    found = group_of(collective("all-reduce", "{}"), mesh, topology)
    assert found == Group(("data",), 32, 2, 2, pytest.approx(8 / 3))
    chip, size = CHIPS["v5e"], 1 << 20
    inside, between = 2 * size * 15 / 16 / (2 * chip.link), 2 * size / 16 / 2 / chip.network
    assert seconds(collective("all-reduce", "{}"), found, chip) == pytest.approx(inside + between)


@pytest.mark.parametrize(
    ("kind", "share"), [("all-gather", 15 / 16), ("reduce-scatter", 15 / 16), ("all-reduce", 2 * 15 / 16)]
)
def test_seconds_at_the_peak_of_the_links(kind, share):
    chip, size = CHIPS["v5e"], 10**9
    found = seconds(Collective(kind, size, "", "", 3), Group(("fsdp",), 16, 2, 1, 1), chip)
    assert found == pytest.approx(3 * share * size / (2 * 50e9))


@pytest.mark.parametrize(("shape", "groups", "around"), [((16, 16), "[16,16]<=[256]", 4), ((1, 256), "{}", 4)])
def test_an_all_to_all_waits_for_the_links_between(shape, groups, around, pod):
    """Along one ring of 16 as over 16 x 16 chips: a quarter of a ring's length, over the two links of each axis."""
    topology = pod[0]
    mesh = make_mesh(MeshShape(*shape, 1), devices_of(topology))
    group, size = group_of(collective("all-to-all", groups), mesh, topology), 1 << 20
    share = (group.members - 1) / group.members
    found = seconds(collective("all-to-all", groups), group, topology.chip)
    assert found == pytest.approx(size * share * around / (2 * topology.chip.link))


def test_a_pass_around_the_ring_takes_one_link_each():
    chip = CHIPS["v5p"]
    assert seconds(Collective("collective-permute", 10**9, "", "", 1), Group(("data",), 2, 1, 1, 2), chip) == 0.02


def test_devices_at_hand_have_no_torus():
    topology = Topology("here", None, (8,), 1)
    mesh = make_mesh(MeshShape(2, 4, 1), jax.devices())
    assert group_of(collective("all-gather", "[2,4]<=[8]"), mesh, topology).axes == ("fsdp",)
