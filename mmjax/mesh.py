"""The device mesh, and how host rows become global arrays on it. Below every room that computes."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from mmjax.batch import Batch
from mmjax.errors import UserError

AXES = ("data", "fsdp", "tensor")
ROWS = PartitionSpec(("data", "fsdp"))


@dataclasses.dataclass(frozen=True)
class MeshShape:
    """Devices along each axis; one of them may be -1, the rest of the devices.

    Attributes:
      data: replicas of the parameters, each with its share of the batch.
      fsdp: shares of the batch whose parameters are split among them and gathered when used.
      tensor: devices that split each matrix multiplication.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


def make_mesh(shape: MeshShape, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh over all devices of all processes.

    Raises:
      UserError: the axes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = axis_sizes(shape, len(devices))
    # Explicit axes, make_mesh's default, refuse a plain a @ b.T of sharded rows.
    return Mesh(_arrange(sizes, devices), AXES, axis_types=(AxisType.Auto,) * 3)


def axis_sizes(shape: MeshShape, devices: int) -> tuple[int, ...]:
    """Sizes of `AXES` for so many devices, the rest of which go where the shape says -1.

    Raises:
      UserError: they do not multiply to the number of devices.
    """
    sizes = [shape.data, shape.fsdp, shape.tensor]
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known > 0 and devices % known == 0:
        sizes[sizes.index(-1)] = devices // known
    if min(sizes) < 1 or math.prod(sizes) != devices:
        text = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
        raise UserError(f"mesh: {text} does not fit {devices} devices; the product of the axes must equal them")
    return tuple(sizes)


def _arrange(sizes: Sequence[int], devices: Sequence[jax.Device]) -> np.ndarray:
    """Neighbours in the mesh are neighbours in the network; slices of TPUs split the `data` axis alone."""
    slices = len({getattr(device, "slice_index", None) or 0 for device in devices if device.platform == "tpu"})
    if slices <= 1:
        return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    data, *inner = sizes
    if data % slices:
        raise UserError(f"mesh: data={data} does not divide by {slices} slices, between which only data is split")
    shape = (data // slices, *inner)
    return mesh_utils.create_hybrid_device_mesh(shape, (slices, 1, 1), devices, allow_split_physical_axes=True)


def check_batch(batch_size: int, mesh: Mesh | AbstractMesh) -> None:
    """Refuses a batch that does not divide among the devices, and hosts that do not own their rows alone.

    Of an abstract mesh no hosts are known.
    """
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch_size % ways:
        near = max(batch_size // ways, 1) * ways
        raise UserError(f"batch_size {batch_size} does not divide by data x fsdp = {ways}; {near} or {near + ways} do")
    if isinstance(mesh, AbstractMesh):
        return
    owners = np.array([device.process_index for device in mesh.devices.flat]).reshape(ways, -1)
    counts = np.unique(owners[:, 0], return_counts=True)[1]
    if ways % len(np.unique(owners)):
        raise UserError(f"mesh: data x fsdp = {ways} does not divide by {len(np.unique(owners))} hosts")
    if (owners != owners[:, :1]).any() or len(set(counts.tolist())) > 1:
        raise UserError(f"mesh: tensor={mesh.shape['tensor']} spans hosts; it must divide the devices of one")


def put_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Numpy rows of this host → global arrays split over data x fsdp.

    A host's rows go to the places of its devices in the mesh, which follows the network and not the order of hosts. So
    the global batch holds the same rows on any devices, in another order: `index` says which is which.
    """
    sharding, hosts = NamedSharding(mesh, ROWS), len({device.process_index for device in mesh.devices.flat})

    def first(index: Any) -> int:
        return index[0].start or 0

    def put(x: np.ndarray) -> jax.Array:
        shape = (len(x) * hosts, *x.shape[1:])
        own: Any = sharding.addressable_devices_indices_map(shape).values()
        starts = sorted({first(index) for index in own})
        parts = dict(zip(starts, np.split(x, len(starts)), strict=True))
        return jax.make_array_from_callback(shape, sharding, lambda index: parts[first(index)])

    return jax.tree.map(lambda x: put(np.asarray(x)), batch)


def replicate(value: Any, mesh: Mesh) -> Any:
    """Host values, equal on every host, as replicated global arrays."""
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), value)
