"""A causal language model: over its own tokens, after a prefix of vectors, and across to a context.

By its options it is GPT-2 (learned positions, layer norms, cross-attention to an image), Llama or Gemma (rotary
positions, RMS norms, gated MLPs, grouped heads).
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from mmjax.models.activations import Activation
from mmjax.models.cache import Cache, KeyValues, Reads
from mmjax.models.decoder_block import DecoderBlock, DecoderOptions
from mmjax.models.layers import gather, make_dense, pin
from mmjax.models.norms import Norm, NormKind
from mmjax.models.positions import rotary_angles


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
    dtype: str = "float32"

    def setup(self) -> None:
        self.embedding = nn.Embed(self.vocabulary, self.width)
        if self.positions == "learned":
            table = nn.initializers.normal(self.width**-0.5)
            self.position_table = self.param("position_table", table, (self.length, self.width))
        self.blocks = [DecoderBlock(self.options) for _ in range(self.depth)]
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
        train: bool = False,
    ) -> Float[Array, "b n v"]:
        """Logits float32 after each of the ids, by teacher forcing.

        Args:
          mask: which ids are real, the others being read by nobody; None for all.
          prefix: vectors before the text, which all tokens read, those of the prefix too.
          context: what cross-attention reads.
        """
        x, real, free = self._enter(ids, mask, prefix, prefix_mask)
        x, _ = self._run(
            x, Reads(real, free, jnp.int32(0)), _places(real), None, self._context(context), context_mask, train
        )
        return self.logits(x[:, -ids.shape[1] :])

    def prefill(
        self,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"] | None,
        slots: int,
        prefix: Float[Array, "b p d"] | None = None,
        prefix_mask: Bool[Array, "b p"] | None = None,
        context: Float[Array, "b c e"] | None = None,
        context_mask: Bool[Array, "b c"] | None = None,
    ) -> tuple[Float[Array, "b v"], Cache]:
        """Logits after the last real id of each row, and what the next `step` goes on from.

        Args:
          slots: tokens that the cache holds, those of prefix and prompt included.

        Raises:
          ValueError: fewer slots than tokens, or more than there are positions.
        """
        x, real, free = self._enter(ids, mask, prefix, prefix_mask)
        filled, known = x.shape[1], self._context(context)
        if not filled <= slots <= self.length:
            raise ValueError(f"a cache of {slots} slots for {filled} tokens; the decoder has {self.length} positions")
        x, blocks = self._run(x, Reads(real, free, jnp.int32(0)), _places(real), None, known, context_mask, False)
        last = jnp.max(jnp.where(real, jnp.arange(filled), 0), axis=1)
        more = slots - filled
        blocks = jax.tree.map(lambda a: jnp.pad(a, ((0, 0), (0, 0), (0, more), (0, 0), (0, 0))), blocks)
        real, free = (jnp.pad(a, ((0, 0), (0, more))) for a in (real, free))
        cache = Cache(blocks, known, context_mask, real, free, jnp.int32(filled))
        return self.logits(jnp.take_along_axis(x, last[:, None, None], axis=1))[:, 0], cache

    def step(self, ids: Int[Array, " b"], cache: Cache) -> tuple[Float[Array, "b v"], Cache]:
        """Logits after one more token of each row."""
        place = cache.real.sum(axis=1, dtype=jnp.int32)[:, None]
        real = cache.real.at[:, cache.filled].set(True)
        x = self._embed(ids[:, None], place)
        reads = Reads(real, cache.free, cache.filled)
        x, blocks = self._run(x, reads, place, cache.blocks, cache.context, cache.context_mask, False)
        return self.logits(x)[:, 0], dataclasses.replace(cache, blocks=blocks, real=real, filled=cache.filled + 1)

    def logits(self, x: Float[Array, "b n d"]) -> Float[Array, "b n v"]:
        """Of tokens that left the last block, float32."""
        x = self.norm_after(x).astype(self.dtype)
        return (self.embedding.attend(x) if self.tied else self.head(x)).astype(jnp.float32)

    def _enter(
        self,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"] | None,
        prefix: Float[Array, "b p d"] | None,
        prefix_mask: Bool[Array, "b p"] | None,
    ) -> tuple[Float[Array, "b m d"], Bool[Array, "b m"], Bool[Array, "b m"]]:
        """Prefix and text as vectors, and which of them are real, and read by all."""
        if (total := ids.shape[1] + (0 if prefix is None else prefix.shape[1])) > self.length:
            raise ValueError(f"{total} tokens, but the decoder has {self.length} positions")
        real = jnp.ones(ids.shape, bool) if mask is None else mask
        free = jnp.zeros(ids.shape, bool)
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

    def _context(self, context: Float[Array, "b c e"] | None) -> KeyValues | None:
        if context is None:
            return None
        return _stack([block.read_context(context) for block in self.blocks])

    def _run(
        self,
        x: Float[Array, "b n d"],
        reads: Reads,
        places: Int[Array, "b n"],
        cached: KeyValues | None,
        context: KeyValues | None,
        context_mask: Bool[Array, "b c"] | None,
        train: bool,
    ) -> tuple[Float[Array, "b n d"], KeyValues]:
        """All blocks. Returns tokens, and keys and values of all blocks."""
        o = self.options
        angles = rotary_angles(places, o.head_dim, self.rotary_base) if self.positions == "rotary" else None
        known = []
        for index, block in enumerate(self.blocks):
            own, across = (_of_block(tree, index) for tree in (cached, context))
            x, kv = block(pin(x), reads, angles, own, across, context_mask, train)
            known.append(kv)
        return x, _stack(known)


def _of_block(tree: KeyValues | None, index: int) -> KeyValues | None:
    return jax.tree.map(lambda a: a[index], tree)


def _stack(blocks: list[KeyValues]) -> KeyValues:
    return jax.tree.map(lambda *a: jnp.stack(a), *blocks)


def _places(real: Bool[Array, "b n"]) -> Int[Array, "b n"]:
    """Place of each token among the real ones of its row."""
    return jnp.maximum(jnp.cumsum(real, axis=1, dtype=jnp.int32) - 1, 0)
