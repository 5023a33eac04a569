"""What a report shows of a model that writes: what `collect_told` picks, kept in the run folder to remake the page."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from mmjax.report.data import numbered, tuples

FILE = "report_told.npz"


@dataclasses.dataclass(frozen=True)
class Text:
    """One text that the model wrote.

    Attributes:
      item: the item that it is about.
      question: that it answers; "" for none.
      pieces: of the text, token by token; a character of several tokens is one piece.
      chances: the probability that the model gave each piece.
      references: what people wrote, or the source of the data.
      right: None where that is not known.
      verdict: in words; "" where there is none.
      words: those of the text whose maps are kept.
    """

    item: int
    question: str
    pieces: tuple[str, ...]
    chances: tuple[float, ...]
    references: tuple[str, ...]
    right: bool | None
    verdict: str
    words: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Told:
    """Texts of one model about one set.

    Attributes:
      size: items among which they were chosen.
      pictures: {item: uint8 `[h, w, 3]`} as the model sees them.
      texts: right ones before wrong ones.
      maps: {item: float32 `[k, g, g]`}, weights over the patches for each of the k `words` of its text.
      no_maps: why there are none; "" where there are.
      notes: {what: how}, what the scores were measured with.
    """

    size: int
    pictures: Mapping[int, np.ndarray]
    texts: Sequence[Text]
    maps: Mapping[int, np.ndarray]
    no_maps: str
    notes: Mapping[str, str]

    @property
    def asked(self) -> bool:
        """Whether the texts are answers."""
        return any(text.question for text in self.texts)


def save(run: pathlib.Path, told: Told) -> None:
    """Writes `RUN/report_told.npz`."""
    texts = [dataclasses.asdict(text) for text in told.texts]
    meta = {"size": told.size, "texts": texts, "no_maps": told.no_maps, "notes": dict(told.notes)}
    arrays = {f"picture_{item}": picture for item, picture in told.pictures.items()}
    arrays |= {f"map_{item}": maps for item, maps in told.maps.items()}
    np.savez_compressed(run / FILE, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]


def load(run: pathlib.Path) -> Told | None:
    """Reads it back; None where there is none."""
    if not (run / FILE).is_file():
        return None
    with np.load(run / FILE) as file:
        meta = json.loads(str(file["meta"]))
        pictures, maps = numbered(file, "picture_"), numbered(file, "map_")
    texts = [Text(**tuples(text)) for text in meta.pop("texts")]
    return Told(texts=texts, pictures=pictures, maps=maps, **meta)
