"""Files that a verb reads: the good ones, with the bad ones named."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from mmjax.errors import UserError
from mmjax.items import Row, read


def readable(verb: str, name: str, stream: Any, files: Sequence[str]) -> dict[str, Row]:
    """`{file: its arrays}` of those that can be read; the others are named on stderr."""
    rows = {}
    for file in files:
        try:
            if os.path.isdir(file):
                raise UserError(f"{file}: no picture in this folder")
            rows[file] = read(name, stream, file)
        except UserError as error:
            print(f"mmjax {verb}: {error}", file=sys.stderr)
    return rows
