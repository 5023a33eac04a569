"""What a TPU slice such as `v5e:16x16` is made of."""

import dataclasses
import math

from mmjax.chips import read_shape
from mmjax.errors import UserError

ACCELERATORS = {  # as GKE calls them
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
    "tpu7x": "tpu7x",
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
    """Reads `v5e:16x16`.

    Raises:
      UserError: an unknown chip, or a shape that it does not come in.
    """
    chip, sizes = read_shape(text)
    if chip.name not in ACCELERATORS:
        raise UserError(f"--topology {text}: this launches on TPUs: {', '.join(ACCELERATORS)}")
    count = math.prod(sizes)
    if count != 1 and count % CHIPS:
        raise UserError(f"--topology {text}: {count} chips do not divide among hosts of {CHIPS}")
    chips = min(count, CHIPS)
    return Slice(ACCELERATORS[chip.name], "x".join(map(str, sizes)), count // chips, chips)
