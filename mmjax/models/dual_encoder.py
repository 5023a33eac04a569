"""Towers into one space."""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.batch import Batch, Stream
from mmjax.models.layers import make_dense


class DualEncoder(nn.Module):
    """One encoder per tower, each followed by a linear map into a shared space and L2 normalisation.

    Parameters: `towers_NAME/...` of each encoder, `project_NAME/kernel [width, dim]`, `scale []` (the logarithm of the
    factor on cosines, so that a step changes it by a ratio), and `bias []` if there is one.

    Attributes:
      towers: encoder modules by tower name.
      streams: which tower reads which stream of a batch; several streams may share one.
      dim: width of the shared space.
      scale_init: the factor at the start, itself and not its logarithm: 1 / 0.07 for CLIP, 10 for SigLIP.
      bias_init: of the logits at the start, -10 for SigLIP; None for a loss that has no use for one.
    """

    towers: Mapping[str, nn.Module]
    streams: Mapping[str, str]
    dim: int
    scale_init: float
    bias_init: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for stream, tower in self.streams.items():
            if tower not in self.towers:
                raise ValueError(f"stream {stream!r} wants tower {tower!r}; there are: {', '.join(self.towers)}")

    def setup(self) -> None:
        self.project = {name: make_dense(self.dim, "float32", bias=False) for name in self.towers}
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
        pooled = self.towers[tower](stream, train).pooled
        return unit(self.project[tower](pooled.astype(jnp.float32)))


def unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """x / |x| over the last axis. Vectors shorter than 1e-6 stay as they are, so that value and gradient are finite."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    long = squared > 1e-12
    return x * jnp.where(long, jax.lax.rsqrt(jnp.where(long, squared, 1.0)), 1.0)
