"""Picks the examples of a report: queries found and missed, a corner of the similarity matrix, a map, attention."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int
from PIL import Image

from mmjax.data.texts import texts_of
from mmjax.errors import UserError
from mmjax.evaluation.predict import EvalSet, embed_set, truths
from mmjax.evaluation.ranking import TIE, wrong_before
from mmjax.report.attention import attention_maps
from mmjax.report.data import Query, ReportData

QUERIES, SHOWN, MATRIX, POINTS, ATTENTION = 8, 5, 32, 200, 9
THUMBNAILS = 30  # points of the map that show their picture
SIDE = 112  # pixels of a picture on the page, at most


@dataclasses.dataclass(frozen=True)
class Side:
    """One stream of the readable items, as queries or as candidates.

    Attributes:
      features: float32 `[n, d]`.
      items: int `[n]`.
      groups: int `[n]`; a candidate is right for a query of its group: the same item, or the same label.
      texts: caption of each row; "" for pictures.
    """

    features: Float[np.ndarray, "n d"]
    items: Int[np.ndarray, " n"]
    groups: Int[np.ndarray, " n"]
    texts: Sequence[str]

    def rows(self, at: Int[np.ndarray, " k"]) -> "Side":
        return Side(self.features[at], self.items[at], self.groups[at], [self.texts[i] for i in at])


def collect(model: Any, data: EvalSet, notes: Mapping[str, str], mesh: Mesh | None = None) -> ReportData:
    """Embeds the whole set and picks from it; the same model and data give the same picks.

    Args:
      model: has `task`, `params` and `streams`.
      notes: what the scores were measured with.

    Raises:
      UserError: the model does not embed both pictures and texts.
    """
    image = stream_of(model.streams, "image")
    images, texts = sides(model, data, image, stream_of(model.streams, "text"), mesh)
    firsts = texts.rows(np.unique(texts.items, return_index=True)[1])
    text_queries, image_queries = pick(firsts, images, mesh), pick(images, texts, mesh)
    corner, spread = np.arange(min(MATRIX, len(images.items))), spaced(len(images.items), POINTS)
    points, explained, gap = principal_axes(images.features[spread], firsts.features[spread])
    looked_at = images.items[spaced(len(images.items), ATTENTION)]
    shown = {item for query in (*text_queries, *image_queries) for item in (query.item, query.answer[0], *query.items)}
    shown |= {int(item) for part in (corner, spread[spaced(len(spread), THUMBNAILS)]) for item in images.items[part]}
    pixels = {item: picture(data, model.streams[image], item) for item in sorted(shown | set(looked_at.tolist()))}
    attention, kind = _attention(model, image, np.stack([pixels[int(item)] for item in looked_at]), mesh)
    caption_of = dict(zip(firsts.items.tolist(), firsts.texts, strict=True))
    return ReportData(
        size=len(images.items),
        pictures={item: thumbnail(array) for item, array in pixels.items()},
        captions={item: caption_of[item] for item in {*pixels, *images.items[spread].tolist()}},
        text_queries=text_queries,
        image_queries=image_queries,
        matrix=images.features[corner] @ firsts.features[corner].T,
        matrix_items=images.items[corner].tolist(),
        points=points,
        point_items=images.items[spread].tolist(),
        point_groups=_labels(data, images.items[spread]),
        explained=explained,
        gap=gap,
        attention=attention,
        attention_items=looked_at.tolist(),
        attention_kind=kind,
        notes=dict(notes),
    )


def stream_of(streams: Mapping[str, Any], kind: str) -> str:
    """The first stream of a kind."""
    for name, stream in streams.items():
        if stream.kind == kind:
            return name
    raise UserError(f"the model reads no {kind}, so there are no examples to show")


def sides(model: Any, data: EvalSet, image: str, text: str, mesh: Mesh | None) -> tuple[Side, Side]:
    """Both streams of the items that could be read in both."""
    embedded = {name: embed_set(model.task, model.params, data, name, mesh) for name in (image, text)}
    read = [rows.owner[rows.valid] for rows in embedded.values()]
    items = np.intersect1d(*read)
    if not len(items):
        raise UserError("no item could be read as both picture and text, so there are no examples to show")
    known = truths(data, items.tolist())
    labels = [known.get(int(item), {}).get("label") for item in items]
    keys = [str(item if label is None else f"label {label}") for item, label in zip(items, labels, strict=True)]
    groups = np.unique(keys, return_inverse=True)[1].astype(np.int32)

    def side(name: str, field: str | None) -> Side:
        rows = embedded[name]
        kept = np.flatnonzero(rows.valid & np.isin(rows.owner, items))
        owner = rows.owner[kept]
        which = kept - np.searchsorted(rows.owner, owner)  # an item's rows stand together
        pairs = zip(owner.tolist(), which.tolist(), strict=True)
        texts = [texts_of(data.source, item, field)[k] if field else "" for item, k in pairs]
        return Side(rows.features[kept], owner, groups[np.searchsorted(items, owner)], texts)

    return side(image, None), side(text, model.streams[text].field)


def pick(queries: Side, candidates: Side, mesh: Mesh | None = None) -> list[Query]:
    """Some queries whose best candidate is right and some whose is not, half and half where there are enough."""
    counts = wrong_before(queries.features, queries.groups, candidates.features, candidates.groups, mesh=mesh)
    ranks = counts[:, 0] + 1
    chosen = half_and_half(np.flatnonzero(ranks == 1), np.flatnonzero(ranks > 1), QUERIES)
    return [_query(queries.rows(np.array([row])), int(ranks[row]), candidates) for row in chosen]


def half_and_half(found: Int[np.ndarray, " n"], missed: Int[np.ndarray, " m"], wanted: int) -> list[int]:
    """As many found as missed, evenly spaced in each; where one kind is too few, more of the other."""
    misses = min(len(missed), max(wanted // 2, wanted - len(found)))
    hits = min(len(found), wanted - misses)
    return [*found[spaced(len(found), hits)].tolist(), *missed[spaced(len(missed), misses)].tolist()]


def _query(query: Side, rank: int, candidates: Side) -> Query:
    scores = candidates.features @ query.features[0]
    right = candidates.groups == query.groups[0]
    # Ties go to the wrong ones here too, so that what is shown agrees with the rank.
    order = np.argsort(-(scores - TIE * right), kind="stable")
    best, top = order[right[order]][0], order[:SHOWN]
    return Query(
        item=int(query.items[0]),
        text=query.texts[0],
        items=tuple(candidates.items[top].tolist()),
        texts=tuple(candidates.texts[i] for i in top),
        scores=tuple(scores[top].tolist()),
        right=tuple(right[top].tolist()),
        rank=rank,
        answer=(int(candidates.items[best]), candidates.texts[best], float(scores[best])),
    )


def principal_axes(
    images: Float[np.ndarray, "m d"], texts: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, "m 2 2"], float, float]:
    """Pictures and captions on the two axes along which they vary most, each around its own mean.

    Returns:
      points `[m, (picture, caption), 2]`; the share of the variance on them; the distance of the two means, the
      modality gap (Liang et al. 2022), which would otherwise be the first axis.
    """
    gap = float(np.linalg.norm(images.mean(0) - texts.mean(0)))
    centred = np.concatenate([images - images.mean(0), texts - texts.mean(0)])
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(
        axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    )  # an axis has no sign of its own: choose one
    points = np.zeros((len(centred), 2), np.float32)
    points[:, : min(2, len(axes))] = centred @ (axes * signs[:, None])[:2].T
    explained = float(np.sum(singular[:2] ** 2) / max(np.sum(singular**2), 1e-12))
    return np.stack(np.split(points, 2), axis=1), explained, gap


def picture(data: Any, transform: Any, item: int) -> np.ndarray:
    """Pixels uint8 `[h, w, 3]` of one item as the model sees them."""
    return transform(data.source[item].streams[transform.field], None)["data"]


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """No larger than the page shows it."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def spaced(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` of the numbers below `count`, evenly spaced, so that no part of the set is favoured."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)) if count else np.zeros(0, int)


def _attention(model: Any, stream: str, pixels: np.ndarray, mesh: Mesh | None) -> tuple[np.ndarray, str]:
    try:
        return attention_maps(model.task, model.params, stream, pixels, mesh)
    except UserError as error:
        return np.zeros((0, 0, 0), np.float32), f"none: {error}"


def _labels(data: Any, items: np.ndarray) -> list[str]:
    """Class name of each item, or nothing if any has none."""
    known = truths(data, items.tolist())
    labels = [known.get(int(item), {}).get("label") for item in items]
    if any(label is None for label in labels):
        return []
    names = getattr(data.source, "class_names", None)
    return [str(names[label] if names and isinstance(label, int) else label) for label in labels]
