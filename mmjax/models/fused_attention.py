"""Softmax attention as one kernel for TPUs: a row's logits stay in the core's fast memory.

XLA writes the logits of every head to main memory, in float32 and padded to tiles of 128: at the 257 tokens of a ViT
that is more traffic than all else in a block. Here a program takes one row and some of its heads, whole: no running
maximum (Dao et al. 2022) is needed as long as queries and keys fit, which `fits` tells. The backward pass computes the
weights anew. Queries, keys and values keep the layout of the projections around them, heads side by side.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Bool, Float

LOW = -0.7 * float(jnp.finfo(jnp.float32).max)  # finite: a query that reads no key gets no NaN
MEMORY = 15 << 20  # bytes of fast memory that a kernel is given, less a little
BUDGET = 6 << 20  # of it for the blocks of one program, which are held twice
LANES = 128
ROW_AXES, HEAD_AXIS = ("data", "fsdp"), "tensor"


class Options(NamedTuple):
    """What a kernel must know before it is compiled.

    Attributes:
      dim: features of a head.
      causal: a query reads no key after its own place.
      interpret: run as plain JAX, where there is no TPU.
    """

    dim: int
    causal: bool
    interpret: bool


def fits(query: Float[Array, "b n heads dim"], key: Float[Array, "b m heads dim"]) -> bool:
    """Whether the kernel takes these shapes and types on a TPU."""
    (_, queries, heads, dim), keys = query.shape, key.shape[1]
    if query.dtype != jnp.bfloat16 or queries == 1 or dim > LANES:
        return False
    logits = 3 * 4 * -(-queries // 8) * 8 * -(-keys // LANES) * LANES  # float32, at most three at once, in whole tiles
    return 2 * _tokens_bytes(3 * queries + 4 * keys) * _smallest(dim, heads * dim) + logits <= MEMORY


def fused_attention(
    query: Float[Array, "b n heads dim"],
    key: Float[Array, "b m heads dim"],
    value: Float[Array, "b m heads dim"],
    mask: Bool[Array, "b m"] | None = None,
    causal: bool = False,
    interpret: bool = False,
) -> Float[Array, "b n heads dim"]:
    """As `attention.attend` by XLA; a query that may read no key gets the mean of the values.

    Rows are split over the batch axes of the mesh in force and heads over `tensor`, each device running its own.
    """
    rows, _, heads, dim = query.shape
    options = Options(dim, causal, interpret)
    mask = jnp.ones((rows, key.shape[1]), jnp.int32) if mask is None else mask.astype(jnp.int32)
    flat = [x.reshape(*x.shape[:2], heads * dim) for x in (query, key, value)]
    out = _spread(partial(_attention, options), rows, heads)(*flat, mask[:, None])
    return out.reshape(query.shape)


def _spread(function: Any, rows: int, heads: int) -> Any:
    """XLA cannot split a kernel by itself."""
    mesh = jax.sharding.get_abstract_mesh()
    auto = {
        name: mesh.shape[name]
        for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True)
        if kind == jax.sharding.AxisType.Auto and mesh.shape[name] > 1
    }
    ways = jax.tree.reduce(lambda a, b: a * b, [auto[axis] for axis in ROW_AXES if axis in auto], 1)
    row = tuple(axis for axis in ROW_AXES if axis in auto) if rows % ways == 0 else None
    head = HEAD_AXIS if HEAD_AXIS in auto and heads % auto[HEAD_AXIS] == 0 else None
    if not auto:
        return function
    spec, marks = jax.P(row, None, head), jax.P(row)
    return jax.shard_map(function, mesh=mesh, in_specs=(spec, spec, spec, marks), out_specs=spec, check_vma=False)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(
    options: Options,
    query: Float[Array, "b n c"],
    key: Float[Array, "b m c"],
    value: Float[Array, "b m c"],
    mask: Any,
) -> Float[Array, "b n c"]:
    return _call(options, _forward_kernel, (query, key, value), (query,), mask, products=2)[0]


def _forward(options: Options, query: Any, key: Any, value: Any, mask: Any) -> tuple[Any, Any]:
    return _attention(options, query, key, value, mask), (query, key, value, mask)


def _backward(options: Options, kept: Any, cotangent: Any) -> Any:
    query, key, value, mask = kept
    inputs, outputs = (query, key, value, cotangent), (query, key, value)
    return *_call(options, _backward_kernel, inputs, outputs, mask, products=5), None


_attention.defvjp(_forward, _backward)


def _call(options: Options, kernel: Any, inputs: Any, outputs: Any, mask: Any, products: int) -> Any:
    """One program for each row and each group of heads."""
    rows, queries, width = inputs[0].shape
    keys, group = inputs[1].shape[1], _group(options, inputs, outputs)
    blocks = [pl.BlockSpec((1, x.shape[1], group), lambda row, part: (row, 0, part)) for x in (*inputs, *outputs)]
    size = sum(x.size * x.dtype.itemsize for x in (*inputs, *outputs))
    work = rows * queries * keys * width
    return pl.pallas_call(
        partial(kernel, options),
        grid=(rows, width // group),
        in_specs=[pl.BlockSpec((1, 1, keys), lambda row, part: (row, 0, 0)), *blocks[: len(inputs)]],
        out_specs=blocks[len(inputs) :],
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs],
        cost_estimate=pl.CostEstimate(
            flops=2 * products * work, transcendentals=work // options.dim, bytes_accessed=size
        ),
        interpret=options.interpret,
    )(mask, *inputs)


def _group(options: Options, inputs: Any, outputs: Any) -> int:
    """Features of the heads that one program takes: as many as its memory allows, in whole tiles of lanes."""
    width = inputs[0].shape[2]
    tokens = _tokens_bytes(sum(x.shape[1] for x in (*inputs, *outputs)))
    smallest = _smallest(options.dim, width)
    sizes = [size for size in range(smallest, width + 1, smallest) if width % size == 0]
    return max((size for size in sizes if size * tokens <= BUDGET), default=smallest)


def _smallest(dim: int, width: int) -> int:
    """The least features of whole heads that fill tiles of lanes; all of them where no fewer do."""
    size = math.lcm(dim, LANES)
    return size if width % size == 0 else width


def _tokens_bytes(tokens: int) -> int:
    """Of one feature of so many tokens, in bfloat16."""
    return 2 * tokens


def _forward_kernel(options: Options, mask: Any, query: Any, key: Any, value: Any, out: Any) -> None:
    for head in _heads(options, query):
        weights = _weights(options, mask, query[0, :, head], key[0, :, head])
        out[0, :, head] = _product(weights.astype(value.dtype), value[0, :, head]).astype(out.dtype)


def _backward_kernel(
    options: Options,
    mask: Any,
    query: Any,
    key: Any,
    value: Any,
    cotangent: Any,
    of_query: Any,
    of_key: Any,
    of_value: Any,
) -> None:
    for head in _heads(options, query):
        q, k, v, pull = (ref[0, :, head] for ref in (query, key, value, cotangent))
        weights = _weights(options, mask, q, k)
        of_weights = _product(pull, v, of=(1, 1))
        slope = weights * (of_weights - _mean(weights, of_weights)) * options.dim**-0.5
        slope = slope.astype(q.dtype)
        of_query[0, :, head] = _product(slope, k).astype(of_query.dtype)
        of_key[0, :, head] = _product(slope, q, of=(0, 0)).astype(of_key.dtype)
        of_value[0, :, head] = _product(weights.astype(pull.dtype), pull, of=(0, 0)).astype(of_value.dtype)


def _heads(options: Options, block: Any) -> list[slice]:
    return [slice(start, start + options.dim) for start in range(0, block.shape[2], options.dim)]


def _weights(options: Options, mask: Any, query: Any, key: Any) -> Any:
    """Softmax over keys, float32 `[n, m]`."""
    logits = _product(query, key, of=(1, 1)) * options.dim**-0.5
    allowed = jnp.broadcast_to(mask[0] != 0, logits.shape)
    if options.causal:
        places = partial(jax.lax.broadcasted_iota, jnp.int32, logits.shape)
        allowed = allowed & (places(0) >= places(1))
    logits = jnp.where(allowed, logits, LOW)
    grown = jnp.exp(logits - jnp.max(logits, axis=1, keepdims=True))
    return grown / jnp.sum(grown, axis=1, keepdims=True)


def _mean(weights: Any, values: Any) -> Any:
    """Over keys, by the weights."""
    return jnp.sum(weights * values, axis=1, keepdims=True)


def _product(x: Any, y: Any, of: tuple[int, int] = (1, 0)) -> Any:
    """Sums over axis `of` of each, in float32."""
    precision = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    axes = (((of[0],), (of[1],)), ((), ()))
    return jax.lax.dot_general(x, y, axes, precision=precision, preferred_element_type=jnp.float32)
