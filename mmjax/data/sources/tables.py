"""Reading `captions.jsonl`, csv and tsv into rows, line by line: a bad line spoils only itself."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from typing import Any

from mmjax.data.sources.captions import text
from mmjax.errors import BadItem, UserError
from mmjax.storage import Place

SUFFIXES = (".jsonl", ".csv", ".tsv")
Row = dict[str, Any] | BadItem


def read_table(path: Place) -> list[Row]:
    """The rows of a table; for a line that cannot be one, the BadItem that says why.

    The first line of csv and tsv names the fields. csv may quote; in tsv a quote is a character like any other.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    return list(_json_lines(data) if path.suffix == ".jsonl" else _separated(text(data), path.suffix == ".tsv"))


def _json_lines(data: bytes) -> Iterator[Row]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(text(line))
            yield row if isinstance(row, dict) else BadItem(f"line {number} is not a JSON object")
        except (ValueError, RecursionError):
            yield BadItem(f"line {number} is not JSON")


def _separated(content: str, tabs: bool) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # an over-long field is a bad caption, not the end of the file
    stream = io.StringIO(content, newline="")
    style: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    reader = csv.DictReader(stream, **style)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadItem(f"line {reader.line_num} does not parse: {error}")
            continue
        yield BadItem(f"line {reader.line_num} has more columns than the first line names") if None in row else row
