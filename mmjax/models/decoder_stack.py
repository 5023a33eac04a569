"""How a decoder's blocks run: one by one or in a loop, with keys and values from before or from these tokens alone."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float

from mmjax.models.cache import Cache, KeyValues, Known, Reads
from mmjax.models.decoder_block import DecoderBlock
from mmjax.models.layers import pin
from mmjax.models.remat import Remat, recomputed


@struct.dataclass
class Given:
    """What every block gets beside its tokens; see `DecoderBlock`."""

    reads: Reads
    angles: Float[Array, "b n half"] | None
    context_mask: Bool[Array, "b c"] | None
    train: bool = struct.field(pytree_node=False, default=False)


@dataclasses.dataclass(frozen=True)
class Stack:
    """Blocks of a decoder.

    Attributes:
      blocks: a list of them, or with `scan` one, whose parameters have a leading axis of length `depth`.
      remat: see `recomputed`; of `forward` alone.
    """

    blocks: Any
    depth: int
    scan: bool
    remat: Remat

    def forward(self, x: Float[Array, "b n d"], given: Given, context: Float[Array, "b c e"] | None) -> jax.Array:
        """Tokens behind all blocks, of which nothing else is kept."""

        def step(block: DecoderBlock, x: jax.Array) -> tuple[jax.Array, None]:
            # Keys and values of the context are computed here, so that they need not outlive the block.
            return _run(block, x, given, None, None if context is None else block.read_context(context))[0], None

        step = recomputed(step, self.remat, self.scan)
        if self.scan:
            return self._loop(step, x)[0]
        for block in self.blocks:
            x, _ = step(block, x)
        return x

    def read(
        self, x: Float[Array, "b n d"], given: Given, context: Float[Array, "b c e"] | None
    ) -> tuple[Float[Array, "b n d"], Known, Known | None]:
        """Tokens behind all blocks, keys and values of each, and those of the context."""

        def step(block: DecoderBlock, x: jax.Array) -> tuple[jax.Array, tuple[KeyValues, KeyValues | None]]:
            across = None if context is None else jax.tree.map(pin, block.read_context(context))
            x, own = _run(block, x, given, None, across)
            return x, (own, across)

        known = []
        if self.scan:
            x, every = self._loop(step, x)
            known.append(every)
        for block in () if self.scan else self.blocks:
            x, new = step(block, x)
            known.append(new)
        own, across = zip(*known, strict=True)
        return x, own, None if context is None else across

    def go_on(self, x: Float[Array, "b n d"], given: Given, cache: Cache) -> tuple[Float[Array, "b n d"], Known]:
        """Tokens behind all blocks, which read what is cached, and keys and values of each with theirs."""
        if self.scan:
            return self._go_on_in_loop(x, given, cache)
        known = []
        across = cache.context or (None,) * self.depth
        for block, own, other in zip(self.blocks, cache.blocks, across, strict=True):
            x, new = _run(block, x, given, own, other)
            known.append(new)
        return x, tuple(known)

    def _go_on_in_loop(self, x: jax.Array, given: Given, cache: Cache) -> tuple[jax.Array, Known]:
        def step(block: DecoderBlock, carry: Any, index: jax.Array) -> tuple[Any, None]:
            # What is known travels with the tokens, so that a block changes its part of it where it lies.
            x, known = carry
            (own,), across = jax.tree.map(lambda a: a[index], (known, cache.context))
            x, new = _run(block, x, given, own, across and across[0])
            return (x, jax.tree.map(lambda a, b: a.at[index].set(b), known, (new,))), None

        return self._loop(step, (x, cache.blocks), jnp.arange(self.depth))[0]

    def _loop(self, step: Callable, *inputs: Any) -> Any:
        axes: dict[Any, int] = {"params": 0, "intermediates": 0}
        rngs: dict[Any, bool] = {"params": True, "dropout": True}
        return nn.scan(step, variable_axes=axes, split_rngs=rngs, length=self.depth)(self.blocks, *inputs)


def _run(
    block: DecoderBlock, x: jax.Array, given: Given, own: KeyValues | None, across: KeyValues | None
) -> tuple[jax.Array, KeyValues]:
    x, known = block(pin(x), given.reads, given.angles, own, across, given.context_mask, given.train)
    return x, jax.tree.map(pin, known)
