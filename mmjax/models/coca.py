"""CoCa: a picture and a text into one space, and the text written from the picture, in one pass (Yu et al. 2022)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from mmjax.batch import Batch, Stream
from mmjax.errors import UserError
from mmjax.models.attentional_pooler import AttentionalPooler
from mmjax.models.cache import Cache, KeyValues, Known, Reads, reads_of_text
from mmjax.models.decoder_block import DecoderBlock, DecoderOptions
from mmjax.models.dual_encoder import unit
from mmjax.models.encoders.base import Encoder
from mmjax.models.encoders.text import TextTransformer
from mmjax.models.layers import make_dense
from mmjax.models.multimodal_decoder import MultimodalDecoder

# The decoder continues the text tower, one token at a time: so it must be.
TEXT = {"pooling": "class", "causal": True, "norm_first": True, "layer_scale": None, "qk_norm": False}
POSITIONS = ("learned", "sincos", "none")


class CoCa(nn.Module):
    """Parameters are `towers_image/...`, `towers_text/...`, maybe `pooler/...`, `project_NAME/kernel`, `decoder/...`
    and `scale []`, the logarithm of the factor on cosines.

    The first of the picture's vectors, after the pooler if there is one, stands for it, and the decoder reads the
    others. The text tower's class token stands for the text; the decoder goes on from the tokens before it.

    Attributes:
      towers: {"image": an encoder, "text": a `TextTransformer` as `TEXT` has it}.
      streams: which tower reads which stream of a batch, one each.
      decoder: as wide as the text tower, with its vocabulary.
      dim: width of the shared space.
      pooler: None where the decoder reads the tokens of the image tower, which then has a class token.
      scale_init: the factor at the start.
    """

    towers: Mapping[str, nn.Module]
    streams: Mapping[str, str]
    decoder: MultimodalDecoder
    dim: int
    pooler: AttentionalPooler | None = None
    scale_init: float = 1 / 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        if sorted(self.streams.values()) != ["image", "text"] or set(self.towers) != {"image", "text"}:
            raise ValueError(f"towers are 'image' and 'text', and each reads one stream, got {dict(self.streams)}")
        text, image = self.towers["text"], self.towers["image"]
        if not isinstance(text, TextTransformer):
            raise ValueError(f"towers.text must be a text encoder, got {type(text).__name__}")
        for key, wanted in TEXT.items():
            if getattr(text, key) != wanted:
                raise ValueError(f"towers.text.{key} must be {wanted!r}, got {getattr(text, key)!r}")
        if text.positions not in POSITIONS:
            raise ValueError(f"towers.text.positions must be one of {POSITIONS}, got {text.positions!r}")
        if self.pooler is None and isinstance(image, Encoder):
            _check_image(image, self.decoder.width)

    def setup(self) -> None:
        self.projections = {
            name: make_dense(self.dim, "float32", bias=False, name=f"project_{name}") for name in ("image", "text")
        }
        self.scale = self.param("scale", nn.initializers.constant(math.log(self.scale_init)), ())

    def __call__(self, batch: Batch, train: bool = False) -> dict[str, jax.Array]:
        """Features and, where the batch has a picture and a text, what comes next in the text.

        Returns:
          Of each known stream, features `[b, dim]` float32; "scale" `[]`; and "next" `[b, n - 1, v]`, logits float32
          of each token of the text but the first. What the batch or a stream has not comes out finite, and nothing of
          its data gets through.
        """
        features, tokens = self._read(batch, train)
        out = features | {"scale": jnp.exp(self.scale)}
        if len(tokens) < 2:
            return out
        (text, real), (context, context_mask) = tokens["text"], tokens["image"]
        reads = reads_of_text(real[:, :-1], jnp.zeros_like(real[:, :-1]))
        known = self.decoder.read_context(context)
        x, _ = self.decoder(text[:, :-1], reads, known, context_mask, train=train)
        return out | {"next": self.decoder.logits(x)}

    def embed(self, batch: Batch, train: bool = False) -> dict[str, jax.Array]:
        """The features of a call alone."""
        return self._read(batch, train)[0]

    def _read(self, batch: Batch, train: bool) -> tuple[dict[str, jax.Array], dict[str, Any]]:
        """{stream: features}, and {tower: its tokens and which are there}."""
        features, tokens = {}, {}
        for name, stream in batch.streams.items():
            if name in self.streams:
                tower = self.streams[name]
                stream = dataclasses.replace(stream, present=stream.present & batch.valid)
                read = self.read_image if tower == "image" else self.read_text
                pooled, *tokens[tower] = read(stream, train)
                features[name] = unit(self.projections[tower](pooled.astype(jnp.float32)))
        return features, tokens

    def read_image(
        self, image: Stream, train: bool = False
    ) -> tuple[Float[Array, "b e"], Float[Array, "b m e"], Bool[Array, "b m"]]:
        """The vector that stands for a picture, those that the decoder reads, and which of these are there."""
        encoded = self.towers["image"](image, train)
        tokens, mask = encoded.tokens, encoded.mask
        if self.pooler is not None:
            tokens, mask = self.pooler(tokens, mask), None
        there = jnp.broadcast_to(jnp.asarray(image.present)[:, None], tokens.shape[:2])
        return tokens[:, 0], tokens[:, 1:], (there if mask is None else there & mask)[:, 1:]

    def read_text(
        self, text: Stream, train: bool = False
    ) -> tuple[Float[Array, "b d"], Float[Array, "b n d"], Bool[Array, "b n"]]:
        """The vector that stands for a text, its tokens before the last norm, and which of them are real."""
        tower: Any = self.towers["text"]
        encoded = tower.blocks(tower.embed(text, train), train=train)
        return tower.pool(encoded).pooled, encoded.tokens[:, :-1], encoded.mask[:, :-1]

    def prefill(
        self, image: Stream, ids: Int[Array, "b n"], mask: Bool[Array, "b n"], slots: int
    ) -> tuple[Float[Array, "b v"], Cache]:
        """Logits after the last real id of each row, and what the next `step` goes on from.

        Args:
          mask: which ids are real; padding may stand on either side.
          slots: tokens that a row of the cache may come to, the prompt included.

        Raises:
          UserError: fewer slots than ids, or more than there are positions.
        """
        (length,) = ids.shape[1:]
        if not length <= slots <= self.towers["text"].length:
            raise UserError(
                f"a cache of {slots} slots for {length} tokens, and the text tower has {self.towers['text'].length} "
                "positions: shorten the prompt or decoding.length"
            )
        _, context, context_mask = self.read_image(image)
        known = self.decoder.read_context(context)
        reads = reads_of_text(mask, jnp.zeros_like(mask))
        places = jnp.maximum(jnp.cumsum(mask, axis=1, dtype=jnp.int32) - 1, 0)
        x, blocks = self._run(jnp.where(mask, ids, 0), places, reads, None, known, context_mask)
        last = jnp.max(jnp.where(mask, jnp.arange(length), 0), axis=1)
        cache = Cache(blocks, known, context_mask, mask[:, None], jnp.int32(length), length).widen(slots - length)
        return self.decoder.logits(jnp.take_along_axis(x, last[:, None, None], axis=1))[:, 0], cache

    def step(self, ids: Int[Array, " bk"], cache: Cache) -> tuple[Float[Array, "bk v"], Cache]:
        """Logits after one more token of each beam of each row, as of `Decoder.step`; NaN once the cache is full."""
        rows, beams, slots = cache.real.shape
        place = cache.real.sum(axis=2, dtype=jnp.int32)
        real = cache.real | (jnp.arange(slots) == cache.filled + jnp.arange(beams)[:, None])
        reads = Reads(real[:, None], cache.filled)
        assert cache.context is not None  # `prefill` fills it
        x, blocks = self._run(ids.reshape(rows, beams), place, reads, cache.blocks, cache.context, cache.context_mask)
        filled = cache.filled + beams
        logits = jnp.where(filled <= slots, self.decoder.logits(x), jnp.nan).reshape(len(ids), -1)
        return logits, dataclasses.replace(cache, blocks=blocks, real=real, filled=filled)

    def _run(
        self,
        ids: Int[Array, "b n"],
        places: Int[Array, "b n"],
        reads: Reads,
        cached: Known | None,
        context: Known,
        context_mask: Bool[Array, "b c"] | None,
    ) -> tuple[Float[Array, "b n d"], Known]:
        """Ids through text tower and decoder. Returns what `logits` reads, and keys and values of both, in this order.

        The tower's blocks run as a decoder's, which remember what they have read: same parameters, same numbers. Its
        class token is not there: no token before it reads it.
        """
        tower: Any = self.towers["text"]
        depth = tower.dimensions.depth
        known: list[KeyValues] = []
        x: Any = tower.enter(tower.look_up(ids, places), train=False)
        block = DecoderBlock(_options(tower), parent=None)
        for index in range(depth):
            params = _block(tower.variables["params"]["transformer"], index)
            out: Any = block.apply({"params": params}, x, reads, cached=None if cached is None else cached[index])
            x, own = out
            known.append(own)
        rest = None if cached is None else cached[depth:]
        x, more = self.decoder(x, reads, context, context_mask, rest)
        return x, (*known, *more)


def _check_image(image: Encoder, width: int) -> None:
    """Refuses an image tower whose own tokens the decoder cannot read."""
    if getattr(image, "pooling", "class") != "class" or image.dimensions.width != width:
        raise ValueError(
            "without a pooler, towers.image needs pooling 'class' and the width of the text tower, "
            f"{width}; got {getattr(image, 'pooling', None)!r} and {image.dimensions.width}"
        )


def _options(tower: TextTransformer) -> DecoderOptions:
    """What the blocks of a text tower are, as a decoder's."""
    size = tower.dimensions
    own = {f.name: getattr(tower, f.name) for f in dataclasses.fields(DecoderOptions) if hasattr(tower, f.name)}
    sizes = {"width": size.width, "heads": size.heads, "kv_heads": size.heads, "mlp_dim": size.mlp_dim}
    return DecoderOptions(**own | sizes | {"head_dim": size.width // size.heads, "cross": False})


def _block(params: Mapping[str, Any], index: int) -> Any:
    """The parameters of one block of a stack, scanned or not."""
    return jax.tree.map(lambda p: p[index], params["blocks"]) if "blocks" in params else params[f"blocks_{index}"]
