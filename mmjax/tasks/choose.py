"""Questions about pictures as a choice among a list of answers."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax.core import FrozenDict
from jaxtyping import Array, Float, Int

from mmjax.batch import Batch
from mmjax.models.chooser import Chooser
from mmjax.tasks.base import Loss, Params
from mmjax.tasks.caption import towers_of
from mmjax.tasks.sequence import sequence


@dataclasses.dataclass(frozen=True)
class Choose:
    """Each answer is right or wrong by itself, to a degree: binary cross-entropy with soft scores (Teney et al. 2018).

    Attributes:
      model: see `Chooser`.
      image, prompt: names of the streams that are read.
      text: the stream of scores, see `data.streams.answers`.
      blind: no picture is read, see `Caption`.
    """

    model: Chooser
    image: str = "image"
    prompt: str = "question"
    text: str = "answer"
    blind: bool = False
    coupled: ClassVar[bool] = False

    @classmethod
    def from_config(
        cls,
        where: str,
        towers: Mapping[str, Any],
        streams: Mapping[str, str],
        answers: int,
        connection: Mapping[str, Any] = FrozenDict(),
        image: str = "image",
        prompt: str = "question",
        text: str = "answer",
        blind: bool = False,
    ) -> "Choose":
        """Builds the parts from their sections; arguments as of `Caption.from_config`.

        Args:
          answers: how many there are; of the stream's list where a run's config leaves it out.
        """
        how, modules = towers_of(where, towers, streams, connection, {image: "image", prompt: "text"})
        return cls(Chooser(modules, how, answers), image, prompt, text, blind)

    def init(self, rng: jax.Array, batch: Batch) -> Params:
        row = sequence(jnp.asarray(batch.valid), batch[self.prompt], None, None)
        return self.model.init(rng, batch[self.image], row.ids, row.mask, method="choose")["params"]

    def encode(self, params: Params, batch: Batch, rng: jax.Array | None) -> Mapping[str, Array]:
        """ "logits" `[b, answers]`."""
        image, rngs = batch[self.image], None if rng is None else {"dropout": rng}
        image = dataclasses.replace(image, present=image.present & batch.valid & (not self.blind))
        row = sequence(jnp.asarray(batch.valid), batch[self.prompt], None, None)
        logits: Any = self.model.apply(
            {"params": params}, image, row.ids, row.mask, None, rng is not None, method="choose", rngs=rngs
        )
        return {"logits": logits}

    def loss(self, params: Params, features: Mapping[str, Array], batch: Batch, rng: jax.Array | None) -> Loss:
        del params, rng
        there = jnp.asarray(batch.valid) & batch[self.text].present & batch[self.prompt].present
        target = jnp.where(there[:, None], batch[self.text].data, 0.0)
        logits = jnp.where(there[:, None], features["logits"], 0.0)
        each = optax.sigmoid_binary_cross_entropy(logits, target).sum(axis=1)
        weight = there.sum(dtype=jnp.float32)
        right = jnp.take_along_axis(target, logits.argmax(axis=1)[:, None], axis=1)[:, 0]
        accuracy = jnp.where(there, right, 0.0).sum() / jnp.maximum(weight, 1.0)
        return Loss(jnp.where(there, each, 0.0).sum(), weight, {"accuracy": accuracy})

    @property
    def reads(self) -> tuple[str, ...]:
        """The streams that an answer is chosen from."""
        return (self.image, self.prompt)

    def choose(self, params: Params, batch: Batch) -> tuple[Int[Array, " b"], Float[Array, " b"]]:
        """Predictor: the likeliest answer of each row, by its place in the list, and log sigmoid of its logit."""
        logits = self.encode(params, batch, None)["logits"]
        return logits.argmax(axis=1).astype(jnp.int32), jax.nn.log_sigmoid(logits.max(axis=1))
