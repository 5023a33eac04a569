"""Where the true answers rank among all candidates, without ever making the full matrix of scores.

Scores are made tile by tile on the devices and only counted: for each positive of a query, how many wrong candidates
score at least as high. Everything that retrieval and classification report follows from those counts.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from mmjax.mesh import ROWS

# Two candidates with equal features may differ in the last bits of their float32 scores, and which way depends on the
# tiling. So a wrong candidate this close to the true one counts as tied with it, and a tie counts as lost.
TIE = 1e-6


def wrong_before(
    queries: Float[np.ndarray, "n d"],
    query_owner: Int[np.ndarray, " n"],
    candidates: Float[np.ndarray, "m d"],
    candidate_owner: Int[np.ndarray, " m"],
    *,
    rows: int = 4096,
    columns: int = 4096,
    mesh: Mesh | None = None,
) -> Int[np.ndarray, "n p"]:
    """For each query and each of its positives, the number of wrong candidates that score as high or higher.

    A candidate is a positive of the queries with its owner. A NaN score counts as high: a broken model never wins.

    Args:
      queries, candidates: L2-normalised features.
      query_owner, candidate_owner: what each belongs to; at least 0.
      rows, columns: size of a tile. Device memory: `rows * columns` scores and the candidates' features.
      mesh: devices among which the rows of each tile are divided; None for the default device.

    Returns:
      Counts, ascending along p, where p is the largest number of positives that a query has; -1 fills up the others.
    """
    positives = positives_of(query_owner, candidate_owner)
    whole, split = None, None
    if mesh is not None:
        whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, ROWS)
    shards = 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]
    rows = -(-min(rows, len(queries)) // shards) * shards
    columns = min(columns, len(candidates))
    gallery = _put(_pad(candidates, columns), whole), _put(_pad(candidate_owner, columns, fill=-1), whole)
    counts = []
    for start in range(0, len(queries), rows):
        parts = (_pad(x[start : start + rows], rows, fill=-1) for x in (queries, query_owner, positives))
        counts.append(_count(*(_put(part, split) for part in parts), *gallery, columns=columns, out=whole))
    found = np.concatenate(jax.device_get(counts))[: len(queries)]
    found = np.sort(np.where(positives < 0, np.iinfo(np.int32).max, found), axis=1)
    return np.where(found == np.iinfo(np.int32).max, -1, found)


def positives_of(query_owner: Int[np.ndarray, " n"], candidate_owner: Int[np.ndarray, " m"]) -> Int[np.ndarray, "n p"]:
    """The candidates with each query's owner, in order, filled up with -1."""
    order = np.argsort(candidate_owner, kind="stable")
    ordered = candidate_owner[order]
    first = np.searchsorted(ordered, query_owner, side="left")
    number = np.searchsorted(ordered, query_owner, side="right") - first
    steps = np.arange(max(number.max(initial=0), 1))
    where = np.minimum(first[:, None] + steps, len(order) - 1)
    return np.where(steps < number[:, None], order[where], -1).astype(np.int32)


@functools.partial(jax.jit, static_argnames=("columns", "out"))
def _count(
    queries: Float[Array, "r d"],
    query_owner: Int[Array, " r"],
    positives: Int[Array, "r p"],
    candidates: Float[Array, "m d"],
    candidate_owner: Int[Array, " m"],
    *,
    columns: int,
    out: NamedSharding | None,
) -> Int[Array, "r p"]:
    """`wrong_before` for one tile of queries: scans the candidates, `columns` at a time (m is a multiple)."""
    # Over p one by one, so that no [r, p, d] and no [r, columns, p] is made.
    thresholds = jax.lax.map(lambda j: jnp.sum(queries * candidates[j], axis=-1) - TIE, positives.T)

    def add(counts: Array, tile: tuple[Array, Array]) -> tuple[Array, None]:
        features, owner = tile
        scores = jnp.matmul(queries, features.T, precision=jax.lax.Precision.HIGHEST)
        wrong = (owner[None, :] != query_owner[:, None]) & (owner >= 0)[None, :]
        above = jax.lax.map(lambda t: jnp.sum(wrong & ~(scores < t[:, None]), axis=1, dtype=jnp.int32), thresholds)
        return counts + above, None

    tiles = candidates.reshape(-1, columns, candidates.shape[-1]), candidate_owner.reshape(-1, columns)
    counts, _ = jax.lax.scan(add, jnp.zeros(thresholds.shape, jnp.int32), tiles)
    return counts.T if out is None else jax.lax.with_sharding_constraint(counts.T, out)


def _pad(x: np.ndarray, multiple: int, fill: int = 0) -> np.ndarray:
    return np.pad(x, [(0, -len(x) % multiple)] + [(0, 0)] * (x.ndim - 1), constant_values=fill)


def _put(x: np.ndarray, sharding: NamedSharding | None) -> jax.Array:
    """On the devices; every host holds all of `x` and gives its own part."""
    x = x.astype(np.float32 if x.dtype.kind == "f" else np.int32)
    if sharding is None:
        return jax.device_put(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda where: x[where])
