"""The device mesh, and how host rows become global arrays on it. Below every room that computes."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

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
    sizes = [shape.data, shape.fsdp, shape.tensor]
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if -1 in sizes or math.prod(sizes) != len(devices):
        text = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
        raise UserError(f"mesh: {text} does not fit {len(devices)} devices; the product of the axes must equal them")
    # Explicit axes, make_mesh's default, refuse a plain a @ b.T of sharded rows.
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def check_batch(batch_size: int, mesh: Mesh) -> None:
    """Refuses a batch that does not divide among the devices or the hosts."""
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch_size % ways:
        near = max(batch_size // ways, 1) * ways
        raise UserError(f"batch_size {batch_size} does not divide by data x fsdp = {ways}; {near} or {near + ways} do")
    hosts = jax.process_count()
    if ways % hosts:
        raise UserError(f"mesh: data x fsdp = {ways} does not divide by {hosts} hosts")
    # Each host loads one contiguous part of the batch, in the order of the hosts, and holds just that part.
    owners = np.array([device.process_index for device in mesh.devices.flat]).reshape(ways, -1)
    if (owners != np.repeat(np.arange(hosts), ways // hosts)[:, None]).any():
        raise UserError("mesh: a tensor axis across hosts, or hosts out of order; make tensor divide a host's devices")


def put_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Numpy rows of this host → global arrays split over data x fsdp."""
    sharding = NamedSharding(mesh, ROWS)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)


def replicate(value: Any, mesh: Mesh) -> Any:
    """Host values, equal on every host, as replicated global arrays."""
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), value)
