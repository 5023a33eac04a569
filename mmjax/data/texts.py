"""The texts of an item by field, without its pixels where the source can."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.data.sources import Source

CAPTION = "caption"  # the field that every source gives without reading pixels
TRUTHS = {"question": "question", "answer": "answers"}  # field → the key of the truth that holds its texts


def texts_of(source: Source, index: int, field: str) -> Sequence[str]:
    """All texts of a field of an item, or none. Raises BadItem."""
    if field == CAPTION:
        return source.captions(index)
    truth: Mapping[str, Any] = source.truth(index) if field in TRUTHS else {}
    value = truth.get(TRUTHS.get(field, ""))
    if value is None:
        value = source[index].streams.get(field, ())
    return (value,) if isinstance(value, str) else value
