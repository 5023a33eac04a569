"""Transformer blocks, and a stack of them."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from mmjax.models.activations import Activation
from mmjax.models.attention import Attention, Implementation
from mmjax.models.layers import drop_path, pin
from mmjax.models.mlp import Mlp
from mmjax.models.norms import Norm, NormKind
from mmjax.models.remat import Remat, recomputed


@dataclasses.dataclass(frozen=True)
class BlockOptions:
    """What one block is; every block of a stack is alike.

    Attributes:
      norm_first: a norm before each branch; False: after each sum, as in BERT.
      layer_scale: initial value of a learned factor per channel on each branch (Touvron et al. 2021); None for none.
      dropout: rate on the output of each branch.
      causal, qkv_bias, bias, qk_norm, attention: see `Attention`; `bias` also of the MLP.
      norm, epsilon: see `norms.Norm`.
    """

    heads: int
    mlp_dim: int
    activation: Activation = "gelu"
    norm_first: bool = True
    norm: NormKind = "layer"
    epsilon: float = 1e-6
    causal: bool = False
    qkv_bias: bool = True
    bias: bool = True
    qk_norm: bool = False
    layer_scale: float | None = None
    dropout: float = 0.0
    attention: Implementation = "auto"
    dtype: str = "float32"


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) (Xiong et al. 2020).

    With `norm_first` False: norm(x + attention(x)), then norm(x + mlp(x)) (Vaswani et al. 2017), by the same names.
    """

    options: BlockOptions

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | None = None,
        angles: Float[Array, "b n half"] | None = None,
        drop_rate: float | Float[Array, ""] | None = None,
        train: bool = False,
        read: int | None = None,
    ) -> Float[Array, "b m d"]:
        """Tokens to tokens.

        Args:
          drop_rate: the probability of skipping each branch of a row in training; None never skips.
          read: how many tokens the result holds, the first of them; None for all. They still read all the others.
        """
        o = self.options
        attention = Attention(
            o.heads, o.causal, o.qkv_bias, o.bias, o.qk_norm, o.norm, o.epsilon, o.attention, o.dtype, name="attention"
        )
        mlp = Mlp(o.mlp_dim, o.activation, o.bias, o.dtype, name="mlp")
        branches: dict[str, Callable] = {"attention": lambda y: attention(y[:, :read], y, mask, angles), "mlp": mlp}
        for name, branch in branches.items():
            norm = Norm(o.norm, o.epsilon, name=f"norm_{name}")
            y = self._branch(branch(norm(x) if o.norm_first else x), f"scale_{name}", drop_rate, train)
            x = x[:, :read] + y
            x = x if o.norm_first else norm(x).astype(y.dtype)
        return x

    def _branch(self, y: jax.Array, scale: str, drop_rate: float | jax.Array | None, train: bool) -> jax.Array:
        """Layer scale, dropout and drop path of one branch, in the compute dtype."""
        if self.options.layer_scale is not None:
            factor = self.param(scale, nn.initializers.constant(self.options.layer_scale), y.shape[-1:])
            y = (y * factor).astype(y.dtype)
        y = nn.Dropout(self.options.dropout)(y, deterministic=not train)
        return drop_path(y, drop_rate, self.make_rng("dropout")) if train and drop_rate is not None else y


class Transformer(nn.Module):
    """A stack of blocks, whole or in segments.

    Parameters are `blocks_0`, `blocks_1`, ..., or with `scan` one `blocks` with a leading axis of length `depth`.

    Attributes:
      drop_path: rate of stochastic depth at the last block; it grows linearly from 0 at the first.
      scan: one compiled block in a loop: compile time no longer grows with depth. Same values given the same
        parameters; random masks of dropout fall differently.
      remat: what the backward pass computes again: "none", all of each block ("full"), or everything except the
        results of matmuls with parameters ("dots").
    """

    options: BlockOptions
    depth: int
    drop_path: float = 0.0
    scan: bool = False
    remat: Remat = "none"

    def setup(self) -> None:
        blocks: Any = Block(self.options) if self.scan else [Block(self.options) for _ in range(self.depth)]
        self.blocks = blocks

    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | None = None,
        angles: Float[Array, "b n half"] | None = None,
        first: int = 0,
        last: int | None = None,
        train: bool = False,
        read: int | None = None,
    ) -> Float[Array, "b m d"]:
        """Runs blocks `first` up to and without `last` (default: to the end).

        Args:
          read: how many of the first tokens are wanted, see `Block`: the last block computes no others. With `scan`,
            whose blocks are all alike, it computes them and they are dropped.
        """
        last = self.depth if last is None else last
        if not 0 <= first <= last <= self.depth:
            raise ValueError(f"blocks {first} to {last} of a stack of {self.depth}")
        rates = jnp.asarray(np.linspace(0.0, self.drop_path, self.depth), jnp.float32)

        def step(block: Block, x: jax.Array, rate: jax.Array, read: int | None = None) -> tuple[jax.Array, None]:
            return pin(block(x, mask, angles, rate if self.drop_path else None, train, read)), None

        x = pin(x)
        if self.scan:
            return self._scan(recomputed(step, self.remat, self.scan), x, rates, first, last)[:, :read]
        for index in range(first, last):
            run = partial(step, read=read if index == last - 1 else None)
            x, _ = recomputed(run, self.remat, self.scan)(self.blocks[index], x, rates[index])
        return x

    def _scan(self, step: Callable, x: jax.Array, rates: jax.Array, first: int, last: int) -> jax.Array:
        # At initialisation the whole stack runs, whichever segment was asked for, so that all parameters are made.
        if self.is_initializing():
            first, last = 0, self.depth
        if first == last:
            return x

        def run(block: Block, x: jax.Array, rates: jax.Array) -> jax.Array:
            axes: dict[Any, int] = {"params": 0, "intermediates": 0}
            rngs: dict[Any, bool] = {"params": True, "dropout": True}
            return nn.scan(step, variable_axes=axes, split_rngs=rngs, length=last - first)(block, x, rates)[0]

        if last - first < self.depth:
            run = nn.map_variables(run, "params", lambda tree: jax.tree.map(lambda p: p[first:last], tree))
        return run(self.blocks, x, rates[first:last])
