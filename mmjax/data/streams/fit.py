"""Tokenizers that a config asks for but that do not exist yet: trained on the run's own texts before it starts."""

import itertools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mmjax import progress
from mmjax.config import build
from mmjax.data.sources import Source
from mmjax.data.texts import CAPTION, TRUTHS, texts_of
from mmjax.data.tokenizers import TOKENIZERS, train_bpe
from mmjax.errors import BadItem, UserError

WISH = "trained_as.json"  # beside a tokenizer, what it was asked to be


def fit_tokenizers(
    sections: Mapping[str, Mapping[str, Any]], sources: Sequence[Source], folder: pathlib.Path
) -> dict[str, dict[str, Any]]:
    """Trains every `bpe` tokenizer without a path on the first texts of the sources, as many of each.

    Streams whose tokenizer sections (and `lowercase`) are equal share one, trained on the texts of all of them, so that
    questions and answers have the same ids. One that is already in the folder is kept:
    a resumed run must read its texts as before, so one that was trained otherwise is refused.

    Args:
      sections: {stream: section}.
      folder: tokenizers are written to FOLDER/STREAM.

    Returns:
      The sections, with the paths of what was trained.

    Raises:
      UserError: a section is wrong, or there are no captions to train on.
    """
    out = {name: dict(section) for name, section in sections.items()}
    wishes = {name: wish for name, section in out.items() if (wish := _wish(name, section))}
    fields = fields_of(sections)
    places: dict[_Wish, pathlib.Path] = {}
    for name, wish in wishes.items():
        place = places.setdefault(wish, folder / name)
        if not (place / "tokenizer.json").exists():
            place.mkdir(parents=True, exist_ok=True)
            (place / WISH).write_text(wish.text + "\n")  # first: a run killed in between trains once more
            _train(sources, wish, place, list(dict.fromkeys(fields[n] for n, other in wishes.items() if other == wish)))
        elif not (place / WISH).exists() or (place / WISH).read_text().strip() != wish.text:
            raise UserError(
                f"{place}: holds a tokenizer that was trained otherwise than data.streams.{name} asks ({wish.text}); "
                "remove that folder to start anew, or take another --workdir"
            )
        out[name]["tokenizer"] = {"name": "bpe", "path": str(place)}
    return out


class _Wish(NamedTuple):
    """A tokenizer that is yet to be trained; streams with equal ones share it."""

    size: int
    captions: int
    lowercase: bool

    @property
    def text(self) -> str:
        return json.dumps(self._asdict())


def _wish(name: str, section: Mapping[str, Any]) -> _Wish | None:
    """What a stream's section asks to be trained; None if nothing."""
    tokenizer = section.get("tokenizer")
    if (tokenizer["name"] if isinstance(tokenizer, Mapping) and "name" in tokenizer else tokenizer) != "bpe":
        return None
    wanted = build(tokenizer, TOKENIZERS, f"data.streams.{name}.tokenizer")
    return None if wanted.path else _Wish(wanted.wanted, wanted.captions, bool(section.get("lowercase", False)))


def fields_of(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """{stream: the field whose texts it trains on}; foils and the like, which cost a picture to read, add no words."""
    fields = {name: str(section.get("field", CAPTION)) for name, section in sections.items()}
    return {name: field if field in TRUTHS else CAPTION for name, field in fields.items()}


def _train(sources: Sequence[Source], wish: _Wish, place: pathlib.Path, fields: Sequence[str]) -> None:
    share = -(-wish.captions // len(sources))
    texts = [text for source in sources for text in itertools.islice(_texts(source, share, fields), share)]
    if not texts:
        names = ", ".join(source.name for source in sources)
        told = " or ".join(f"{field}s" for field in fields)
        raise UserError(f"{names}: no {told} to train a tokenizer on; look at it with `mmjax data check`")
    train_bpe((text.lower() for text in texts) if wish.lowercase else texts, wish.size, place)


def _texts(source: Source, most: int, fields: Sequence[str]) -> Iterator[str]:
    """Texts in the order of the source, bad items left out."""
    with progress.bar("reading texts", min(len(source), most)) as advance:
        for index in range(len(source)):
            advance()
            try:
                for field in fields:
                    yield from texts_of(source, index, field)
            except BadItem:
                continue
