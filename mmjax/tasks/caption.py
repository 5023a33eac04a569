"""Text about a picture: a decoder that reads image tokens learns every next token, and writes.

By its options it is the encoder-decoder of `VisionEncoderDecoder`, a language model with image tokens before the text
(PaliGemma, LLaVA), or CapPa. With a `prompt` stream the text answers it; see `tasks/answer.py`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from mmjax.batch import Batch
from mmjax.config import build
from mmjax.decoding import Prompt
from mmjax.errors import UserError
from mmjax.losses.language import cross_entropy
from mmjax.models import DECODERS, ENCODERS
from mmjax.models.captioner import Captioner
from mmjax.models.connector import Connection
from mmjax.tasks.base import Loss, Params
from mmjax.tasks.sequence import Sequence, sequence, shifted
from mmjax.tasks.writer import Writer

PARALLEL = 1  # folded into a step's key


@dataclasses.dataclass(frozen=True)
class Caption(Writer):
    """Teacher forcing: the loss is the mean over all real tokens of the text but one that every row begins with.

    Attributes:
      model: see `Captioner`.
      image, text: names of the streams.
      prompt: the stream that stands before the text and is read, not learnt; None for none.
      free_prompt: the prompt is read as a whole, as image tokens before it are, and not from left to right (PaliGemma).
      smoothing: see `cross_entropy`.
      parallel: share of the rows that are predicted without reading any of their own text (CapPa, Tschannen et al.
        2023): each of their tokens enters as padding, and all read each other.
      blind: no picture is read: the ablation that shows what prompts alone give away.
    """

    model: Captioner
    image: str = "image"
    text: str = "caption"
    prompt: str | None = None
    free_prompt: bool = False
    smoothing: float = 0.0
    parallel: float = 0.0
    blind: bool = False
    coupled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1 or not 0 <= self.parallel <= 1:
            raise ValueError(f"smoothing and parallel are shares, got {self.smoothing} and {self.parallel}")

    @classmethod
    def from_config(
        cls,
        where: str,
        towers: Mapping[str, Any],
        streams: Mapping[str, str],
        connection: Mapping[str, Any] = FrozenDict(),
        image: str = "image",
        text: str = "caption",
        prompt: str | None = None,
        free_prompt: bool = False,
        smoothing: float = 0.0,
        parallel: float = 0.0,
        blind: bool = False,
    ) -> Any:
        """Builds the parts from their sections.

        Args:
          where: dotted key of the section, for messages.
          towers: {"image": an encoder's section, "text": a decoder's, whose `cross` follows from the connection}.
          streams: {stream: tower that reads or writes it}.
          connection: see `Connection`.
          image, text, prompt, free_prompt, smoothing, parallel, blind: see the class.
        """
        wanted = {image: "image", text: "text"} | ({prompt: "text"} if prompt else {})
        how, modules = towers_of(where, towers, streams, connection, wanted)
        model = Captioner(modules, how)
        return cls(model, image, text, prompt, free_prompt, smoothing, parallel, blind)

    def init(self, rng: jax.Array, batch: Batch) -> Params:
        row = self.row(batch)
        return self.model.init(rng, batch.streams[self.image], row.ids, row.mask, method="everything")["params"]

    def encode(self, params: Params, batch: Batch, rng: jax.Array | None) -> Mapping[str, Array]:
        """Logits `[b, m, v]` of each token of the text that is to be learnt, with "target" and "mask" `[b, m]`."""
        row = self.row(batch)
        ids, mask, free = row.ids, row.mask, row.free
        if rng is not None and self.parallel:
            chosen = jax.random.bernoulli(jax.random.fold_in(rng, PARALLEL), self.parallel, (len(ids), 1))
            hidden = chosen & (jnp.arange(ids.shape[1]) >= row.before)
            ids, free = jnp.where(hidden, self.pad, ids), free | hidden
            mask = mask | hidden  # as padding enters too, a row does not give its length away
        rngs = None if rng is None else {"dropout": rng}
        model = functools.partial(self.model.apply, {"params": params})
        x: Any = model(self.seen(batch), ids, mask, free, rng is not None, rngs=rngs)
        places, target, learnt = shifted(row)
        logits: Any = model(jnp.take_along_axis(x, places[..., None], axis=1), method="logits")
        return {"logits": logits, "target": target, "mask": learnt}

    def loss(self, params: Params, features: Mapping[str, Array], batch: Batch, rng: jax.Array | None) -> Loss:
        del params, batch, rng
        logits, target, mask = features["logits"], features["target"], features["mask"]
        total, weight = cross_entropy(logits, target, mask, self.smoothing)
        right = ((logits.argmax(axis=-1) == target) & mask).sum() / jnp.maximum(weight, 1.0)
        return Loss(total, weight, {"accuracy": right, "padding": 1 - weight / mask.size})

    def score(self, params: Params, batch: Batch, rng: jax.Array | None = None) -> dict[str, Float[Array, " b"]]:
        """Predictor: the log-probability of each row's text, in nats, and its tokens, the end included."""
        features = self.encode(params, batch, rng)
        logprobs = jax.nn.log_softmax(features["logits"], axis=-1)
        own = jnp.take_along_axis(logprobs, features["target"][..., None], axis=-1)[..., 0]
        mask = features["mask"]
        return {"logprob": jnp.where(mask, own, 0.0).sum(axis=1), "tokens": mask.sum(axis=1).astype(jnp.float32)}

    @property
    def reads(self) -> tuple[str, ...]:
        """The streams that a text is written from."""
        return (self.image,) if self.prompt is None else (self.image, self.prompt)

    @property
    def pad(self) -> int:
        """The id behind a text."""
        return self.model.decoder.pad

    def read(self, params: Params, batch: Batch, length: int) -> Prompt:
        """Pictures and prompts, as far as `length` new tokens are written from.

        Raises:
          UserError: nothing to begin with: neither a prompt nor a token that begins a text.
        """
        row = self.row(batch, begin_only=True)
        if not row.ids.shape[1]:
            raise UserError(
                "config.task.towers.text.begin: a text begins with a token of its own or after a prompt; give its id"
            )
        slots = row.ids.shape[1] + length
        logits, cache = self.model.apply(
            {"params": params}, self.seen(batch), row.ids, row.mask, row.free, slots, method="prefill"
        )
        return Prompt(logits, cache, row.ids, row.mask)

    def seen(self, batch: Batch) -> Any:
        """The pictures that may be read."""
        image = batch.streams[self.image]
        there = image.present & batch.valid & (not self.blind)
        return dataclasses.replace(image, present=there)

    def row(self, batch: Batch, begin_only: bool = False) -> Sequence:
        """Prompt and text of each row; or only as much as stands there before any of the text is written."""
        decoder = self.model.decoder
        prompt = None if self.prompt is None else batch.streams[self.prompt]
        text = None if begin_only else batch.streams[self.text]
        return sequence(jnp.asarray(batch.valid), prompt, text, decoder.begin, self.free_prompt)


def towers_of(
    where: str,
    towers: Mapping[str, Any],
    streams: Mapping[str, str],
    connection: Mapping[str, Any],
    wanted: Mapping[str, str],
) -> tuple[Connection, FrozenDict]:
    """What lies between the towers, and {"image": an encoder, "text": a decoder}, from their sections.

    Args:
      wanted: {stream: the tower that it must go through}.

    Raises:
      ValueError: other towers, or a stream through another one.
    """
    if set(towers) != {"image", "text"}:
        raise ValueError(f"towers are 'image' and 'text', got {', '.join(map(repr, towers))}")
    for stream, tower in wanted.items():
        if streams.get(stream) != tower:
            raise ValueError(f"streams.{stream} must name the tower {tower!r}, got {streams.get(stream)!r}")
    how = build(dict(connection), Connection, f"{where}.connection")
    encoder = build(towers["image"], ENCODERS, f"{where}.towers.image")
    section = {**towers["text"], "cross": how.reads == "cross"}
    decoder = build(section, DECODERS, f"{where}.towers.text")
    return how, FrozenDict(image=encoder, text=decoder)
