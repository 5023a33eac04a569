"""Any Hugging Face tokenizer, by name or folder, with the special tokens and the truncation that are its own."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mmjax.data.tokenizers.base import Row, row
from mmjax.data.tokenizers.clean import Clean, clean
from mmjax.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Frame = Literal["begin", "end", "both"]


class HuggingFace:
    """A tokenizer of `transformers`, read when first used; it pickles as its path and options.

    Code that a folder or repository brings along is not run.

    Args:
      path: a name on the Hub, or a folder. A folder needs no network.
      pad: the id that fills up a row, where it is not the tokenizer's own: `open_clip` fills CLIP's rows with 0.
      clean: what is done to a text first, as `open_clip` does it; see `clean.clean`. None for nothing.
      frame: the tokenizer's tokens of begin and end that are put around a text, where it puts none itself, as GPT-2's:
        "begin", "end" or "both". A row that a decoder is to write ends with one, or it never learns to stop.
    """

    def __init__(self, path: str, pad: int | None = None, clean: Clean | None = None, frame: Frame | None = None):
        self.path, self._pad, self._clean, self._frame = path, pad, clean, frame

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self._pad, self._clean, self._frame)

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

    @functools.cached_property
    def begin(self) -> int | None:
        before, _ = self._around
        # A call would leave its truncation behind in a tokenizer that may yet be saved.
        fast = getattr(self._backend, "backend_tokenizer", None)
        first = [*before, *(fast.encode("a").ids if fast else self._backend("a")["input_ids"])][:1]
        known = (self._backend.bos_token_id, self._backend.cls_token_id)
        return first[0] if first and first[0] in known else None

    @property
    def named_ids(self) -> dict[str, int]:
        """Its ids of begin, end and padding under the names that configs of transformers give them."""
        ids = {f"{name}_token_id": getattr(self._backend, f"{name}_token_id") for name in ("bos", "eos", "pad")}
        return {name: number for name, number in ids.items() if number is not None}

    @functools.cached_property
    def special(self) -> frozenset[int]:
        return frozenset(self._backend.all_special_ids)

    def encode(self, text: str, length: int) -> Row:
        return row(self._ids(clean(text, self._clean) if self._clean else text, length), length, self.pad)

    def _ids(self, text: str, length: int) -> list[int]:
        """Ids with all that belongs around them, no more than `length`."""
        before, after = self._around
        room = max(length - len(before) - len(after), 1)
        return [*before, *self._backend(text, truncation=True, max_length=room)["input_ids"], *after]

    @functools.cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        """What `frame` puts before and after a text. Raises UserError for an id that the tokenizer has not."""
        begin, end = self._backend.bos_token_id, self._backend.eos_token_id
        before, after = self._frame in ("begin", "both"), self._frame in ("end", "both")
        if (before and begin is None) or (after and end is None):
            raise UserError(f"{self.path}: frame is {self._frame!r}, but the tokenizer has no token for it")
        return [begin] * before, [end] * after

    def decode(self, ids: Sequence[int]) -> str:
        # Cleaning up would change what stands there already as more comes, and texts are read token by token.
        return str(self._backend.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def save(self, folder: pathlib.Path) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save_pretrained(str(folder))
        options = {"pad": self._pad, "clean": self._clean, "frame": self._frame}
        return {"name": "hf", "path": ".", **{key: value for key, value in options.items() if value is not None}}


def _first(error: Exception) -> str:
    """The first line of a message that has many."""
    return str(error).strip().splitlines()[0]
