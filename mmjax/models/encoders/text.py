"""The text encoder: a transformer over token ids."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from mmjax.batch import Stream
from mmjax.models.encoded import Encoded
from mmjax.models.encoders.base import Encoder
from mmjax.models.layers import gather, pin
from mmjax.models.pooling import masked_mean, take_token
from mmjax.models.positions import sincos_1d

TextPool = Literal["eos", "argmax", "last", "final", "first", "class", "mean"]


class TextTransformer(Encoder):
    """Token ids int32 `[b, n]` to tokens and one vector.

    Attributes, beside those of `Encoder`:
      vocabulary: number of ids; a larger id is for the tokenizer's side to refuse.
      length: the longest row; rows may be shorter.
      position_offset: rows of the learned table before that of the first token; RoBERTa has 2.
      types: number of token types in a table whose row 0 is added to every token; BERT has 2, RoBERTa 1.
      causal: a token reads only what is before it, as in CLIP.
      pooling: the vector of which token stands for the row, or "mean" over the real ones; see `pool_index`.
      eos: the id that pooling "eos" looks for, and that ends what a task writes.
      begin: the id that begins every row, for a task that writes; no layer reads it.
      attend_padding: padding is read like any token, as SigLIP was trained; its ids then matter.
    """

    vocabulary: int = 0
    length: int = 0
    position_offset: int = 0
    types: int = 0
    causal: bool = False
    pooling: TextPool = "last"
    eos: int | None = None
    begin: int | None = None
    attend_padding: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary < 1 or self.length < 1:
            raise ValueError(f"vocabulary and length must be given, got {self.vocabulary} and {self.length}")
        if self.position_offset < 0 or self.types < 0:
            raise ValueError(f"position_offset and types count rows, got {self.position_offset} and {self.types}")
        if self.position_offset and self.positions != "learned":
            raise ValueError(f"position_offset needs learned positions, not {self.positions!r}")
        if self.pooling == "eos" and self.eos is None:
            raise ValueError("pooling 'eos' needs the id that ends a text: give eos")

    def setup(self) -> None:
        super().setup()
        self.embedding = nn.Embed(self.vocabulary, self.dimensions.width)
        width = self.dimensions.width
        table = nn.initializers.normal(width**-0.5)
        if self.positions == "learned":
            self.position_table = self.param("position_table", table, (self._places + self.position_offset, width))
        if self.pooling == "class":
            self.class_token = self.param("class_token", table, (width,))
        if self.types:
            self.type_table = self.param("type_table", table, (self.types, width))

    def embed(self, stream: Stream, train: bool = False) -> Encoded:
        """Ids to vectors, plus positions. Ids of padding and of absent rows are never looked up.

        Raises:
          ValueError: the rows are longer than `length`.
        """
        batch, length = stream.data.shape
        if length > self.length:
            raise ValueError(f"texts of {length} tokens, but the text encoder has {self.length} positions")
        mask = jnp.broadcast_to(stream.present[:, None], (batch, length))
        if stream.mask is not None and not self.attend_padding:
            mask = mask & stream.mask
        ids = jnp.where(mask, stream.data, 0)
        position = jnp.arange(length) if stream.position is None else jnp.asarray(stream.position)
        tokens = self.look_up(ids, None if stream.position is None else position)
        position = jnp.broadcast_to(position, (batch, length))
        real = mask if stream.mask is None else mask & stream.mask
        pool_at = None if self.pooling == "mean" else pool_index(self.pooling, ids, real, self.eos)
        if self.pooling == "class":
            tokens, position = self._append(tokens, position)
            mask = jnp.concatenate([mask, jnp.asarray(stream.present)[:, None]], axis=1)
        return Encoded(self.enter(tokens, train), mask, position, pool_at)

    def look_up(self, ids: Int[Array, "b n"], position: Int[Array, "b n"] | None = None) -> Float[Array, "b n d"]:
        """Vectors of ids at their places, from 0 on where none are given: what `enter` takes."""
        tokens = pin(jnp.take(gather(self.embedding.embedding), ids, axis=0))
        if self.positions in ("learned", "sincos"):
            table = self._position_table()
            # In the usual order the rows need no lookup, which would be one more for XLA to split.
            tokens = tokens + (table[: ids.shape[1]] if position is None else jnp.take(table, position, axis=0))
        return tokens + self.type_table[0] if self.types else tokens

    def _append(
        self, tokens: Float[Array, "b n d"], position: Int[Array, "b n"]
    ) -> tuple[Float[Array, "b m d"], Int[Array, "b m"]]:
        """The class token behind each row, padding included, at the place after it."""
        rows, length, width = tokens.shape
        token = self.class_token
        if self.positions in ("learned", "sincos"):
            token = token + self._position_table()[length]
        tokens = jnp.concatenate([tokens, jnp.broadcast_to(token, (rows, 1, width))], axis=1)
        return tokens, jnp.concatenate([position, jnp.full((rows, 1), length, position.dtype)], axis=1)

    def attention_mask(self, encoded: Encoded) -> jax.Array | None:
        if self.pooling != "class" or encoded.mask is None:
            return encoded.mask
        # As open_clip trains CoCa, one place late: the first padding is read, and in a row with padding the class token
        # reads itself not. Which id padding has changes nothing: `embed` looks up id 0 for all of it.
        return jnp.roll(encoded.mask, 1, axis=1)

    @property
    def _places(self) -> int:
        """Of the longest row, the class token's included."""
        return self.length + (self.pooling == "class")

    def _position_table(self) -> Float[Array, "length d"]:
        if self.positions == "learned":
            return jnp.asarray(self.position_table)[self.position_offset :]
        return jnp.asarray(sincos_1d(np.arange(self._places), self.dimensions.width))

    def pool(self, encoded: Encoded) -> Encoded:
        tokens = self.leave(encoded.tokens)
        at = encoded.pool_at
        pooled = masked_mean(tokens, encoded.mask) if at is None else take_token(tokens, at)
        return dataclasses.replace(encoded, tokens=tokens, pooled=self.finish(pooled))


def pool_index(
    rule: TextPool, ids: Int[Array, "b n"], mask: Bool[Array, "b n"], eos: int | None = None
) -> Int[Array, " b"]:
    """Which token stands for its row.

    Rules:
      "eos": the first real token whose id is `eos`; in a row without one, the last real token.
      "argmax": the first real token with the row's largest id: OpenAI's rule, right only while no token is added to a
        vocabulary behind the one that ends a text.
      "last": the last real token.
      "final": the last place, real or padding: SigLIP's rule, whose tokenizer pads every text to full length.
      "first": the first place.
      "class": the place behind the row, of a learned token that is put there: CoCa's rule (Yu et al. 2022).

    A row with no real token at all gets place 0.
    """
    places = jnp.arange(ids.shape[1], dtype=jnp.int32)
    last = jnp.max(jnp.where(mask, places, 0), axis=1)
    if rule == "eos":
        ends = mask & (ids == eos)
        return jnp.where(ends.any(axis=1), jnp.argmax(ends, axis=1).astype(jnp.int32), last)
    if rule == "argmax":
        return jnp.argmax(jnp.where(mask, ids, -1), axis=1).astype(jnp.int32)
    if rule == "last":
        return last
    place = {"final": ids.shape[1] - 1, "first": 0, "class": ids.shape[1]}
    return jnp.full(len(ids), place[rule], jnp.int32)
