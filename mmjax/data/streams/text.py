"""Texts as token ids."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int

from mmjax.data.streams.base import Arrays
from mmjax.data.tokenizers import Tokenizer, load_tokenizer
from mmjax.data.tokenizers.base import row
from mmjax.errors import BadItem


@dataclasses.dataclass(frozen=True)
class TextStream:
    """Captions to ids int32 `[length]` and their mask.

    Training draws one of an item's captions, evaluation takes the first. All text streams of an item draw alike:
    `choice` 0 and 1 are two different captions (where there are two), and a stream of the field `foil` takes the foil
    that stands where the chosen caption stands.

    Attributes:
      field: the raw stream: a tuple of texts.
      tokenizer: its section or bare name; see `mmjax.data.tokenizers`.
      length: ids a row, begin and end included; longer texts are cut before their end token.
      lowercase: before tokenizing.
      choice: which of the shuffled captions.
      word_dropout: share of text tokens left out in training, at random; at least one stays.
      root: folder that the tokenizer's path starts from, where that is relative.
    """

    field: str = "caption"
    tokenizer: str | Mapping[str, Any] = "bytes"
    length: int = 32
    lowercase: bool = False
    choice: int = 0
    word_dropout: float = 0.0
    root: dataclasses.InitVar[Any] = None

    kind: ClassVar[str] = "text"
    draws: ClassVar[str | None] = "text"

    def __post_init__(self, root: Any) -> None:
        if self.length < 3:
            raise ValueError(f"length must be at least 3 (begin, a token, end), got {self.length}")
        if self.choice < 0 or not 0 <= self.word_dropout < 1:
            raise ValueError("choice must not be negative, and word_dropout must lie in [0, 1)")
        if root is not None and isinstance(self.tokenizer, Mapping) and "path" in self.tokenizer:
            path = os.path.join(root, self.tokenizer["path"])
            object.__setattr__(self, "tokenizer", {**self.tokenizer, "path": path})

    def loaded(self) -> Tokenizer:
        """Its tokenizer; read once a process."""
        return load_tokenizer(self.tokenizer)

    def __call__(self, value: str | Sequence[str], rng: np.random.Generator | None) -> Arrays:
        text = self.choose(value, rng)
        ids, mask = self.loaded().encode(text.lower() if self.lowercase else text, self.length)
        if rng is not None and self.word_dropout:
            ids, mask = self._drop(ids[mask], rng)
        return {"data": ids, "mask": mask}

    @property
    def longest(self) -> int:
        """Tokens of the longest text that a decoder can learn here: all but the one that begins it."""
        return self.length - (self.loaded().begin is not None)

    def choose(self, value: str | Sequence[str], rng: np.random.Generator | None) -> str:
        """The text that this stream takes of an item."""
        texts = (value,) if isinstance(value, str) else value
        if not texts:
            raise BadItem(f"no {self.field}")
        order = np.arange(len(texts)) if rng is None else np.argsort(rng.random(len(texts)), kind="stable")
        text = texts[int(order[self.choice % len(texts)])]
        if not text.strip():
            raise BadItem(f"{self.field} is empty")
        return text

    def _drop(self, ids: Int[np.ndarray, " n"], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        text = ~np.isin(ids, list(self.loaded().special))
        # A row of draws for each choice: two captions of one item are not thinned alike.
        dropped = text & (rng.random((self.choice + 1, len(ids)))[-1] < self.word_dropout)
        kept = ids if dropped.sum() == text.sum() else ids[~dropped]
        return row(kept, self.length, self.loaded().pad)

    def blank(self) -> Arrays:
        return {"data": np.zeros(self.length, np.int32), "mask": np.zeros(self.length, bool)}

    def facts(self) -> dict[str, Any]:
        tokenizer = self.loaded()
        ids = {"begin": tokenizer.begin, "eos": tokenizer.eos, "pad": tokenizer.pad}
        return {"vocabulary": tokenizer.size, "length": self.length, **ids}

    def save_tokenizer(self, folder: pathlib.Path, root: pathlib.Path) -> dict[str, Any]:
        """Writes the tokenizer into a folder below `root`; returns its section with the path relative to `root`."""
        section = self.loaded().save(folder)
        if "path" in section:
            section["path"] = os.path.normpath(os.path.join(os.path.relpath(folder, root), section["path"]))
        return section
