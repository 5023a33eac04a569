"""Which devices a program is compiled for: chips that are rented later, or those at hand."""

import importlib.util
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from mmjax.chips import Chip, chip_of_kind, read_shape
from mmjax.errors import UserError

HERE = "here"
# Else libtpu asks a server that only cloud machines have, and complains of what it does not find.
QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # compilers side by side get along; it is chips that only one process can hold
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}


class Topology(NamedTuple):
    """A named set of chips.

    Attributes:
      name: as the user wrote it.
      chip: what they are; None for devices at hand that the table does not know.
      shape: chips along each axis of the torus; of GPUs (a node, nodes).
      slices: tori that the data-centre network joins.
    """

    name: str
    chip: Chip | None
    shape: tuple[int, ...]
    slices: int

    @property
    def chips(self) -> int:
        """All of them, in all slices."""
        return math.prod(self.shape) * self.slices

    @property
    def compiles(self) -> bool:
        """Whether there is a compiler for it on this machine; of GPUs that are not here there is none."""
        return self.name == HERE or (self.chip is not None and self.chip.is_tpu)


def parse_topology(text: str, slices: int = 1) -> Topology:
    """Reads `v5e:16x16`.

    Raises:
      UserError: an unknown chip, or a shape that such chips do not come in.
    """
    if text == HERE:
        if slices != 1:
            raise UserError(f"--slices {slices}: the devices at hand are as they are; leave it out with {HERE!r}")
        return Topology(text, chip_of_kind(jax.devices()[0].device_kind), (jax.device_count(),), 1)
    chip, sizes = read_shape(text)
    if slices < 1 or (slices > 1 and not chip.is_tpu):
        raise UserError(f"--slices {slices}: only TPUs come in several slices, one at least")
    return Topology(text, chip, sizes, slices)


def devices_of(topology: Topology) -> Sequence[jax.Device]:
    """The devices to compile for; TPUs need not exist, only their compiler, which the package libtpu brings.

    Raises:
      UserError: no libtpu, or a shape that it refuses.
    """
    if topology.name == HERE:
        return jax.devices()
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("the TPU compiler is not installed: pip install 'mmjax[plan]' (Linux on x86; no TPU needed)")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    options: dict[str, Any] = {"num_slices": topology.slices} if topology.slices > 1 else {}
    if topology.name.startswith("v4:"):
        options["chip_config_name"] = "megacore"  # both cores as one device, as such chips are rented
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **options)
    except jax.errors.JaxRuntimeError as error:
        raise UserError(f"--topology {topology.name}: {str(error).splitlines()[0]}") from None
    return found.devices


def capacity_of(topology: Topology) -> float | None:
    """Bytes that a program may use of one device; None where nobody says."""
    if topology.name == HERE:
        return (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    return topology.chip.hbm / topology.chip.cores if topology.chip else None
