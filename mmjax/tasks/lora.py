"""LoRA: a task whose chosen kernels learn by a product of two thin matrices (Hu et al. 2021)."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Float

from mmjax.batch import Batch
from mmjax.errors import UserError
from mmjax.models.stacking import is_stacked
from mmjax.tasks.base import Features, Loss, Params

A, B = "_lora_a", "_lora_b"


@dataclasses.dataclass(frozen=True)
class Lora:
    """Another task with kernel + alpha / rank * a @ b in place of each chosen kernel.

    Its parameters are the other task's, and beside each chosen `kernel [*depth, in, out]` the factors
    `kernel_lora_a [*depth, in, rank]` and `kernel_lora_b [*depth, rank, out]`. b begins at zero, so that the first step
    computes what the other task does.

    Attributes:
      task: the task whose kernels they are.
      kernels: regexes of them; each chosen parameter must be a matrix, or a scanned stack of matrices.
      rank: width of the factors.
      alpha: the product counts alpha / rank times.
      also: regexes of further parameters that train as they are, such as projections into the shared space.
    """

    task: Any
    kernels: tuple[str, ...]
    rank: int = 8
    alpha: float = 16.0
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.kernels:
            raise ValueError(f"rank must be at least 1 and kernels name at least one, got {self.rank}, {self.kernels}")
        for pattern in (*self.kernels, *self.also, self.frozen):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from None

    @property
    def coupled(self) -> bool:
        return self.task.coupled

    @property
    def frozen(self) -> str:
        """Regex of the parameters that do not train: all but the factors and what `also` chooses."""
        return f"^(?!.*(?:{A}|{B})$)" + "".join(f"(?!.*{_group(pattern)})" for pattern in self.also)

    def init(self, rng: jax.Array, batch: Batch) -> Params:
        """The other task's parameters, as it draws them, and the factors.

        Raises:
          UserError: a regex chooses nothing, or what is no matrix.
        """
        flat = traverse_util.flatten_dict(self.task.init(rng, batch), sep="/")
        for pattern in (*self.kernels, *self.also):
            if not any(re.search(pattern, name) for name in flat):
                first = ", ".join(list(flat)[:4])
                raise UserError(f"config.lora: {pattern!r} matches no parameter; the first are {first}")
        chosen = [name for name in flat if any(re.search(pattern, name) for pattern in self.kernels)]
        keys = jax.random.split(jax.random.fold_in(rng, 0), len(chosen))
        factors = [self._factors(key, name, flat[name].shape) for key, name in zip(keys, chosen, strict=True)]
        return traverse_util.unflatten_dict(flat | {n: x for pair in factors for n, x in pair.items()}, sep="/")

    def merge(self, params: Params) -> Params:
        """The other task's parameters: each product added to its kernel, in full float32."""
        flat = traverse_util.flatten_dict(params, sep="/")
        merged = {name: value for name, value in flat.items() if not name.endswith((A, B))}
        for name in merged:
            if name + A in flat:
                merged[name] = merged[name] + self._product(flat[name + A], flat[name + B])
        return traverse_util.unflatten_dict(merged, sep="/")

    def encode(self, params: Params, batch: Batch, rng: jax.Array | None) -> Features:
        return self.task.encode(self.merge(params), batch, rng)

    def loss(self, params: Params, features: Features, batch: Batch, rng: jax.Array | None) -> Loss:
        return self.task.loss(self.merge(params), features, batch, rng)

    def _factors(self, key: jax.Array, name: str, shape: tuple[int, ...]) -> Mapping[str, jax.Array]:
        if len(shape) != 2 + is_stacked(name):
            raise UserError(
                f"config.lora.kernels: {name} {shape} is no matrix; choose kernels, such as 'query/kernel$'"
            )
        *depth, rows, columns = shape
        a = jax.random.normal(key, (*depth, rows, self.rank)) / math.sqrt(rows)
        return {name + A: a, name + B: jnp.zeros((*depth, self.rank, columns))}

    def _product(self, a: Float[Array, "*depth n r"], b: Float[Array, "*depth r m"]) -> Float[Array, "*depth n m"]:
        return self.alpha / self.rank * jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _group(pattern: str) -> str:
    """A regex as a part of another, where flags for all of it, `(?i)...`, may stand nowhere but in its own group."""
    flags = re.match(r"\(\?([aiLmsux]+)\)", pattern)
    return f"(?{flags[1]}:{pattern[flags.end() :]})" if flags else f"(?:{pattern})"
