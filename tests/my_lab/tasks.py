"""A task: predict the mean colour of a picture. Its loss takes each row alone, so its gradients accumulate."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.batch import Batch
from mmjax.tasks.base import Loss


class Regressor(nn.Module):
    """Pixels to three numbers."""

    width: int

    @nn.compact
    def __call__(self, pixels: jax.Array, train: bool) -> jax.Array:
        x = nn.gelu(nn.Dense(self.width, name="up")(pixels.reshape(len(pixels), -1)))
        return nn.Dense(3, name="down")(x)


@dataclasses.dataclass(frozen=True)
class MeanColour:
    """Squared error of the mean colour, weighted by the strength of red, so that rows weigh unequally.

    Attributes:
      width: hidden units.
    """

    width: int = 8
    coupled: ClassVar[bool] = False

    @property
    def model(self) -> Regressor:
        return Regressor(self.width)

    def init(self, rng: jax.Array, batch: Batch):
        return self.model.init(rng, _pixels(batch), False)["params"]

    def encode(self, params, batch: Batch, rng: jax.Array | None):
        return self.model.apply({"params": params}, _pixels(batch), rng is not None)

    def loss(self, params, features, batch: Batch, rng: jax.Array | None) -> Loss:
        del params, rng
        target = _pixels(batch).mean((1, 2))
        weight = jnp.where(batch.valid, 0.1 + target[:, 0], 0.0)
        return Loss(jnp.sum(weight * ((features - target) ** 2).sum(-1)), weight.sum(), {})


def _pixels(batch: Batch) -> jax.Array:
    return jnp.where(batch.valid[:, None, None, None], batch["image"].data, 0) / 255.0
