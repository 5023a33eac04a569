"""TensorFlow Datasets that are prepared as ArrayRecord, read through `tfds.data_source`: no TensorFlow is imported."""

from collections.abc import Mapping
from typing import Any

from mmjax.data.sources.captions import text
from mmjax.data.sources.rows import IMAGE_FIELDS, Rows, choose, one_line
from mmjax.errors import BadItem, UserError

PREPARE = "prepare it once with tfds.builder(NAME, file_format='array_record').download_and_prepare()"


class Tfds(Rows):
    """A prepared TFDS dataset.

    Args:
      path: `NAME/split`; NAME may hold a config and a version, and split be a slice: `coco_captions/2014/val[:500]`.
      caption: feature of the caption or captions, e.g. `captions.text`; default: the usual names.
      image: feature of the image; default: the usual names.
      where: keeps the examples with these values; it reads every record once.
      data_dir: where the dataset lies; default: TFDS's own.
    """

    def __init__(
        self,
        path: str,
        caption: str | None = None,
        image: str | None = None,
        where: Mapping[str, Any] | None = None,
        data_dir: str | None = None,
    ):
        self.name = f"tfds:{path}"
        self._dataset, _, self._split = path.rpartition("/")
        if not self._dataset:
            raise UserError(f"{self.name}: write tfds:NAME/split, e.g. tfds:coco_captions/train")
        self._data_dir = data_dir
        self._records: Any = None
        features = list(_builder(self._dataset, data_dir, self.name).info.features)
        self._feature = choose(image, IMAGE_FIELDS, features, self.name, "image")
        self._length = len(self._opened())
        self._choose(caption, where)

    def _opened(self) -> Any:
        """The data source, opened where it is used: each worker process opens its own."""
        if self._records is None:
            import tensorflow_datasets as tfds

            builder = _builder(self._dataset, self._data_dir, self.name)
            raw = {self._feature: tfds.decode.SkipDecoding()}
            try:
                self._records = builder.as_data_source(split=self._split, decoders=raw)
            except Exception as error:  # an assertion, ValueError or NotImplementedError, by what is missing
                raise UserError(f"{self.name}: {one_line(error)}; {PREPARE}") from None
        return self._records

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_records": None}

    def _count(self) -> int:
        return self._length

    def _id(self, row: int) -> str:
        return f"{self._dataset}/{self._split}:{row}"

    def _example(self, row: int) -> dict[str, Any]:
        try:
            return self._opened()[row]
        except UserError:
            raise
        except Exception as error:  # what a damaged record raises depends on the file format behind
            raise BadItem(f"the record is damaged: {one_line(error)}") from None

    def _row(self, row: int) -> Mapping[str, Any]:
        return {name: _plain(value) for name, value in self._example(row).items() if name != self._feature}

    def _image(self, row: int) -> bytes:
        image = self._example(row)[self._feature]
        if not isinstance(image, bytes):
            raise BadItem(f"feature {self._feature} holds no encoded image: {type(image).__name__}")
        return image


def _builder(dataset: str, data_dir: str | None, name: str) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(dataset, data_dir=data_dir)
    except Exception as error:  # an unknown name, a config or a version that is not there
        raise UserError(f"{name}: {one_line(error)}; {PREPARE}") from None


def _plain(value: Any) -> Any:
    """NumPy values and bytes as Python's values and text."""
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
