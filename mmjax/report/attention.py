"""Where an image encoder looks: the attention weights that it sows, as one map per picture."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from mmjax.batch import Batch, Stream
from mmjax.errors import UserError


def attention_maps(
    task: Any, params: Any, stream: str, pixels: np.ndarray, mesh: Mesh | None = None
) -> tuple[np.ndarray, str]:
    """Weights float32 `[b, g, g]` over the patches of each picture, summing to 1, and which weights they are.

    Args:
      pixels: uint8 `[b, h, w, 3]`, square; the same on all hosts.
      mesh: of the parameters, where they are split; every device then gets all weights.

    Raises:
      UserError: the task's model sows no attention weights over a square grid of patches.
    """
    if pixels.ndim != 4:
        raise UserError(f"stream {stream!r} holds lists of patches, which are no grid to lay a map over")
    if not hasattr(task, "model"):
        raise UserError(f"{type(task).__name__} has no `model` whose attention could be read")
    rows = np.arange(len(pixels), dtype=np.int32)
    valid = np.ones(len(pixels), bool)
    batch = Batch({stream: Stream(pixels, present=valid)}, valid, rows, rows)

    def sown(params: Any, batch: Batch) -> Any:
        _, state = task.model.apply({"params": params}, batch, train=False, mutable=["intermediates"])
        return state.get("intermediates", {})

    everywhere = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    weights, kind = last_weights(jax.jit(sown, out_shardings=everywhere)(params, batch))
    return np.asarray(jax.device_get(over_patches(weights))), kind


def last_weights(intermediates: Mapping[str, Any]) -> tuple[Float[Array, "b heads n m"], str]:
    """The weights nearest to the output: those of an attention pooling, or else of the last block."""
    flat = traverse_util.flatten_dict(dict(intermediates), sep="/")
    found = {path: value[-1] for path, value in flat.items() if path.split("/")[-1] == "weights"}
    if not found:
        raise UserError("the model sows no attention weights")
    pools = [path for path in found if "pool" in path]
    path = pools[-1] if pools else max(found, key=_natural)
    weights = found[path]
    weights = weights[-1] if weights.ndim == 5 else weights  # scanned layers: the last one
    if pools:
        return weights, "attention pooling, mean over heads"
    more = weights.shape[-1] > math.isqrt(weights.shape[-1]) ** 2
    token = "the class token's" if more else "mean over all queries of the"
    return weights, f"{token} attention in the last block, mean over heads"


def over_patches(weights: Float[Array, "b heads n m"]) -> Float[Array, "b g g"]:
    """Mean over heads of what the class token reads, or else of what all queries read, laid out on the grid."""
    read = weights[:, :, :1] if first_tokens(weights.shape[-1]) else weights
    return over_grid(jnp.mean(read, axis=(1, 2)))


def over_grid(weights: Float[Array, "*b m"]) -> Float[Array, "*b g g"]:
    """Weights over an encoder's tokens as shares of its grid of patches; those of tokens before them are left out."""
    side = math.isqrt(weights.shape[-1])
    flat = weights[..., first_tokens(weights.shape[-1]) :]
    flat = flat / jnp.maximum(flat.sum(axis=-1, keepdims=True), 1e-12)
    return flat.reshape(*flat.shape[:-1], side, side).astype(jnp.float32)


def first_tokens(tokens: int) -> int:
    """How many tokens stand before the patches, the class token and registers: a square grid has a square number.

    Raises:
      UserError: more than a grid can have before it; so many are a grid that is no square.
    """
    side = math.isqrt(tokens)
    extra = tokens - side**2
    if extra > max(1, side // 2):
        raise UserError(f"{tokens} tokens are no square grid of patches")
    return extra


def _natural(path: str) -> list[tuple[int, str]]:
    """`blocks_10` after `blocks_9`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]
