"""A data set's JSON file, read whole, and what must be in it."""

import json
from typing import Any

from mmjax.data.sources.captions import text
from mmjax.errors import UserError
from mmjax.storage import place


def read_json(path: str) -> Any:
    """The content. Raises UserError where there is none."""
    try:
        return json.loads(text(place(path).read_bytes()))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON: {error}") from None


def records(path: str, content: Any, key: str, *needed: str) -> list[dict[str, Any]]:
    """The list of records under a key.

    Args:
      needed: fields that every record has.

    Raises:
      UserError: it is not there, is empty, or a record lacks a field.
    """
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list) or not found:
        there = f"; it has {', '.join(map(str, list(content)[:8]))}" if isinstance(content, dict) else ""
        raise UserError(f"{path}: no list {key!r} with anything in it{there}; is it another data set's file?")
    for number, record in enumerate(found):
        lacking = [name for name in needed if not isinstance(record, dict) or record.get(name) is None]
        if lacking:
            raise UserError(f"{path}: {key}[{number}] has no {lacking[0]!r}; is it another data set's file?")
    return found
