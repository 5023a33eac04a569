"""A small source whose every value can be told from its index; at module level, so that worker processes find it."""

import dataclasses
import os

import numpy as np

from mmjax.batch import Example
from mmjax.errors import BadItem


@dataclasses.dataclass(frozen=True)
class Toy:
    """Item i: a grey picture of level i, two captions of its own, and `repeats` items in a row share label and text.

    Items in `bad` cannot be read; those in `mute` have no caption; those in `blind` no picture.
    """

    length: int = 10
    name: str = "toy"
    bad: tuple[int, ...] = ()
    mute: tuple[int, ...] = ()
    blind: tuple[int, ...] = ()
    repeats: int = 1
    size: int = 8

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        streams = {}
        if index not in self.blind:
            self.captions(index)
            streams["image"] = np.full((self.size, self.size, 3), index % 256, np.uint8)
        if index not in self.mute:
            streams["caption"] = self.captions(index)
            streams["foil"] = tuple(f"not {text}" for text in streams["caption"])
        return Example(self.id(index), streams, self.truth(index))

    def captions(self, index):
        if index in self.bad:
            raise BadItem(f"item {index} is broken")
        return () if index in self.mute else tuple(f"{word} {index // self.repeats}" for word in ("one", "two"))

    def truth(self, index):
        return {"label": index // self.repeats}

    def id(self, index):
        return f"item-{index}"


@dataclasses.dataclass(frozen=True)
class Failing(Toy):
    """Has a bug, which must surface and not be taken for a bad item."""

    def __getitem__(self, index):
        raise ZeroDivisionError("a bug in a source")


@dataclasses.dataclass(frozen=True)
class Platform(Toy):
    """Its picture says whether JAX would start an accelerator in the process that reads it."""

    def __getitem__(self, index):
        import jax

        safe = jax.config.jax_platforms == "cpu"
        return Example("x", {"image": np.full((self.size, self.size, 3), 7 * safe + os.getpid() * 0, np.uint8)}, {})
