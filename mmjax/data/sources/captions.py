"""Captions as they come and as they may go on: which values are good text, and why the others are not.

Text is decoded with `surrogateescape`, so one bad byte spoils its own caption and not the file around it.
"""

from typing import Any

from mmjax.errors import BadItem

MAX_CHARACTERS = 10_000


def text(data: bytes) -> str:
    """Bytes as text; what is not UTF-8 becomes lone surrogates, which `fault` finds."""
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def fault(caption: Any) -> str | None:
    """Why a value cannot serve as a caption; None if it can."""
    if caption is None:
        return "caption is null"
    if not isinstance(caption, str):
        return f"caption is {type(caption).__name__}, not text"
    if not caption.strip():
        return "caption is empty"
    if len(caption) > MAX_CHARACTERS:
        return f"caption has {len(caption):,} characters, more than {MAX_CHARACTERS:,}"
    try:
        caption.encode()
    except UnicodeEncodeError:
        return "caption is not UTF-8"
    return None


def as_list(value: Any) -> list[Any]:
    """One caption or several, as several."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def good(value: Any) -> tuple[str, ...]:
    """The good captions of a field, stripped of outer blanks.

    Args:
      value: a caption or a list of captions, good or bad.

    Raises:
      BadItem: none is good; with the first one's fault.
    """
    values = as_list(value)
    kept = tuple(v.strip() for v in values if fault(v) is None)
    if not kept:
        raise BadItem(fault(values[0]) if values else "no caption")
    return kept


def faults(value: Any) -> tuple[str, ...]:
    """Why each bad caption of a field is bad."""
    return tuple(reason for v in as_list(value) if (reason := fault(v)))
