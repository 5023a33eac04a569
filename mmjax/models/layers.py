"""The small parts that every model is built from: linear maps, drop path, and the pin of activations."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Float

BATCH_AXES = ("data", "fsdp")


def make_dense(features: int, dtype: str, bias: bool = True, name: str | None = None) -> nn.Dense:
    """A linear map with float32 parameters whose matmul runs in `dtype`.

    float32 means float32: TPUs and recent GPUs would round the factors of a default-precision matmul.
    """
    return nn.Dense(
        features,
        use_bias=bias,
        dtype=jnp.dtype(dtype),
        precision=jax.lax.Precision.HIGHEST if dtype == "float32" else None,
        kernel_init=nn.initializers.xavier_uniform(),
        dot_general=_rows_dot_general if platform() == "cpu" else None,
        name=name,
    )


def _rows_dot_general(
    x: Float[Array, "*b d"], kernel: Float[Array, "d e"], dimensions: Any, **options: Any
) -> Float[Array, "*b e"]:
    """`lax.dot_general` as `nn.Dense` asks for it, as one matrix product of rows.

    XLA on CPUs writes a product of tokens `[b, n, d]` so, but the gradient of the kernel with transposed copies of both
    factors, and whatever is fused into a copy is computed once for each.
    """
    del dimensions  # of the last axis with the first
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return jax.lax.dot_general(rows, kernel, (((1,), (0,)), ((), ())), **options).reshape(
        *x.shape[:-1], kernel.shape[-1]
    )


def drop_path(x: Float[Array, " b *rest"], rate: float | Float[Array, ""], rng: jax.Array) -> Float[Array, " b *rest"]:
    """Stochastic depth (Huang et al. 2016): a row's residual branch is zero with probability `rate`, else scaled up."""
    keep = jax.random.bernoulli(rng, 1.0 - rate, (len(x),) + (1,) * (x.ndim - 1))
    return jnp.where(keep, x / jnp.maximum(1.0 - rate, 1e-6), 0).astype(x.dtype)


def pin(x: Float[Array, " b *rest"]) -> Float[Array, " b *rest"]:
    """Splits rows over the mesh's batch axes and replicates the rest, so that no layout drifts between blocks.

    Identity where no mesh is set (`jax.set_mesh`), inside `shard_map`, and for rows that do not divide, as one row.
    """
    axes = _batch_axes()
    parts = math.prod(axes.values())
    if parts == 1 or len(x) % parts:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(tuple(axes)))


def gather(table: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """A whole copy of a table on every device, for rows to be looked up in; its gradient is summed back into parts.

    Without it the lookup of a split table inherits the split, which XLA undoes only by replicating its result.
    """
    parts = math.prod(_batch_axes().values())
    return table if parts == 1 else jax.lax.with_sharding_constraint(table, PartitionSpec())


def platform() -> str:
    """What is compiled for: the devices of the mesh in force, which need not be here, or else what JAX finds."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()


def _batch_axes() -> dict[str, int]:
    """Sizes of the batch axes of the mesh in force, those of them that XLA lays out by itself."""
    mesh = jax.sharding.get_abstract_mesh()
    automatic = [name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Auto]
    return {name: mesh.shape[name] for name in BATCH_AXES if name in automatic}
