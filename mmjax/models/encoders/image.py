"""The image encoder: a vision transformer (Dosovitskiy et al. 2021)."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from mmjax.batch import Stream
from mmjax.models.encoded import Encoded
from mmjax.models.encoders.base import Encoder
from mmjax.models.encoders.naflex import ListStem, read_patches, resized_rows
from mmjax.models.encoders.stems import ConvStem, PatchStem, normalise
from mmjax.models.pooling import AttentionPool, masked_mean
from mmjax.models.positions import sincos_2d


class _Patches(NamedTuple):
    """Patches with their positions added, and the position of the class token if there is one, `[0 or 1, d]`."""

    tokens: Float[Array, "b n d"]
    position: Int[Array, "b n 2"]
    mask: Bool[Array, "b n"]
    first: Float[Array, "first d"]


class ViT(Encoder):
    """Pixels uint8 `[b, h, w, 3]`, or floats in [0, 1], to tokens and one vector.

    The stem "naflex" reads patches `[b, n, patch * patch * 3]` instead, each the pixels of a square in reading order,
    colours last, with `mask` `[b, n]` (None: all are real) and `position` `[b, n, 2]`, row and column from 0.

    Attributes, beside those of `Encoder`:
      stem: "patch" cuts squares of `patch` pixels; "conv" runs stride-2 convolutions of `stem_widths` channels;
        "naflex" takes squares as the data has cut them, every image of another size.
      patch_bias: whether the patch embedding has a bias (CLIP's has none).
      grid: rows and columns of the position table that "naflex" resizes to each image.
      registers: learned tokens without positions behind the class token (Darcet et al. 2024); need pooling "class".
      pooling: "class": a class token, first of the tokens; "mean" over tokens; "map": attention pooling as in SigLIP.
      patch_dropout: share of patches that training leaves out, at random per image (FLIP, Li et al. 2023).
      mean, std: per colour, of pixels in [0, 1]; they belong to the weights.
    """

    stem: Literal["patch", "conv", "naflex"] = "patch"
    patch: int = 16
    patch_bias: bool = True
    stem_widths: tuple[int, ...] = (32, 64, 128)
    grid: int = 16
    registers: int = 0
    pooling: Literal["class", "mean", "map"] = "mean"
    patch_dropout: float = 0.0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.registers and self.pooling != "class":
            raise ValueError(f"registers stand behind a class token: pooling must be 'class', not {self.pooling!r}")
        if self.stem == "naflex" and self.patch_dropout:
            raise ValueError("stem 'naflex' has images of different lengths, of which patch_dropout has no fixed share")

    def setup(self) -> None:
        super().setup()
        width = self.dimensions.width
        stems = {
            "patch": PatchStem(self.patch, width, self.patch_bias, self.dtype),
            "conv": ConvStem(self.stem_widths, width, self.epsilon, self.dtype),
            "naflex": ListStem(width, self.patch_bias, self.dtype),
        }
        self.patches = stems[self.stem]
        if self.pooling == "class":
            self.class_token = self.param("class_token", nn.initializers.normal(width**-0.5), (width,))
        if self.registers:
            shape = (self.registers, width)
            self.register_tokens = self.param("register_tokens", nn.initializers.normal(width**-0.5), shape)
        if self.pooling == "map":
            self.attention_pool = AttentionPool(self.options)

    @nn.compact
    def embed(self, stream: Stream, train: bool = False) -> Encoded:
        """Normalised pixels to patches, plus positions, less dropped patches, after the class token and registers."""
        embed = self._embed_list if self.stem == "naflex" else self._embed_grid
        tokens, position, mask, first = embed(stream)
        if train and self.patch_dropout:
            tokens, position = drop_patches(tokens, position, self.patch_dropout, self.make_rng("dropout"))
        lead = self._lead_tokens(first)
        extra, batch = len(lead), len(tokens)
        lead = jnp.broadcast_to(lead, (batch, *lead.shape)).astype(tokens.dtype)
        tokens = jnp.concatenate([lead, tokens], axis=1)
        position = jnp.pad(position, ((0, 0), (extra, 0), (0, 0)))
        # Of an image on a grid all patches are real, so it does not matter which of them were dropped.
        mask = jnp.concatenate([jnp.broadcast_to(stream.present[:, None], (batch, extra)), mask], axis=1)
        pool_at = jnp.zeros(batch, jnp.int32) if extra else None
        return Encoded(self.enter(tokens, train), mask[:, : tokens.shape[1]], position, pool_at)

    def _embed_grid(self, stream: Stream) -> _Patches:
        grid = self.patches(normalise(stream.data, stream.present, self.mean, self.std))
        batch, rows, columns, width = grid.shape
        first, table = self._position_table(rows, columns)
        tokens = grid.reshape(batch, rows * columns, width) + table
        position = jnp.stack(jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij"), axis=-1) + 1
        position = jnp.broadcast_to(position.reshape(-1, 2), (batch, rows * columns, 2))
        return _Patches(tokens, position, jnp.broadcast_to(stream.present[:, None], tokens.shape[:2]), first)

    def _embed_list(self, stream: Stream) -> _Patches:
        pixels, position, mask = read_patches(stream, self.patch, self.mean, self.std)
        first, table = self._position_table(self.grid, self.grid)
        tokens = self.patches(pixels) + resized_rows(table.reshape(self.grid, self.grid, -1), position)
        return _Patches(tokens, position + 1, mask, first)

    def _position_table(self, rows: int, columns: int) -> tuple[Float[Array, "first d"], Float[Array, "n d"]]:
        """What is added to the class token, if there is one, and to each patch; zeros if positions act elsewhere."""
        first, width = int(self.pooling == "class"), self.dimensions.width
        table = jnp.zeros((first + rows * columns, width))
        if self.positions == "learned":
            table = jnp.asarray(self.param("position_table", nn.initializers.normal(width**-0.5), table.shape))
        elif self.positions == "sincos":
            table = jnp.pad(sincos_2d(rows, columns, width), ((first, 0), (0, 0)))
        return table[:first], table[first:]

    def _lead_tokens(self, first: Float[Array, "first d"]) -> Float[Array, "extra d"]:
        """The class token at its position, then the registers at none."""
        token = self.class_token + first if self.pooling == "class" else first
        return jnp.concatenate([token, jnp.asarray(self.register_tokens)]) if self.registers else token

    def attention_mask(self, encoded: Encoded) -> jax.Array | None:
        """On a grid an image is there whole or not at all, so its own tokens need no mask, only those of a list do.

        What reads them from outside needs one in any case.
        """
        return encoded.mask if self.stem == "naflex" else None

    @property
    def pooled_tokens(self) -> int | None:
        return 1 if self.pooling == "class" else None

    def pool(self, encoded: Encoded) -> Encoded:
        tokens, mask = self.leave(encoded.tokens), self.attention_mask(encoded)
        if self.pooling == "map":
            pooled = self.attention_pool(tokens, mask)
        else:
            pooled = tokens[:, 0] if self.pooling == "class" else masked_mean(tokens, mask)
        return dataclasses.replace(encoded, tokens=tokens, pooled=self.finish(pooled))


def drop_patches(
    tokens: Float[Array, "b n d"], position: Int[Array, "b n 2"], rate: float, rng: jax.Array
) -> tuple[Float[Array, "b kept d"], Int[Array, "b kept 2"]]:
    """Keeps the same number of patches of every image, another random subset of each; at least one."""
    kept = max(1, round(tokens.shape[1] * (1.0 - rate)))
    order = jnp.argsort(jax.random.uniform(rng, tokens.shape[:2]), axis=1)[:, :kept, None]
    return jnp.take_along_axis(tokens, order, axis=1), jnp.take_along_axis(position, order, axis=1)
