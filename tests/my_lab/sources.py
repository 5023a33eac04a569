"""A source: anything with a length and items. This one makes pictures whose brightness is their caption."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmjax.batch import Example
from mmjax.errors import BadItem


@dataclasses.dataclass(frozen=True)
class Shades:
    """`length` pictures of 8 x 8 pixels in three shades, with two captions each.

    Attributes:
      length: number of items.
      bad: items that cannot be read.
      offset: added to the index, so that two splits differ.
    """

    length: int = 64
    bad: tuple[int, ...] = ()
    offset: int = 0
    name: str = "shades"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        if index in self.bad:
            raise BadItem("made to be bad")
        colour = self._colour(index)
        image = np.broadcast_to(np.array(colour, np.uint8), (8, 8, 3))
        captions = self.captions(index)
        return Example(str(index), {"image": image, "caption": captions}, self.truth(index))

    def captions(self, index: int) -> tuple[str, ...]:
        """The two captions of an item."""
        red, green, blue = self._colour(index)
        return f"red {red} green {green} blue {blue}", f"{red} {green} {blue}"

    def truth(self, index: int) -> Mapping[str, Any]:
        """Captions, and which of the three channels is strongest."""
        return {"captions": self.captions(index), "label": int(np.argmax(self._colour(index)))}

    def _colour(self, index: int) -> tuple[int, int, int]:
        return tuple(int(x) for x in np.random.default_rng(index + self.offset).integers(0, 256, 3))
