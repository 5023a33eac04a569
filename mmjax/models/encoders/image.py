"""The image encoder: a vision transformer (Dosovitskiy et al. 2021)."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from mmjax.batch import Stream
from mmjax.models.encoded import Encoded
from mmjax.models.encoders.base import Encoder
from mmjax.models.encoders.stems import ConvStem, PatchStem, normalise
from mmjax.models.pooling import AttentionPool, masked_mean
from mmjax.models.positions import sincos_2d


class ViT(Encoder):
    """Pixels uint8 `[b, h, w, 3]`, or floats in [0, 1], to tokens and one vector.

    Attributes, beside those of `Encoder`:
      stem: "patch" cuts squares of `patch` pixels; "conv" runs stride-2 convolutions of `stem_widths` channels.
      patch_bias: whether the patch embedding has a bias (CLIP's has none).
      pooling: "class": a class token, first of the tokens; "mean" over tokens; "map": attention pooling as in SigLIP.
      patch_dropout: share of patches that training leaves out, at random per image (FLIP, Li et al. 2023).
      mean, std: per colour, of pixels in [0, 1]; they belong to the weights.
    """

    stem: Literal["patch", "conv"] = "patch"
    patch: int = 16
    patch_bias: bool = True
    stem_widths: tuple[int, ...] = (32, 64, 128)
    pooling: Literal["class", "mean", "map"] = "mean"
    patch_dropout: float = 0.0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def setup(self) -> None:
        super().setup()
        width = self.dimensions.width
        convolutions = ConvStem(self.stem_widths, width, self.epsilon, self.dtype)
        squares = PatchStem(self.patch, width, self.patch_bias, self.dtype)
        self.patches = convolutions if self.stem == "conv" else squares
        if self.pooling == "class":
            self.class_token = self.param("class_token", nn.initializers.normal(width**-0.5), (width,))
        if self.pooling == "map":
            self.attention_pool = AttentionPool(self.options)

    @nn.compact
    def embed(self, stream: Stream, train: bool = False) -> Encoded:
        """Normalised pixels to patches, plus positions, less dropped patches, after the class token if there is one."""
        grid = self.patches(normalise(stream.data, stream.present, self.mean, self.std))
        batch, rows, columns, width = grid.shape
        table, extra = self._position_table(rows, columns), int(self.pooling == "class")
        tokens = grid.reshape(batch, rows * columns, width) + table[extra:]
        position = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), axis=-1) + 1
        position = jnp.broadcast_to(position.reshape(-1, 2), (batch, rows * columns, 2))
        if train and self.patch_dropout:
            tokens, position = drop_patches(tokens, position, self.patch_dropout, self.make_rng("dropout"))
        if extra:
            first = jnp.broadcast_to(self.class_token + table[0], (batch, 1, width)).astype(tokens.dtype)
            tokens = jnp.concatenate([first, tokens], axis=1)
            position = jnp.pad(position, ((0, 0), (1, 0), (0, 0)))
        mask = jnp.broadcast_to(stream.present[:, None], tokens.shape[:2])
        pool_at = jnp.zeros(batch, jnp.int32) if extra else None
        return Encoded(self.enter(tokens, train), mask, position, pool_at)

    def _position_table(self, rows: int, columns: int) -> Float[Array, "n d"]:
        """What is added to each token, class token first; zeros for positions that act elsewhere."""
        extra, width = int(self.pooling == "class"), self.dimensions.width
        if self.positions == "learned":
            shape = (extra + rows * columns, width)
            return jnp.asarray(self.param("position_table", nn.initializers.normal(width**-0.5), shape))
        if self.positions == "sincos":
            return jnp.pad(sincos_2d(rows, columns, width), ((extra, 0), (0, 0)))
        return jnp.zeros((extra + rows * columns, width))

    def attention_mask(self, encoded: Encoded) -> None:
        """An image is there whole or not at all, so its own tokens need no mask; what reads them from outside does."""
        return None

    def pool(self, encoded: Encoded) -> Encoded:
        tokens = self.leave(encoded.tokens)
        if self.pooling == "map":
            pooled = self.attention_pool(tokens)
        else:
            pooled = tokens[:, 0] if self.pooling == "class" else masked_mean(tokens, None)
        return dataclasses.replace(encoded, tokens=tokens, pooled=pooled.astype(jnp.float32))


def drop_patches(
    tokens: Float[Array, "b n d"], position: Int[Array, "b n 2"], rate: float, rng: jax.Array
) -> tuple[Float[Array, "b kept d"], Int[Array, "b kept 2"]]:
    """Keeps the same number of patches of every image, another random subset of each; at least one."""
    kept = max(1, round(tokens.shape[1] * (1.0 - rate)))
    order = jnp.argsort(jax.random.uniform(rng, tokens.shape[:2]), axis=1)[:, :kept, None]
    return jnp.take_along_axis(tokens, order, axis=1), jnp.take_along_axis(position, order, axis=1)
