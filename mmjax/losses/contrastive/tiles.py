"""All pairs of two sides, one tile of them at a time: nothing of size rows x columns ever exists.

A loss says by a `Rule` what it wants to know of a tile and how strongly it pulls at each of its logits. Each of two
sweeps computes every tile's logits: the first for the statistics of rows and columns, the second for the gradients,
anew, since to keep them would cost what the tiles save.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

LARGEST_TILE = 1024  # rows: two float32 tiles of this side, 8 MiB, still lie in the caches of a CPU core


class Side(NamedTuple):
    """Rows to be paired with those of the other side.

    Attributes:
      rows: features in any float dtype; what invalid rows hold is never read.
      valid: which rows are pairs or negatives at all.
      group: rows of one group are positives of each other.
    """

    rows: Float[Array, "*blocks d"]
    valid: Bool[Array, "*blocks"]
    group: Int[Array, "*blocks"]


class Logits(NamedTuple):
    """scale * cosine + bias, the numbers that both are added to, in float32."""

    scale: Float[Array, ""]
    bias: Float[Array, ""]


class Tile(NamedTuple):
    """Some rows of one side against some of the other.

    Attributes:
      cosine, logit: `[n, m]` float32.
      both: bool `[n, m]`, both rows are valid.
      positive: bool `[n, m]`, valid pairs that belong together.
    """

    cosine: jax.Array
    logit: jax.Array
    both: jax.Array
    positive: jax.Array


@runtime_checkable
class Rule(Protocol):
    """A loss, as far as tiles are concerned; frozen and hashable. Statistics are pytrees with rows in front.

    A side of which a loss wants to know nothing has the statistics `()`.
    """

    def empty(self, rows: int, columns: int) -> tuple[Any, Any]:
        """Statistics of rows and of columns that have met nobody yet."""
        ...

    def statistics(self, tile: Tile) -> tuple[Any, Any]:
        """Of a tile's rows and of its columns."""
        ...

    def merge(self, one: Any, other: Any) -> Any:
        """Of the same rows, which have met disjoint sets of columns."""
        ...

    def merge_devices(self, statistics: Any, axes: tuple[str, ...]) -> Any:
        """`merge` over all devices along these mesh axes, each of which holds its statistics of the same rows."""
        ...

    def finish(self, rows: Any, columns: Any, total: Any) -> tuple[Float[Array, ""], Any, Any]:
        """The loss, and what `slope` wants to know of each row and column. `total` adds up over all devices."""
        ...

    def slope(self, tile: Tile, rows: Any, columns: Any) -> Float[Array, "n m"]:
        """The derivative of the loss by each logit of the tile, 0 for pairs that are not valid."""
        ...


class Gradients(NamedTuple):
    """Of the loss, by the features of both sides and by scale and bias; all float32."""

    a: Float[Array, "n d"]
    b: Float[Array, "m d"]
    logits: Logits


def sweep(rule: Rule, a: Side, b: Side, logits: Logits, rows: Any, tile: int | None) -> tuple[Any, Any]:
    """Statistics of all rows, together with those that `rows` brings along, and of all columns."""
    n, m = len(a.rows), len(b.rows)
    size_a, size_b = tile_size(n, tile), tile_size(m, tile)
    _, columns = rule.empty(n, m)

    def outer(columns: Any, item: tuple[Side, Any]) -> tuple[Any, Any]:
        side, row = item

        def inner(row: Any, item: tuple[Side, Any]) -> tuple[Any, Any]:
            other, column = item
            new_row, new_column = rule.statistics(make_tile(side, other, logits))
            return rule.merge(row, new_row), rule.merge(column, new_column)

        row, columns = jax.lax.scan(inner, row, (split(b, size_b), columns))
        return columns, row

    columns, rows = jax.lax.scan(outer, split(columns, size_b), (split(a, size_a), split(rows, size_a)))
    return join(rows, n), join(columns, m)


def sweep_gradients(
    rule: Rule, a: Side, b: Side, logits: Logits, rows: Any, columns: Any, tile: int | None
) -> Gradients:
    """The gradients of the loss, given what `Rule.finish` said of rows and columns."""
    n, m = len(a.rows), len(b.rows)
    size_a, size_b = tile_size(n, tile), tile_size(m, tile)

    def outer(grad_b: jax.Array, item: tuple[Side, Any]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        side, row = item

        def inner(carry: tuple[jax.Array, jax.Array], item: tuple[Side, Any, jax.Array]) -> Any:
            (grad_a, slopes), (other, column, grad_b) = carry, item
            slope = rule.slope(make_tile(side, other, logits), row, column)
            grad_a = grad_a + _matmul(slope, _clean(other))
            return (grad_a, slopes + jnp.sum(slope, axis=1)), grad_b + _matmul(slope.T, _clean(side))

        start = jnp.zeros(side.rows.shape, jnp.float32), jnp.zeros(len(side.rows), jnp.float32)
        sums, grad_b = jax.lax.scan(inner, start, (split(b, size_b), split(columns, size_b), grad_b))
        return grad_b, sums

    start = split(jnp.zeros(b.rows.shape, jnp.float32), size_b)
    grad_b, sums = jax.lax.scan(outer, start, (split(a, size_a), split(rows, size_a)))
    grad_a, slopes = join(sums, n)
    # Row by row: pulls and pushes cancel within a row, and a long sum of tiles would be rounded to more than is left.
    sums = Logits(jnp.sum(_clean(a) * grad_a), jnp.sum(slopes))
    return Gradients(logits.scale * grad_a, logits.scale * join(grad_b, m), sums)


def make_tile(a: Side, b: Side, logits: Logits) -> Tile:
    """Every row of one side against every row of the other."""
    cosine = _matmul(_clean(a), _clean(b).T)
    both = a.valid[:, None] & b.valid[None, :]
    positive = both & (a.group[:, None] == b.group[None, :])
    return Tile(cosine, logits.scale * cosine + logits.bias, both, positive)


def tile_size(rows: int, wanted: int | None) -> int:
    """Rows of a tile: as wanted, else the largest that divides them evenly, where that is not much less than could be.

    Rows that do not divide are made up with ones that are not valid.
    """
    largest = min(rows, wanted or LARGEST_TILE)
    if wanted:
        return largest
    even = next(size for size in range(largest, 0, -1) if rows % size == 0)
    return even if even >= largest // 4 else largest


def split(tree: Any, size: int) -> Any:
    """Leaves `[rows, ...]` to `[blocks, size, ...]`, made up with zeros: rows made up are not valid."""

    def one(x: jax.Array) -> jax.Array:
        extra = -len(x) % size
        x = jnp.pad(x, [(0, extra)] + [(0, 0)] * (x.ndim - 1)) if extra else x
        return x.reshape(-1, size, *x.shape[1:])

    return jax.tree.map(one, tree)


def join(tree: Any, rows: int) -> Any:
    """Back from `split`."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:rows], tree)


def _clean(side: Side) -> Float[Array, "n d"]:
    """Rows in float32. An invalid one may hold NaN, and 0 * NaN is NaN: it is taken out before any product."""
    return jnp.where(side.valid[:, None], side.rows.astype(jnp.float32), 0.0)


def _matmul(x: Float[Array, "n k"], y: Float[Array, "k m"]) -> Float[Array, "n m"]:
    """In float32 to the last bit: TPUs would round the factors."""
    return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)
