"""Towers into one space."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict
from jaxtyping import Array, Float

from mmjax.batch import Batch, Stream
from mmjax.models.encoders.base import Encoder, vector
from mmjax.models.layers import make_dense

Projection = Literal["linear", "bias", "none"]


class DualEncoder(nn.Module):
    """One encoder per tower, each followed by a linear map into a shared space and L2 normalisation.

    Parameters: `towers_NAME/...` of each encoder, `project_NAME/kernel [width, dim]` and maybe `/bias`, `scale []` (the
    logarithm of the factor on cosines, so that a step changes it by a ratio), and `bias []` if there is one.

    Attributes:
      towers: encoder modules by tower name.
      streams: which tower reads which stream of a batch; several streams may share one.
      dim: width of the shared space.
      scale_init: the factor at the start, itself and not its logarithm: 1 / 0.07 for CLIP, 10 for SigLIP.
      bias_init: of the logits at the start, -10 for SigLIP; None for a loss that has no use for one.
      project: the map of a tower: "linear", also where nothing is said; "bias", with one; "none", for a tower that is
        as wide as the space. SigLIP's text tower has a bias, its image tower no map.
    """

    towers: Mapping[str, nn.Module]
    streams: Mapping[str, str]
    dim: int
    scale_init: float
    bias_init: float | None = None
    project: Mapping[str, Projection] = FrozenDict()

    def __post_init__(self) -> None:
        super().__post_init__()
        for stream, tower in self.streams.items():
            if tower not in self.towers:
                raise ValueError(f"stream {stream!r} wants tower {tower!r}; there are: {', '.join(self.towers)}")
        for tower, projection in self.project.items():
            if tower not in self.towers:
                raise ValueError(f"project names the tower {tower!r}; there are: {', '.join(self.towers)}")
            if projection == "none":
                _check_width(tower, self.towers[tower], self.dim)

    def setup(self) -> None:
        kinds = {name: self.project.get(name, "linear") for name in self.towers}
        self.projections = {
            name: make_dense(self.dim, "float32", kind == "bias", name=f"project_{name}")
            for name, kind in kinds.items()
            if kind != "none"
        }
        self.scale = self.param("scale", nn.initializers.constant(math.log(self.scale_init)), ())
        if self.bias_init is not None:
            self.bias = self.param("bias", nn.initializers.constant(self.bias_init), ())

    def __call__(self, batch: Batch, train: bool = False) -> dict[str, jax.Array]:
        """Features `[b, dim]` float32 of every known stream in the batch, plus "scale" and, if there is one, "bias".

        Rows where the batch or the stream is not valid come out finite, and nothing of their data gets through.
        """
        features = {
            name: self.embed(
                self.streams[name], dataclasses.replace(stream, present=stream.present & batch.valid), train
            )
            for name, stream in batch.streams.items()
            if name in self.streams
        }
        bias = {} if self.bias_init is None else {"bias": self.bias}
        return features | {"scale": jnp.exp(self.scale)} | bias

    def embed(self, tower: str, stream: Stream, train: bool = False) -> Float[Array, "b dim"]:
        """One stream through one tower, into the shared space."""
        pooled = vector(self.towers[tower], stream, train).astype(jnp.float32)
        return unit(self.projections[tower](pooled) if tower in self.projections else pooled)


def _check_width(name: str, tower: nn.Module, dim: int) -> None:
    """Refuses an encoder that is not as wide as the space; a module of the user's own is taken at its word."""
    if isinstance(tower, Encoder) and tower.dimensions.width != dim:
        raise ValueError(f"tower {name!r} is {tower.dimensions.width} wide: without projection, dim must be that too")


def unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """x / |x| over the last axis. Vectors shorter than 1e-6 stay as they are, so that value and gradient are finite."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    long = squared > 1e-12
    return x * jnp.where(long, jax.lax.rsqrt(jnp.where(long, squared, 1.0)), 1.0)
