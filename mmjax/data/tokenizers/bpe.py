"""Byte-pair encoding over characters, trained on the corpus, with bytes for the characters that it leaves out.

Characters and not bytes are merged, so a Chinese character is one unit from the start; rare ones fall back to their
UTF-8 bytes and nothing is unknown. Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword
Units", ACL 2016; byte fallback as in SentencePiece.
"""

import collections
import functools
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from mmjax.data.tokenizers.base import BOS, EOS, PAD, Row, framed
from mmjax.errors import UserError

FILE = "tokenizer.json"
SPECIAL = ["<pad>", "<bos>", "<eos>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SMALLEST = 320
SPACE = "▁"
# Merges stay within a run of Han, within a word of any other script, and never join digits or punctuation.
PIECES = rf"\p{{Han}}+|{SPACE}?[^{SPACE}\p{{Han}}\p{{P}}\p{{N}}]+|{SPACE}?[\p{{P}}\p{{N}}]|{SPACE}"


class Bpe:
    """A trained tokenizer, read from its file when first used; it pickles as its path.

    Args:
      path: the folder that holds tokenizer.json, or the file. Without one, `fit_tokenizers` trains it.
      size: entries wanted when it is trained; `size` of the object is how many it has.
      captions: how many texts of the training data it is trained on; a question and its answer are two.
    """

    def __init__(self, path: str = "", size: int = 8000, captions: int = 20_000):
        self.path, self.wanted, self.captions = path, size, captions
        if path and not _file(path).is_file():
            raise UserError(f"{path}: no {FILE} there; make one with `mmjax data tokenizer DATA FOLDER`")

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.wanted, self.captions)

    @functools.cached_property
    def _backend(self) -> Backend:
        if not self.path:
            raise UserError("this bpe tokenizer has no path: it is not trained yet; see `mmjax data tokenizer`")
        try:
            return Backend.from_file(str(_file(self.path)))
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"{_file(self.path)}: not a tokenizer file ({error})") from None

    @property
    def size(self) -> int:
        return self._backend.get_vocab_size()

    pad = PAD
    eos = EOS
    begin = BOS
    special = frozenset((PAD, BOS, EOS))

    def encode(self, text: str, length: int) -> Row:
        return framed(self._backend.encode(text).ids, length)

    def decode(self, ids: Sequence[int]) -> str:
        return self._backend.decode([i for i in ids if i not in self.special])

    def save(self, folder: pathlib.Path) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save(str(folder / FILE))
        return {"name": "bpe", "path": "."}


def train_bpe(texts: Iterable[str], size: int, out: str | os.PathLike) -> pathlib.Path:
    """Trains on texts and writes OUT/tokenizer.json. The same texts give the same file.

    Args:
      size: entries wanted, at least 320: 3 special ones, 256 bytes, the commonest characters, merges. A small corpus
        may give fewer.

    Returns:
      The file.

    Raises:
      UserError: `size` is too small, or there is no text.
    """
    if size < SMALLEST:
        raise UserError(f"a bpe tokenizer of size {size} is too small: {SMALLEST} or more; 259 are bytes and specials")
    texts = list(texts)
    backend = _untrained()
    alphabet = _alphabet(backend, texts, (size - len(SPECIAL) - len(BYTES)) // 2)
    if alphabet == [SPACE]:
        raise UserError("no text to train a tokenizer on: there is no caption that is not empty")
    # The trainer breaks ties in its own choice of alphabet at random, so it is given one that fills its limit.
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL + BYTES,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return _write(backend, pathlib.Path(out))


def _untrained() -> Backend:
    backend = Backend(models.BPE(byte_fallback=True))
    # A word carries the space before it, also at the start of a text. Chinese words are not told apart by spaces.
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Prepend(SPACE),
            normalizers.Replace(" ", SPACE),
            normalizers.Replace(Regex(rf"^{SPACE}(?=\p{{Han}})"), ""),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    backend.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Fuse(), decoders.Replace(SPACE, " "), decoders.Strip(" ", 1, 0)]
    )
    return backend


def _alphabet(backend: Backend, texts: Sequence[str], most: int) -> list[str]:
    """The commonest characters of the texts as they reach the model; ties by code point."""
    assert backend.normalizer
    counts = collections.Counter[str]()
    for text in texts:
        counts.update(backend.normalizer.normalize_str(text))
    del counts[SPACE]  # always there, also for a corpus of Chinese alone
    commonest = sorted(counts, key=lambda character: (-counts[character], character))
    return sorted([SPACE, *commonest[: most - 1]])


def _write(backend: Backend, folder: pathlib.Path) -> pathlib.Path:
    """Writes the file in one move, so that another process never sees half of it."""
    content = json.loads(backend.to_str())
    content["added_tokens"] = []  # or a caption that says "<eos>" would end there; the ids stay in the vocabulary
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{FILE}.{os.getpid()}"
    draft.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
    os.replace(draft, folder / FILE)
    return folder / FILE


def _file(path: str) -> pathlib.Path:
    place = pathlib.Path(path).expanduser()
    return place / FILE if place.is_dir() else place
