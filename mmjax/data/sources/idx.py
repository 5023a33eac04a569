"""Labelled pictures in idx files (MNIST, Fashion-MNIST), captioned by class names in sentences."""

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.batch import Example
from mmjax.errors import UserError


class Idx:
    """Grey pictures with labels; every template makes one caption of an item from its class name.

    Args:
      images: idx file `[n, h, w]` of bytes, gzipped or not.
      labels: idx file `[n]` of bytes.
      names: the class names in label order, or a file with one a line.
      templates: sentences with `{}` where the class name goes.

    Attributes:
      class_names: in label order.
      templates: as given.
    """

    def __init__(
        self, images: str, labels: str, names: str | tuple[str, ...], templates: tuple[str, ...] = ("a photo of a {}",)
    ):
        self.name = Path(images).name
        self.class_names = _names(names) if isinstance(names, str) else tuple(names)
        self._images = images
        self._labels = read_idx(labels, 1)
        self.templates = templates
        if not templates or not all("{}" in t for t in templates):
            raise UserError(f"{self.name}: templates must each hold {{}} for the class name, got {templates!r}")
        if self._labels.size and self._labels.max() >= len(self.class_names):
            raise UserError(f"{labels}: label {self._labels.max()}, but only {len(self.class_names)} class names")
        self._pixels: np.ndarray | None = read_idx(images, 3)
        if len(self._pixels) != len(self._labels):
            raise UserError(f"{images} has {len(self._pixels)} pictures, {labels} has {len(self._labels)} labels")

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Example:
        if self._pixels is None:
            self._pixels = read_idx(self._images, 3)
        grey = self._pixels[index]
        image = np.repeat(grey[:, :, None], 3, axis=2)
        return Example(self.id(index), {"image": image, "caption": self.captions(index)}, self.truth(index))

    def id(self, index: int) -> str:
        return str(index)

    def captions(self, index: int) -> tuple[str, ...]:
        name = self.class_names[self._labels[index]]
        return tuple(template.replace("{}", name) for template in self.templates)

    def truth(self, index: int) -> Mapping[str, Any]:
        return {"captions": self.captions(index), "label": int(self._labels[index])}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_pixels": None}  # a worker reads the file itself: cheaper than a pipe


def read_idx(path: str, dimensions: int) -> np.ndarray:
    """An idx file of unsigned bytes, gzipped or not.

    Raises:
      UserError: it is missing, damaged, or has another number of dimensions.
    """
    try:
        data = Path(path).expanduser().read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if data[:3] != b"\0\0\x08" or data[3:4] != bytes([dimensions]):
        raise UserError(f"{path}: not an idx file of bytes in {dimensions} dimensions")
    start = 4 + 4 * dimensions
    shape = np.frombuffer(data[4:start].ljust(start - 4, b"\0"), ">u4")
    if len(data) - start != shape.prod(dtype=np.int64):
        raise UserError(f"{path}: its header says {'x'.join(map(str, shape))}, it holds {len(data) - start:,} bytes")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _names(path: str) -> tuple[str, ...]:
    try:
        return tuple(Path(path).expanduser().read_text("utf-8").strip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read class names: {getattr(error, 'strerror', None) or error}") from None
