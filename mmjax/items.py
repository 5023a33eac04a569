"""What a user hands a model (paths, bytes, arrays, pictures, texts) through it, in batches of few shapes.

Full batches have `batch_size` rows; the rest is padded to a power of two. So a stream compiles once for many items, and
at most log2(batch_size) times more however the numbers vary.
"""

import functools
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image

from mmjax.batch import Batch, Stream
from mmjax.data.decode import to_rgb, upright
from mmjax.errors import BadItem, UserError

Row = Mapping[str, np.ndarray]


def read(name: str, stream: Any, value: Any) -> Row:
    """One item as the arrays of its stream.

    Args:
      name: of the stream, for messages.
      stream: its transform; `kind` "text" takes a str, any other one a path, bytes, a uint8 array or a PIL image.

    Raises:
      UserError: it cannot be read; names it.
    """
    try:
        if stream.kind != "text":
            return stream(_raw(value), None)
        if not isinstance(value, str):
            raise BadItem(f"a text is str, not {type(value).__name__}")
        return stream((value,), None)
    except (BadItem, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{name} {_named(value)}: {reason}") from None


def is_one_item(values: Any) -> bool:
    """Whether this is an item itself, not a list of items: a text, a path, a picture."""
    if isinstance(values, np.ndarray):
        picture = values.dtype == np.uint8 and (values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 3))
        return picture or values.ndim == 0
    return isinstance(values, (str, bytes, os.PathLike)) or not isinstance(values, Iterable)


def embed(
    task: Any, params: Any, name: str, stream: Any, rows: Iterable[Row], batch_size: int = 64
) -> Float[np.ndarray, "n d"]:
    """Features float32 `[n, d]` of rows that `read` made; taken as they are needed, so memory holds a few batches."""
    run, parts = program(task, name), []
    waiting: list[tuple[int, jax.Array]] = []
    for chunk in chunks(rows, batch_size):
        waiting.append((len(chunk), run(params, batch_of({name: chunk}, bucket(len(chunk), batch_size)))))
        if len(waiting) > 1:  # the next batch is read while this one computes
            parts.append(_fetch(*waiting.pop(0)))
    parts += [_fetch(*part) for part in waiting]
    return np.concatenate(parts) if parts else np.zeros((0, width(task, params, name, stream)), np.float32)


@functools.lru_cache(maxsize=32)
def program(task: Any, stream: str) -> Any:
    """The compiled predictor of one stream: an equal task finds it again."""
    return jax.jit(lambda params, batch: task.embed(params, batch)[stream])


def width(task: Any, params: Any, name: str, stream: Any) -> int:
    """How many features the task gives a stream; nothing is computed.

    Raises:
      UserError: the task does not embed this stream.
    """
    try:
        return jax.eval_shape(program(task, name), params, batch_of({name: [stream.blank()]}, 1)).shape[1]
    except KeyError:
        raise UserError(f"the model reads the stream {name!r}, but embeds it nowhere; choose another") from None


def bucket(count: int, largest: int) -> int:
    """The rows of the batch that holds `count` items: a power of two, but never above `largest`."""
    return min(1 << (count - 1).bit_length(), largest)


def chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` values, and the rest."""
    if size < 1:
        raise UserError(f"batch_size must be at least 1, got {size}")
    iterator = iter(values)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def batch_of(streams: Mapping[str, Sequence[Row]], size: int) -> Batch:
    """The rows, equally many of each stream, and as many blank ones as make up `size`."""
    count = len(next(iter(streams.values())))

    def padded(values: np.ndarray) -> np.ndarray:
        return np.pad(values, [(0, size - count)] + [(0, 0)] * (values.ndim - 1))

    present, index = padded(np.ones(count, bool)), np.arange(size, dtype=np.int32)

    def stream(rows: Sequence[Row]) -> Stream:
        return Stream(present=present, **{key: padded(np.stack([row[key] for row in rows])) for key in rows[0]})

    return Batch({name: stream(rows) for name, rows in streams.items()}, present, index, index)


def _fetch(count: int, features: jax.Array) -> np.ndarray:
    return np.asarray(features, np.float32)[:count]


def _raw(value: Any) -> Any:
    """What a stream takes: a path as the bytes of its file, a PIL picture as upright RGB pixels, the rest as it is."""
    if isinstance(value, (str, os.PathLike)):
        if "\0" in os.fspath(value):
            raise BadItem("a path holds no zero byte")
        return pathlib.Path(value).read_bytes()
    if 0 in (value.size if isinstance(value, Image.Image) else getattr(value, "shape", ())):
        raise BadItem("it is empty, one of its sides is 0")
    return np.asarray(to_rgb(upright(value))) if isinstance(value, Image.Image) else value


def _named(value: Any) -> str:
    """A path or text as such; of anything else what it is."""
    if isinstance(value, (str, os.PathLike)):
        return repr(os.fspath(value)[:200])
    size = (
        f"{list(value.shape)}"
        if isinstance(value, np.ndarray)
        else f" of {len(value):,}"
        if isinstance(value, bytes)
        else ""
    )
    return f"{type(value).__name__}{size}"
