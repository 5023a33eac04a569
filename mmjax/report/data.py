"""What a report shows of a model: the examples that `collect` picks, kept in the run folder to remake the page."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FILE = "report_data.npz"


@dataclasses.dataclass(frozen=True)
class Query:
    """One query of the retrieval grid and its best candidates, best first.

    Attributes:
      item: the item that the query belongs to.
      text: the caption that asks or, when a picture asks, "".
      items, texts, scores, right: of each candidate: item, caption ("" for pictures), cosine, whether it is right.
      rank: of the best right candidate among all, from 1; ties with wrong ones count against it.
      answer: (item, text, score) of the best right candidate.
    """

    item: int
    text: str
    items: tuple[int, ...]
    texts: tuple[str, ...]
    scores: tuple[float, ...]
    right: tuple[bool, ...]
    rank: int
    answer: tuple[int, str, float]


@dataclasses.dataclass(frozen=True)
class ReportData:
    """Examples of one model on one set.

    Attributes:
      size: items among which was searched.
      pictures: {item: uint8 `[h, w, 3]`} as the model sees them, of the items that appear below.
      captions: {item: first caption}, of those items.
      text_queries, image_queries: the retrieval grid.
      matrix: float32 `[k, k]`, cosines of the pictures (rows) and captions (columns) of `matrix_items`.
      points: float32 `[m, 2, 2]`, picture and caption of each of `point_items` on the first two principal axes.
      point_groups: label names of those items; empty where they have none.
      explained: share of the variance that the two axes hold.
      gap: distance between the mean picture and the mean caption, taken out before the axes were found.
      attention: float32 `[a, g, g]`, weights that sum to 1 over each picture of `attention_items`.
      attention_kind: which weights those are, or why there are none.
      notes: {what: how}, what the scores were measured with.
    """

    size: int
    pictures: Mapping[int, np.ndarray]
    captions: Mapping[int, str]
    text_queries: Sequence[Query]
    image_queries: Sequence[Query]
    matrix: np.ndarray
    matrix_items: Sequence[int]
    points: np.ndarray
    point_items: Sequence[int]
    point_groups: Sequence[str]
    explained: float
    gap: float
    attention: np.ndarray
    attention_items: Sequence[int]
    attention_kind: str
    notes: Mapping[str, str]


ARRAYS = ("matrix", "points", "attention")


def save(run: pathlib.Path, data: ReportData) -> None:
    """Writes `RUN/report_data.npz`."""
    fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    arrays = {name: fields.pop(name) for name in ARRAYS}
    pictures = fields.pop("pictures")
    for name in ("text_queries", "image_queries"):
        fields[name] = [dataclasses.asdict(query) for query in fields[name]]
    arrays |= {f"picture_{item}": picture for item, picture in pictures.items()}
    np.savez_compressed(run / FILE, meta=np.array(json.dumps(fields)), **arrays)


def load(run: pathlib.Path) -> ReportData | None:
    """Reads it back; None where there is none."""
    if not (run / FILE).is_file():
        return None
    with np.load(run / FILE) as file:
        fields: dict[str, Any] = json.loads(str(file["meta"]))
        fields |= {name: file[name] for name in ARRAYS}
        fields["pictures"] = numbered(file, "picture_")
    fields["captions"] = {int(item): text for item, text in fields["captions"].items()}
    for name in ("text_queries", "image_queries"):
        fields[name] = [Query(**tuples(query)) for query in fields[name]]
    return ReportData(**fields)


def numbered(file: Any, prefix: str) -> dict[int, np.ndarray]:
    """The arrays of an npz file that are named by this and a number."""
    return {int(name.removeprefix(prefix)): file[name] for name in file.files if name.startswith(prefix)}


def tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that went through JSON, which knows no tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
