"""The contract between a task and the loop."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
from flax import struct
from jaxtyping import Array, Float

from mmjax.batch import Batch

Params = Mapping[str, Any]
Features = Any


@struct.dataclass
class Loss:
    """What a task hands the loop, which minimises sum(total) / sum(weight) over the global batch.

    Attributes:
      total: float32 [], the weighted sum of the loss.
      weight: float32 [], what to divide by: valid rows, or valid tokens.
      metrics: name → scalar, logged as they are.
    """

    total: Float[Array, ""]
    weight: Float[Array, ""]
    metrics: Mapping[str, Float[Array, ""]]


@runtime_checkable
class Task(Protocol):
    """A frozen, hashable dataclass. `rng=None` means evaluation: no dropout, no patch dropout.

    Attributes:
      coupled: whether `loss` mixes rows. Micro-batches then meet in one loss, else their losses add up.
    """

    coupled: bool

    def init(self, rng: jax.Array, batch: Batch) -> Params:
        """Parameters for batches of this shape; run under `jax.eval_shape` first, so nothing may depend on values."""
        ...

    def encode(self, params: Params, batch: Batch, rng: jax.Array | None) -> Features:
        """Features, row by row: row i depends on row i of the batch alone.

        An array without rows, `[]`, is a parameter or of parameters alone, such as a logit scale.
        """
        ...

    def loss(self, params: Params, features: Features, batch: Batch, rng: jax.Array | None) -> Loss:
        """The loss of the rows whose features these are."""
        ...
