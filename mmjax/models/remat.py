"""What a backward pass computes again, of a block of any stack."""

from collections.abc import Callable
from typing import Literal

import jax
from flax import linen as nn

Remat = Literal["none", "full", "dots"]


def recomputed(step: Callable, remat: Remat, scan: bool) -> Callable:
    """A function of a module and arrays that keeps less for its gradient.

    Args:
      remat: "none", all of it ("full"), or everything except the results of matmuls with parameters ("dots").
      scan: whether it is the body of a loop.
    """
    if remat == "none":
        return step
    policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if remat == "dots" else None
    # A loop's body is compiled by itself, so nothing outside could be merged with its recomputation.
    return nn.remat(step, policy=policy, prevent_cse=not scan)
