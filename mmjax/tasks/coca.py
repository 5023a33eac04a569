"""The CoCa task: contrastive alignment and captioning in one pass (Yu et al. 2022)."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from mmjax.batch import Batch
from mmjax.config import build
from mmjax.decoding import Prompt
from mmjax.errors import UserError
from mmjax.losses import LOSSES
from mmjax.losses.language import cross_entropy
from mmjax.models import ENCODERS
from mmjax.models.attentional_pooler import AttentionalPooler
from mmjax.models.coca import CoCa as Model
from mmjax.models.multimodal_decoder import MultimodalDecoder
from mmjax.tasks.base import Loss, Params
from mmjax.tasks.sequence import sequence
from mmjax.tasks.writer import Writer

Features = Mapping[str, Array]
POOLS = ("norm", "epsilon", "dtype")  # what a pooler has of the tower whose tokens it reads


@dataclasses.dataclass(frozen=True)
class CoCa(Writer):
    """Pictures and texts pulled together, and every next token of a text learnt from its picture.

    The loss is contrastive_weight * (mean over rows) + caption_weight * (mean over real tokens). The two means have
    denominators of their own, so it is one number of the whole batch and the task is coupled: `encode` sums each row's
    surprise and counts its tokens, `loss` sees all rows at once, on whatever devices and of however many micro-batches,
    and only there divides. What it hands on is that number times the valid rows, and the valid rows as weight.

    Attributes:
      model: see `models.coca.CoCa`.
      loss_fn: the contrastive loss, one of `LOSSES`.
      image, text: names of the streams.
    """

    model: Model
    loss_fn: Callable[..., Array]
    image: str = "image"
    text: str = "caption"
    contrastive_weight: float = 1.0
    caption_weight: float = 2.0
    coupled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.contrastive_weight < 0 or self.caption_weight < 0:
            raise ValueError(f"weights cannot be negative, got {self.contrastive_weight} and {self.caption_weight}")

    @classmethod
    def from_config(
        cls,
        where: str,
        towers: Mapping[str, Any],
        streams: Mapping[str, str],
        decoder: Mapping[str, Any],
        pooler: Mapping[str, Any] | None = None,
        loss: Any = "info_nce",
        dim: int = 512,
        scale_init: float = 1 / 0.07,
        contrastive_weight: float = 1.0,
        caption_weight: float = 2.0,
    ) -> "CoCa":
        """Builds the parts from their sections.

        Args:
          where: dotted key of the section, for messages.
          towers: {"image": an encoder's section, "text": a text encoder's with pooling "class"}.
          streams: {stream: tower that reads it}, one stream for each.
          decoder: of `MultimodalDecoder`, its width and vocabulary being the text tower's.
          pooler: of `AttentionalPooler`, its width being the decoder's, its norm the image tower's; None for none.
          loss: a name of `LOSSES`, or a section with its options.
          dim: width of the shared space.
          scale_init: first logit scale.
          contrastive_weight, caption_weight: see the class.
        """
        image, text = (build(towers.get(name, {}), ENCODERS, f"{where}.towers.{name}") for name in ("image", "text"))
        width, vocabulary = text.dimensions.width, getattr(text, "vocabulary", 0)
        upper = build(decoder, MultimodalDecoder, f"{where}.decoder", width=width, vocabulary=vocabulary)
        own = {"width": width} | {key: getattr(image, key) for key in POOLS if hasattr(image, key)}
        pool = None if pooler is None else build(pooler, AttentionalPooler, f"{where}.pooler", **own)
        model = Model(FrozenDict(image=image, text=text), FrozenDict(streams), upper, dim, pool, scale_init)
        names = {tower: stream for stream, tower in streams.items()}
        loss_fn = build(loss, LOSSES, f"{where}.loss")
        return cls(model, loss_fn, names["image"], names["text"], contrastive_weight, caption_weight)

    def init(self, rng: jax.Array, batch: Batch) -> Params:
        return self.model.init(rng, batch)["params"]

    def encode(self, params: Params, batch: Batch, rng: jax.Array | None) -> Features:
        """{stream: features [b, dim]}, "scale" [], and of a batch with both streams "surprise", "tokens" and "right".

        These are `[b]` float32: -log p of a row's tokens but the first, summed, in nats; their number; and how many of
        them are the likeliest. Logits are of a row's whole text and vocabulary, and no micro-batch should keep them.
        """
        rngs = None if rng is None else {"dropout": rng}
        features: Any = self.model.apply({"params": params}, batch, train=rng is not None, rngs=rngs)
        logits = features.pop("next", None)
        return features if logits is None else features | self._by_row(logits, batch)

    def loss(self, params: Params, features: Features, batch: Batch, rng: jax.Array | None) -> Loss:
        del params, rng  # the scale came along with the features
        a, b = self.image, self.text
        valid, group = jnp.asarray(batch.valid), jnp.asarray(batch.group)
        valid_a, valid_b = (valid & batch[name].present for name in (a, b))
        contrastive = self.loss_fn(
            features[a],
            features[b],
            features["scale"],
            None,
            valid_a=valid_a,
            valid_b=valid_b,
            group_a=group,
            group_b=group,
        )
        tokens = jnp.maximum(features["tokens"].sum(), 1.0)
        caption = features["surprise"].sum() / tokens
        rows = valid.sum().astype(jnp.float32)
        loss = self.contrastive_weight * contrastive + self.caption_weight * caption
        metrics = {"contrastive": contrastive, "caption": caption, "accuracy": features["right"].sum() / tokens}
        return Loss(rows * loss, rows, metrics | {"scale": features["scale"]})

    def embed(self, params: Params, batch: Batch, rng: jax.Array | None = None) -> Features:
        """Predictor: {stream: features [b, dim]} of the streams that are present."""
        rngs = None if rng is None else {"dropout": rng}
        out: Any = self.model.apply({"params": params}, batch, rng is not None, rngs=rngs, method="embed")
        return out

    def score(self, params: Params, batch: Batch, rng: jax.Array | None = None) -> dict[str, Float[Array, " b"]]:
        """Predictor: the log-probability of each row's text, in nats, and its tokens, the end included."""
        features = self.encode(params, batch, rng)
        return {"logprob": -features["surprise"], "tokens": features["tokens"]}

    @property
    def reads(self) -> tuple[str, ...]:
        """The streams that a text is written from."""
        return (self.image,)

    @property
    def pad(self) -> int:
        """The id behind a text: that of its end, as CLIP's tokenizer has it, whose id 0 is a word."""
        return self.ends[0] if self.ends else 0

    def read(self, params: Params, batch: Batch, length: int) -> Prompt:
        """Pictures and the token that begins a text, as far as `length` new tokens are written from.

        Raises:
          UserError: no token that begins a text.
        """
        if self.begin is None:
            raise UserError("config.task.towers.text.begin: a text begins with a token of its own; give its id")
        row = sequence(jnp.asarray(batch.valid), None, None, self.begin)
        image = batch.streams[self.image]
        image = dataclasses.replace(image, present=image.present & batch.valid)
        slots = row.ids.shape[1] + length
        logits, cache = self.model.apply({"params": params}, image, row.ids, row.mask, slots, method="prefill")
        return Prompt(logits, cache, row.ids, row.mask)

    def _by_row(self, logits: Float[Array, "b m v"], batch: Batch) -> dict[str, Float[Array, " b"]]:
        """What a row's text costs; a text without its picture is not learnt."""
        row = sequence(jnp.asarray(batch.valid), None, batch[self.text], None)
        target, learnt = row.ids[:, 1:], row.learnt[:, 1:] & batch[self.image].present[:, None]
        one = lambda logits, target, mask: cross_entropy(logits[None], target[None], mask[None])  # noqa: E731
        surprise, tokens = jax.vmap(one)(logits, target, learnt)
        right = (logits.argmax(axis=-1) == target) & learnt
        return {"surprise": surprise, "tokens": tokens, "right": right.sum(axis=1).astype(jnp.float32)}
