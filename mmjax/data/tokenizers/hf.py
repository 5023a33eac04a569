"""Any Hugging Face tokenizer, by name or folder, with the special tokens and the truncation that are its own."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmjax.data.tokenizers.base import Row, row
from mmjax.data.tokenizers.clean import Clean, clean
from mmjax.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class HuggingFace:
    """A tokenizer of `transformers`, read when first used; it pickles as its path and options.

    Code that a folder or repository brings along is not run.

    Args:
      path: a name on the Hub, or a folder. A folder needs no network.
      pad: the id that fills up a row, where it is not the tokenizer's own: `open_clip` fills CLIP's rows with 0.
      clean: what is done to a text first, as `open_clip` does it; see `clean.clean`. None for nothing.
    """

    def __init__(self, path: str, pad: int | None = None, clean: Clean | None = None):
        self.path, self._pad, self._clean = path, pad, clean

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self._pad, self._clean)

    @functools.cached_property
    def _backend(self) -> "PreTrainedTokenizerBase":
        from transformers import AutoTokenizer  # slow to import, and only runs that name it need it

        place = os.path.expanduser(self.path)
        try:
            return AutoTokenizer.from_pretrained(place, trust_remote_code=False)  # None would ask on the terminal
        except ImportError as error:  # SigLIP's tokenizer is the one that still needs sentencepiece itself
            raise UserError(f"{self.path}: {_first(error)}: pip install sentencepiece protobuf") from None
        except (OSError, ValueError) as error:
            what = "no Hugging Face tokenizer by that name or in that folder"
            raise UserError(f"{self.path}: {what}: {_first(error)}") from None

    @property
    def size(self) -> int:
        return len(self._backend)

    @property
    def pad(self) -> int:
        """The id given, or else its own; where it has none, the end's, and then 0: padding is masked."""
        ids = (self._pad, self._backend.pad_token_id, self._backend.eos_token_id, 0)
        return next(i for i in ids if i is not None)

    @property
    def eos(self) -> int:
        ids = (self._backend.eos_token_id, self._backend.sep_token_id, -1)
        return next(i for i in ids if i is not None)

    @property
    def named_ids(self) -> dict[str, int]:
        """Its ids of begin, end and padding under the names that configs of transformers give them."""
        ids = {f"{name}_token_id": getattr(self._backend, f"{name}_token_id") for name in ("bos", "eos", "pad")}
        return {name: number for name, number in ids.items() if number is not None}

    @functools.cached_property
    def special(self) -> frozenset[int]:
        return frozenset(self._backend.all_special_ids)

    def encode(self, text: str, length: int) -> Row:
        text = clean(text, self._clean) if self._clean else text
        ids = self._backend(text, truncation=True, max_length=length)["input_ids"]
        return row(ids, length, self.pad)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._backend.decode(list(ids), skip_special_tokens=True))

    def save(self, folder: pathlib.Path) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save_pretrained(str(folder))
        options = {"pad": self._pad, "clean": self._clean}
        return {"name": "hf", "path": ".", **{key: value for key, value in options.items() if value is not None}}


def _first(error: Exception) -> str:
    """The first line of a message that has many."""
    return str(error).strip().splitlines()[0]
