"""Tokenizers that a config asks for but that do not exist yet: trained on the captions before the run starts."""

import itertools
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from mmjax import progress
from mmjax.config import build
from mmjax.data.sources import Source
from mmjax.data.tokenizers import TOKENIZERS, Bpe, train_bpe
from mmjax.errors import BadItem, UserError


def fit_tokenizers(
    sections: Mapping[str, Mapping[str, Any]], source: Source, folder: pathlib.Path
) -> dict[str, dict[str, Any]]:
    """Trains every `bpe` tokenizer without a path on the first captions of the source.

    Streams whose tokenizer sections (and `lowercase`) are equal share one. One that is already in the folder is kept:
    a resumed run must read its texts as before.

    Args:
      sections: {stream: section}.
      folder: tokenizers are written to FOLDER/STREAM.

    Returns:
      The sections, with the paths of what was trained.

    Raises:
      UserError: a section is wrong, or there are no captions to train on.
    """
    out = {name: dict(section) for name, section in sections.items()}
    places: dict[str, pathlib.Path] = {}
    for name, section in out.items():
        tokenizer = section.get("tokenizer")
        if (tokenizer["name"] if isinstance(tokenizer, Mapping) and "name" in tokenizer else tokenizer) != "bpe":
            continue
        wanted = build(tokenizer, TOKENIZERS, f"data.streams.{name}.tokenizer")
        if wanted.path:
            continue
        lower = bool(section.get("lowercase", False))
        place = places.setdefault(json.dumps([wanted.wanted, wanted.captions, lower]), folder / name)
        if not (place / "tokenizer.json").exists():
            _train(source, wanted, lower, place)
        section["tokenizer"] = {"name": "bpe", "path": str(place)}
    return out


def _train(source: Source, wanted: Bpe, lower: bool, place: pathlib.Path) -> None:
    texts = list(itertools.islice(_captions(source, wanted.captions), wanted.captions))
    if not texts:
        raise UserError(f"{source.name}: no captions to train a tokenizer on; look at it with `mmjax data check`")
    train_bpe((text.lower() for text in texts) if lower else texts, wanted.wanted, place)


def _captions(source: Source, most: int) -> Iterator[str]:
    """Captions in the order of the source, bad items left out."""
    with progress.bar("reading captions", min(len(source), most)) as advance:
        for index in range(len(source)):
            advance()
            try:
                yield from source.captions(index)
            except BadItem:
                continue
