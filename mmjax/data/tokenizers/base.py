"""What every tokenizer offers, and how ids are laid out in a row."""

import pathlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int32

PAD, BOS, EOS = 0, 1, 2  # of our own tokenizers

Row = tuple[Int32[np.ndarray, " length"], Bool[np.ndarray, " length"]]


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back.

    Attributes:
      size: number of ids; the embedding table has at least as many rows.
      pad, eos: their ids.
      begin: the id that every row begins with; None where the first one is of the text.
      special: ids that are not text; word dropout leaves them alone.
    """

    @property
    def size(self) -> int: ...
    @property
    def pad(self) -> int: ...
    @property
    def eos(self) -> int: ...
    @property
    def begin(self) -> int | None: ...
    @property
    def special(self) -> frozenset[int]: ...

    def encode(self, text: str, length: int) -> Row:
        """Ids `[length]` int32, padded, and which of them are real. Text too long is cut; its end token stays."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special ones left out."""
        ...

    def save(self, folder: pathlib.Path) -> dict[str, Any]:
        """Writes what it needs into the folder; returns its section with `path` relative to the folder."""
        ...


def row(ids: Sequence[int] | np.ndarray, length: int, pad: int) -> Row:
    """Pads ids to `length`."""
    data = np.full(length, pad, np.int32)
    data[: len(ids)] = ids
    return data, np.arange(length) < len(ids)


def framed(ids: Sequence[int], length: int) -> Row:
    """A row of text ids of our own tokenizers: begin, as much of the text as fits, end."""
    return row([BOS, *ids[: length - 2], EOS], length, PAD)
