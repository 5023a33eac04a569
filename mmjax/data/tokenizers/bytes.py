"""The UTF-8 bytes of a text: nothing to train, nothing unknown, in any language."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from mmjax.data.tokenizers.base import BOS, EOS, PAD, Row, framed

OFFSET = 3


@dataclasses.dataclass(frozen=True)
class Bytes:
    """Byte b has id b + 3. A Chinese character takes three ids, so give its texts thrice the length."""

    size = 256 + OFFSET
    pad = PAD
    eos = EOS
    begin = BOS
    special = frozenset((PAD, BOS, EOS))

    def encode(self, text: str, length: int) -> Row:
        # Only as many characters as could fit: a text may be far longer than the row.
        return framed([byte + OFFSET for byte in text[:length].encode()], length)

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i - OFFSET for i in ids if OFFSET <= i < self.size).decode(errors="replace")

    def save(self, folder: pathlib.Path) -> dict[str, Any]:
        return {"name": "bytes"}
