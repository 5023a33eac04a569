"""Accelerators: what they are called, their peaks per chip, and where those are published."""

import dataclasses
import re

from mmjax.errors import UserError, nearest

GB, GIB, TERA = 1e9, 2.0**30, 1e12


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a step's time is bounded by.

    Attributes:
      name: as topologies begin.
      kind: how JAX's name of its devices begins.
      flops: dense bfloat16 operations a second.
      hbm: bytes of memory that a program may use: what the compiler names when it refuses one.
      bandwidth: bytes a second between memory and cores.
      link: bytes a second one way over one link to a neighbour, or of a GPU to all others of its node.
      network: bytes a second that a chip sends between slices or nodes.
      axes: of the torus that the links span; 0 for GPUs, whose nodes are switched.
      wraps: an axis closes to a ring where its length is a multiple of this.
      cores: devices that JAX makes of one chip.
      source: where the figures are published.
      exact: float32 operations a second of a GPU's exact units; 0 for TPUs, which put six bfloat16 products together.
    """

    name: str
    kind: str
    flops: float
    hbm: float
    bandwidth: float
    link: float
    network: float
    axes: int
    wraps: int
    cores: int
    source: str
    exact: float = 0.0

    @property
    def is_tpu(self) -> bool:
        """Whether its links span a torus."""
        return self.axes > 0

    def passes(self, precision: str) -> float:
        """How long a float32 product takes, in bfloat16 ones.

        Args:
          precision: as `jax.lax.Precision` has them: "default", "high" or "highest". GPUs take TF32, at half the rate,
            and exact units for the last.
        """
        known = {"default": 1.0, "high": 3.0, "highest": 6.0} if self.is_tpu else {"default": 2.0, "high": 2.0}
        return known.get(precision) or self.flops / self.exact


def _gpu(
    name: str,
    kind: str,
    flops: float,
    hbm: float,
    bandwidth: float,
    link: float,
    network: float,
    page: str,
    exact: float,
) -> Chip:
    return Chip(name, kind, flops, hbm, bandwidth, link, network, 0, 0, 1, NVIDIA + page, exact)


TPU, NVIDIA = "https://cloud.google.com/tpu/docs/", "https://www.nvidia.com/data-center/"
# ICI: the published sum of both directions over all ports, divided by twice their number (v5e: 400 GB/s over 4 ports).
# v4 has no published DCN bandwidth; v5e's is taken, 6.4 Tb/s a pod of 256. GPUs: 400 Gb/s of network each, as in an HGX
# node with eight adapters; NVLink is half of the published sum of both directions.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", "TPU v4", 275 * TERA, 30.75 * GIB, 1200 * GB, 50 * GB, 3.125 * GB, 3, 4, 1, TPU + "v4"),
        Chip("v5e", "TPU v5 lite", 197 * TERA, 15.75 * GIB, 819 * GB, 50 * GB, 3.125 * GB, 2, 16, 1, TPU + "v5e"),
        Chip("v5p", "TPU v5", 459 * TERA, 95.74 * GIB, 2765 * GB, 100 * GB, 6.25 * GB, 3, 4, 1, TPU + "v5p"),
        Chip("v6e", "TPU v6 lite", 918 * TERA, 31.25 * GIB, 1638 * GB, 100 * GB, 12.5 * GB, 2, 16, 1, TPU + "v6e"),
        Chip("tpu7x", "TPU7x", 2307 * TERA, 189.5 * GIB, 7380 * GB, 100 * GB, 12.5 * GB, 3, 4, 2, TPU + "tpu7x"),
        _gpu("a100", "NVIDIA A100", 312 * TERA, 75 * GIB, 2039 * GB, 300 * GB, 25 * GB, "a100/", 19.5 * TERA),
        _gpu("h100", "NVIDIA H100 80GB", 989 * TERA, 75 * GIB, 3350 * GB, 450 * GB, 50 * GB, "h100/", 67 * TERA),
        _gpu("h200", "NVIDIA H200", 989 * TERA, 132 * GIB, 4800 * GB, 450 * GB, 50 * GB, "h200/", 67 * TERA),
        _gpu("b200", "NVIDIA B200", 2250 * TERA, 168 * GIB, 8000 * GB, 900 * GB, 50 * GB, "dgx-b200/", 75 * TERA),
    )
}


def chip_named(name: str) -> Chip:
    """Raises UserError for one that is not in the table."""
    if name not in CHIPS:
        raise UserError(f"unknown chip {name!r}{nearest(name, list(CHIPS))}; known: {', '.join(CHIPS)}")
    return CHIPS[name]


def chip_of_kind(kind: str) -> Chip | None:
    """The chip of a device that JAX calls so, by the longest matching name; None for one that is not in the table."""
    found = [chip for chip in CHIPS.values() if kind.startswith(chip.kind)]
    return max(found, key=lambda chip: len(chip.kind), default=None)


def read_shape(text: str) -> tuple[Chip, tuple[int, ...]]:
    """Reads `v5e:16x16`, chips along each axis of the torus, or `h100:8x4`, nodes of 8 GPUs and 4 of them.

    Raises:
      UserError: an unknown chip, or a shape that it does not come in.
    """
    name, _, shape = text.partition(":")
    chip = chip_named(name)
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
        raise UserError(f"--topology {text}: write a chip and its shape, such as v5e:16x16, v5p:8x8x8 or h100:8x4")
    sizes = tuple(int(size) for size in shape.split("x"))
    if chip.is_tpu and len(sizes) != chip.axes:
        example = "x".join(["8"] * chip.axes)
        raise UserError(f"--topology {text}: a slice of {name} has {chip.axes} axes, such as {name}:{example}")
    if not chip.is_tpu and len(sizes) > 2:
        raise UserError(f"--topology {text}: GPUs are given as a node and nodes, such as {name}:8x4")
    return chip, sizes
