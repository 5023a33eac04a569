"""Encoders as they are: what a pretrained ViT, DINOv2, BERT or GPT-2 is until a task takes it as a tower."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
from flax import linen as nn
from flax.core import FrozenDict
from jaxtyping import Array

from mmjax.batch import Batch
from mmjax.config import build
from mmjax.errors import UserError
from mmjax.models import ENCODERS
from mmjax.models.towers import Towers
from mmjax.tasks.base import Loss, Params

Features = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Encode:
    """Features without a loss: it embeds and is started from, but does not train.

    Attributes:
      model: module from a batch to {stream: pooled vectors [b, width]}.
    """

    model: nn.Module
    coupled: ClassVar[bool] = False

    @classmethod
    def from_config(cls, where: str, towers: Mapping[str, Any], streams: Mapping[str, str]) -> "Encode":
        """Builds the towers.

        Args:
          where: dotted key of the section, for messages.
          towers: {tower: encoder section}.
          streams: {stream: tower that encodes it}.
        """
        for stream, tower in streams.items():
            if tower not in towers:
                raise ValueError(f"streams.{stream} names the tower {tower!r}; towers: {', '.join(towers)}")
        modules = {name: build(section, ENCODERS, f"{where}.towers.{name}") for name, section in towers.items()}
        return cls(Towers(FrozenDict(modules), FrozenDict(streams)))

    def init(self, rng: jax.Array, batch: Batch) -> Params:
        return self.model.init(rng, batch)["params"]

    def encode(self, params: Params, batch: Batch, rng: jax.Array | None) -> Features:
        rngs = None if rng is None else {"dropout": rng}
        features: Any = self.model.apply({"params": params}, batch, train=rng is not None, rngs=rngs)
        return features

    def loss(self, params: Params, features: Features, batch: Batch, rng: jax.Array | None) -> Loss:
        raise UserError(
            "config.task: encode has no loss; name a task such as align, and take the weights over by init_from"
        )

    def embed(self, params: Params, batch: Batch, rng: jax.Array | None = None) -> Features:
        """Predictor: {stream: features [b, width]} of the streams that are present."""
        return self.encode(params, batch, rng)
