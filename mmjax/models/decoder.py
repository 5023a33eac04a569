"""A causal language model: over its own tokens, after a prefix of vectors, and across to a context.

By its options it is GPT-2 (learned positions, layer norms, cross-attention to an image), Llama or Gemma (rotary
positions, RMS norms, gated MLPs, grouped heads).
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from mmjax.errors import UserError
from mmjax.models.activations import Activation
from mmjax.models.cache import Cache, Reads, reads_of_text
from mmjax.models.decoder_block import DecoderBlock, DecoderOptions
from mmjax.models.decoder_stack import Given, Stack
from mmjax.models.layers import gather, make_dense
from mmjax.models.norms import Norm, NormKind
from mmjax.models.positions import rotary_angles
from mmjax.models.remat import Remat


class Decoder(nn.Module):
    """Token ids to logits of the next one.

    Attributes:
      vocabulary, length: ids, and the longest row: prefix and text together.
      width, depth, heads, mlp_dim: as of every transformer.
      kv_heads, head_dim: see `DecoderOptions`; as many as heads, and width / heads, where they are None.
      positions: "learned", a table that is added, or "rotary".
      rotary_base: of the rotary frequencies.
      tied: logits by the table of embeddings; else by a map of their own.
      embed_scale: embeddings times the root of the width, as in Gemma.
      activation, norm, epsilon, qkv_bias, bias, cross, dropout: see `DecoderOptions`.
      scan, remat: see `Transformer`; `remat` concerns training alone. Tokens are generated faster without `scan`, by
        parameters that `stacking.unstack` gives.
      begin, eos, pad: the ids that begin and end a text and fill up a row, which no layer reads but whoever writes by
        it; None for no such id.
      dtype: of matmuls and of the activations between blocks.
    """

    vocabulary: int
    length: int
    width: int
    depth: int
    heads: int
    mlp_dim: int
    kv_heads: int | None = None
    head_dim: int | None = None
    positions: Literal["learned", "rotary"] = "learned"
    rotary_base: float = 10_000.0
    tied: bool = True
    embed_scale: bool = False
    activation: Activation = "gelu_tanh"
    norm: NormKind = "layer"
    epsilon: float = 1e-5
    qkv_bias: bool = True
    bias: bool = True
    cross: bool = False
    dropout: float = 0.0
    scan: bool = False
    remat: Remat = "none"
    begin: int | None = None
    eos: int | None = None
    pad: int = 0
    dtype: str = "float32"

    def setup(self) -> None:
        self.embedding = nn.Embed(self.vocabulary, self.width)
        if self.positions == "learned":
            table = nn.initializers.normal(self.width**-0.5)
            self.position_table = self.param("position_table", table, (self.length, self.width))
        blocks: Any = (
            DecoderBlock(self.options) if self.scan else [DecoderBlock(self.options) for _ in range(self.depth)]
        )
        self.blocks = blocks
        self.norm_after = Norm(self.norm, self.epsilon)
        if not self.tied:
            self.head = make_dense(self.vocabulary, self.dtype, bias=False)

    @property
    def options(self) -> DecoderOptions:
        """Of each block."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(DecoderOptions)}
        own["kv_heads"] = self.kv_heads or self.heads
        own["head_dim"] = self.head_dim or self.width // self.heads
        return DecoderOptions(**own)

    def __call__(
        self,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"] | None = None,
        prefix: Float[Array, "b p d"] | None = None,
        prefix_mask: Bool[Array, "b p"] | None = None,
        context: Float[Array, "b c e"] | None = None,
        context_mask: Bool[Array, "b c"] | None = None,
        free_ids: Bool[Array, "b n"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b n v"]:
        """Logits float32 after each of the ids, by teacher forcing; arguments as of `hidden`."""
        return self.logits(self.hidden(ids, mask, prefix, prefix_mask, context, context_mask, free_ids, train))

    def hidden(
        self,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"] | None = None,
        prefix: Float[Array, "b p d"] | None = None,
        prefix_mask: Bool[Array, "b p"] | None = None,
        context: Float[Array, "b c e"] | None = None,
        context_mask: Bool[Array, "b c"] | None = None,
        free_ids: Bool[Array, "b n"] | None = None,
        train: bool = False,
    ) -> Float[Array, "b n d"]:
        """The last block's tokens for the ids, after the last norm: what `logits` reads.

        Args:
          mask: which ids are real, the others being read by nobody; None for all.
          prefix: vectors before the text, which all tokens read, those of the prefix too.
          context: what cross-attention reads.
          free_ids: which ids all tokens read as they do the prefix, such as a question; None for none.

        Raises:
          UserError: more tokens than there are positions.
        """
        x, real, free = self._enter(ids, mask, prefix, prefix_mask, free_ids)
        given = self._given(reads_of_text(real, free), _places(real), context_mask, train)
        x = self._stack.forward(x, given, context)
        return self.norm_after(x[:, -ids.shape[1] :])

    def prefill(
        self,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"] | None,
        slots: int,
        prefix: Float[Array, "b p d"] | None = None,
        prefix_mask: Bool[Array, "b p"] | None = None,
        context: Float[Array, "b c e"] | None = None,
        context_mask: Bool[Array, "b c"] | None = None,
        free_ids: Bool[Array, "b n"] | None = None,
    ) -> tuple[Float[Array, "b v"], Cache]:
        """Logits after the last real id of each row, and what the next `step` goes on from.

        Args:
          slots: tokens that a row of the cache may come to, those of prefix and prompt included.

        Raises:
          UserError: fewer slots than tokens, or more than there are positions.
        """
        x, real, free = self._enter(ids, mask, prefix, prefix_mask, free_ids)
        filled = x.shape[1]
        if not filled <= slots <= self.length:
            raise UserError(
                f"a cache of {slots} slots for {filled} tokens, and the decoder has {self.length} positions: "
                "shorten the prompt or decoding.length"
            )
        given = self._given(reads_of_text(real, free), _places(real), context_mask)
        x, blocks, known = self._stack.read(x, given, context)
        last = jnp.max(jnp.where(real, jnp.arange(filled), 0), axis=1)
        cache = Cache(blocks, known, context_mask, real[:, None], jnp.int32(filled), filled).widen(slots - filled)
        x = jnp.take_along_axis(x, last[:, None, None], axis=1)
        return self.logits(self.norm_after(x))[:, 0], cache

    def step(self, ids: Int[Array, " bk"], cache: Cache) -> tuple[Float[Array, "bk v"], Cache]:
        """Logits after one more token of each beam of each row, beams of a row being neighbours.

        They are NaN once the cache is full.
        """
        rows, beams, slots = cache.real.shape
        place = cache.real.sum(axis=2, dtype=jnp.int32)
        own = jnp.arange(slots) == cache.filled + jnp.arange(beams)[:, None]
        real = cache.real | own
        x = self._embed(ids.reshape(rows, beams), place)
        given = self._given(Reads(real[:, None], cache.filled), place, cache.context_mask)
        x, blocks = self._stack.go_on(x, given, cache)
        filled = cache.filled + beams
        # A token behind the last slot would take the place of another one, and nobody would see it.
        x = jnp.where(filled <= slots, self.norm_after(x), jnp.nan)
        cache = dataclasses.replace(cache, blocks=blocks, real=real, filled=filled)
        return self.logits(x).reshape(len(ids), -1), cache

    def logits(self, x: Float[Array, "b n d"]) -> Float[Array, "b n v"]:
        """Of what `hidden` gives, or of some of it, float32."""
        x = x.astype(self.dtype)
        if not self.tied:
            return self.head(x).astype(jnp.float32)
        rows, table = x.reshape(-1, self.width), jnp.asarray(self.embedding.embedding, self.dtype)
        precision = jax.lax.Precision.HIGHEST if self.dtype == "float32" else None
        by_table = (((1,), (1,)), ((), ()))
        out = jax.lax.dot_general(rows, table, by_table, precision, preferred_element_type=jnp.float32)
        return out.reshape(*x.shape[:-1], self.vocabulary)

    def _enter(
        self,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"] | None,
        prefix: Float[Array, "b p d"] | None,
        prefix_mask: Bool[Array, "b p"] | None,
        free_ids: Bool[Array, "b n"] | None,
    ) -> tuple[Float[Array, "b m d"], Bool[Array, "b m"], Bool[Array, "b m"]]:
        """Prefix and text as vectors, and which of them are real, and read by all."""
        if (total := ids.shape[1] + (0 if prefix is None else prefix.shape[1])) > self.length:
            raise UserError(f"{total} tokens, but the decoder has {self.length} positions: shorten the text")
        real = jnp.ones(ids.shape, bool) if mask is None else mask
        free = jnp.zeros(ids.shape, bool) if free_ids is None else free_ids
        if prefix is not None:
            there = jnp.ones(prefix.shape[:2], bool) if prefix_mask is None else prefix_mask
            real, free = jnp.concatenate([there, real], 1), jnp.concatenate([there, free], 1)
        places = _places(real)
        text = self._embed(ids, places[:, -ids.shape[1] :])
        if prefix is None:
            return text, real, free
        before = prefix.astype(self.dtype)
        if self.positions == "learned":
            before = before + jnp.take(gather(self.position_table), places[:, : prefix.shape[1]], axis=0)
        return jnp.concatenate([before, text], axis=1).astype(self.dtype), real, free

    def _embed(self, ids: Int[Array, "b n"], places: Int[Array, "b n"]) -> Float[Array, "b n d"]:
        x = jnp.take(gather(self.embedding.embedding), ids, axis=0)
        x = x * self.width**0.5 if self.embed_scale else x
        if self.positions == "learned":
            x = x + jnp.take(gather(self.position_table), places, axis=0)
        return x.astype(self.dtype)

    @property
    def _stack(self) -> Stack:
        return Stack(self.blocks, self.depth, self.scan, self.remat)

    def _given(
        self, reads: Reads, places: Int[Array, "b n"], context_mask: Bool[Array, "b c"] | None, train: bool = False
    ) -> Given:
        turned = self.positions == "rotary"
        angles = rotary_angles(places, self.options.head_dim, self.rotary_base) if turned else None
        return Given(reads, angles, context_mask, train)


def _places(real: Bool[Array, "b n"]) -> Int[Array, "b n"]:
    """Place of each token among the real ones of its row."""
    return jnp.maximum(jnp.cumsum(real, axis=1, dtype=jnp.int32) - 1, 0)
