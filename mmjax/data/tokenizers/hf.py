"""Any Hugging Face tokenizer, by name or folder, with the special tokens and the truncation that are its own."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmjax.data.tokenizers.base import Row, row
from mmjax.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class HuggingFace:
    """A tokenizer of `transformers`, read when first used; it pickles as its path.

    Args:
      path: a name on the Hub, or a folder. A folder needs no network.
    """

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> tuple:
        return type(self), (self.path,)

    @functools.cached_property
    def _backend(self) -> "PreTrainedTokenizerBase":
        from transformers import AutoTokenizer  # slow to import, and only runs that name it need it

        place = os.path.expanduser(self.path)
        try:
            return AutoTokenizer.from_pretrained(place)
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise UserError(f"{self.path}: no Hugging Face tokenizer by that name or in that folder: {first}") from None

    @property
    def size(self) -> int:
        return len(self._backend)

    @property
    def pad(self) -> int:
        """Its padding id; where it has none, the end's, and then 0: padding is masked."""
        ids = (self._backend.pad_token_id, self._backend.eos_token_id, 0)
        return next(i for i in ids if i is not None)

    @property
    def eos(self) -> int:
        ids = (self._backend.eos_token_id, self._backend.sep_token_id, -1)
        return next(i for i in ids if i is not None)

    @functools.cached_property
    def special(self) -> frozenset[int]:
        return frozenset(self._backend.all_special_ids)

    def encode(self, text: str, length: int) -> Row:
        ids = self._backend(text, truncation=True, max_length=length)["input_ids"]
        return row(ids, length, self.pad)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._backend.decode(list(ids), skip_special_tokens=True))

    def save(self, folder: pathlib.Path) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save_pretrained(str(folder))
        return {"name": "hf", "path": "."}
