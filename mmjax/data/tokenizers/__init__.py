"""Text to ids: bytes, byte-pair encoding trained on the corpus, or any Hugging Face tokenizer."""

import functools
import json
from collections.abc import Mapping
from typing import Any

from mmjax.config import build, plain
from mmjax.data.tokenizers.base import BOS, EOS, PAD, Tokenizer
from mmjax.data.tokenizers.bpe import Bpe, train_bpe
from mmjax.data.tokenizers.bytes import Bytes
from mmjax.data.tokenizers.hf import HuggingFace

__all__ = ["BOS", "EOS", "PAD", "TOKENIZERS", "Bpe", "Bytes", "HuggingFace", "Tokenizer", "load_tokenizer", "train_bpe"]

TOKENIZERS: dict[str, type] = {"bytes": Bytes, "bpe": Bpe, "hf": HuggingFace}


def load_tokenizer(section: str | Mapping[str, Any], where: str = "tokenizer") -> Tokenizer:
    """The tokenizer of a section such as `{"name": "bpe", "path": folder}`; equal sections share one object.

    Raises:
      UserError: an unknown name or key, or nothing usable at its path.
    """
    return _load(json.dumps(plain(section), sort_keys=True), where)


@functools.lru_cache(maxsize=32)
def _load(section: str, where: str) -> Tokenizer:
    return build(json.loads(section), TOKENIZERS, where)
