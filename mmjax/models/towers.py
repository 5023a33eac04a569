"""Encoders side by side, each with the vector that it pools: no shared space."""

import dataclasses
from collections.abc import Mapping

import jax
from flax import linen as nn

from mmjax.batch import Batch
from mmjax.models.encoders.base import vector


class Towers(nn.Module):
    """Parameters are `towers_NAME/...`, as in a dual encoder, so a tower moves between the two by its name.

    Attributes:
      towers: encoder modules by name.
      streams: which tower reads which stream of a batch.
    """

    towers: Mapping[str, nn.Module]
    streams: Mapping[str, str]

    def __call__(self, batch: Batch, train: bool = False) -> dict[str, jax.Array]:
        """Pooled vectors float32 `[b, width]` of every known stream in the batch, not normalised."""
        return {
            name: vector(
                self.towers[self.streams[name]],
                dataclasses.replace(stream, present=stream.present & batch.valid),
                train,
            )
            for name, stream in batch.streams.items()
            if name in self.streams
        }
