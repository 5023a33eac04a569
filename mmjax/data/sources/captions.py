"""Captions as they come and as they may go on: which values are good text, and why the others are not.

Text is decoded with `surrogateescape`, so one bad byte spoils its own caption and not the file around it.
"""

from typing import Any

from mmjax.errors import BadItem

MAX_CHARACTERS = 10_000


def text(data: bytes) -> str:
    """Bytes as text; what is not UTF-8 becomes lone surrogates, which `fault` finds."""
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def fault(value: Any, what: str = "caption") -> str | None:
    """Why a value cannot serve as a caption, or as `what` it is called; None if it can."""
    if value is None:
        return f"{what} is null"
    if not isinstance(value, str):
        return f"{what} is {type(value).__name__}, not text"
    if not value.strip():
        return f"{what} is empty"
    if len(value) > MAX_CHARACTERS:
        return f"{what} has {len(value):,} characters, more than {MAX_CHARACTERS:,}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{what} is not UTF-8"
    return None


def as_list(value: Any) -> list[Any]:
    """One caption or several, as several."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def good(value: Any, what: str = "caption") -> tuple[str, ...]:
    """The good captions of a field, stripped of outer blanks.

    Args:
      value: a caption or a list of captions, good or bad.
      what: what they are called in messages.

    Raises:
      BadItem: none is good; with the first one's fault.
    """
    values = as_list(value)
    kept = tuple(v.strip() for v in values if fault(v, what) is None)
    if not kept:
        raise BadItem(fault(values[0], what) if values else f"no {what}")
    return kept


def faults(value: Any) -> tuple[str, ...]:
    """Why each bad caption of a field is bad."""
    return tuple(reason for v in as_list(value) if (reason := fault(v)))
