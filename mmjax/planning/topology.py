"""Which devices a program is compiled for: chips that are rented later, or those at hand."""

import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from mmjax.errors import UserError
from mmjax.planning.chips import Chip, chip_named, chip_of_kind

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
EXAMPLES = "v5e:16x16, v5p:8x8x8, h100:8x4 (nodes of 8, 4 nodes), or here"


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
    name, _, shape = text.partition(":")
    chip = chip_named(name)
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
        raise UserError(f"--topology {text}: write a chip and its shape, such as {EXAMPLES}")
    sizes = tuple(int(size) for size in shape.split("x"))
    if chip.is_tpu and len(sizes) != chip.axes:
        raise UserError(f"--topology {text}: a slice of {name} has {chip.axes} axes, such as {name}:{_example(chip)}")
    if not chip.is_tpu and len(sizes) > 2:
        raise UserError(f"--topology {text}: GPUs are given as a node and nodes, such as {name}:8x4")
    if slices < 1 or (slices > 1 and not chip.is_tpu):
        raise UserError(f"--slices {slices}: only TPUs come in several slices, one at least")
    return Topology(text, chip, sizes, slices)


def _example(chip: Chip) -> str:
    return "x".join("8" for _ in range(chip.axes))


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
