"""What a TPU slice such as `v5e:16x16` is made of."""

import dataclasses
import math
import re

from mmjax.errors import UserError, nearest

# name: (what GKE calls the accelerator, dimensions of its topologies)
KINDS = {
    "v4": ("tpu-v4-podslice", 3),
    "v5e": ("tpu-v5-lite-podslice", 2),
    "v5p": ("tpu-v5p-slice", 3),
    "v6e": ("tpu-v6e-slice", 2),
    "tpu7x": ("tpu7x", 3),
}
CHIPS = 4  # of a host of a slice; a single chip has a host to itself


@dataclasses.dataclass(frozen=True)
class Slice:
    """A TPU slice.

    Attributes:
      accelerator: as GKE labels its nodes.
      shape: as GKE labels its nodes, such as 16x16.
      hosts: machines.
      chips: of each machine.
    """

    accelerator: str
    shape: str
    hosts: int
    chips: int


def parse(text: str) -> Slice:
    """Reads `KIND:AxB` or `KIND:AxBxC`.

    Raises:
      UserError: an unknown kind, or a shape that it does not come in.
    """
    kind, _, shape = text.partition(":")
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise UserError(f"--topology {text}: write it as KIND:SHAPE, with one of {known}{nearest(kind, list(KINDS))}")
    accelerator, dimensions = KINDS[kind]
    if not re.fullmatch("x".join([r"[1-9]\d*"] * dimensions), shape):
        raise UserError(
            f"--topology {text}: {kind} has {dimensions} dimensions, as in {kind}:{'x'.join('4' * dimensions)}"
        )
    count = math.prod(map(int, shape.split("x")))
    if count != 1 and count % CHIPS:
        raise UserError(f"--topology {text}: {count} chips do not divide among hosts of {CHIPS}")
    chips = min(count, CHIPS)
    return Slice(accelerator, shape, count // chips, chips)
