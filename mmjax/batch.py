"""What passes between the rooms: an `Example` on the host, a `Batch` of `Stream`s on the devices.

The bottom of the house: this file imports no other room, and every room may import it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import struct

Array = jax.Array | np.ndarray


@dataclasses.dataclass(frozen=True)
class Example:
    """One item on the host, before any transform.

    Attributes:
      id: stable name of the item within its source, for messages and ground truth.
      streams: raw values by stream name: `image` as encoded bytes or uint8 `[h, w, 3]`, `caption` as a tuple of str.
      truth: what evaluators may read and no model sees: `captions`, `label`, `scene`, ...
    """

    id: str
    streams: Mapping[str, Any]
    truth: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@struct.dataclass
class Stream:
    """One modality of a batch, with static shapes.

    Where `present` is False, `data` can influence nothing, NaN included.

    Attributes:
      data: what the encoder's input is: uint8 pixels `[b, h, w, 3]`, int32 token ids `[b, n]`.
      present: bool `[b]`, whether the row has this modality at all.
      mask: bool `[b, n]`, which of the n positions are real; None where all are.
      position: optional int32 `[b, n]`; of patches in a list `[b, n, 2]`: row and column, from 0.
      target: optional int32 `[b, n]`, what a language loss predicts.
    """

    data: Array
    present: Array
    mask: Array | None = None
    position: Array | None = None
    target: Array | None = None


@struct.dataclass
class Batch:
    """Rows that travel together; all of one source.

    Attributes:
      streams: by name, e.g. `{"image": Stream, "caption": Stream}`.
      valid: bool `[b]`; False marks padding and corrupt rows, which influence nothing.
      index: int32 `[b]`, the row's position in its source.
      group: int32 `[b]`; rows of equal group are positives of each other (equal captions, equal labels).
    """

    streams: Mapping[str, Stream]
    valid: Array
    index: Array
    group: Array

    def __getitem__(self, name: str) -> Stream:
        return self.streams[name]
