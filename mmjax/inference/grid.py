"""The hits of a search as one HTML file: pictures, texts and scores. No scripts, no requests."""

import pathlib
import string
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.decode import decode
from mmjax.data.skips import item_id
from mmjax.data.texts import texts_of
from mmjax.errors import BadItem
from mmjax.inference.index import Hit
from mmjax.report.svg import data_uri

TEMPLATE = pathlib.Path(__file__).with_name("grid.html")
SIDE = 256  # pixels of a picture, at most
SHARP = 64  # pictures up to this side are drawn in pixels, not photographed


def render(title: str, subtitle: str, query: np.ndarray | None, hits: Sequence[Hit], source: Any, field: str) -> str:
    """The page as HTML.

    Args:
      title, subtitle: of the page, plain text.
      query: the picture that was searched for, uint8 `[h, w, 3]`, or None.
      source: where the pictures are; an item that cannot be read, or is no longer the one embedded, shows none.
      field: of the picture in the source's items.
    """
    cells = [_cell(hit, picture(source, hit, field), hit.text or _caption(source, hit)) for hit in hits]
    asked = "" if query is None else f'<div class="asked">{_image(query, "the query")}</div>'
    page = string.Template(TEMPLATE.read_text("utf-8"))
    return page.substitute(
        title=escape(title), subtitle=escape(subtitle), query=asked, hits="\n".join(cells), count=f"{len(hits):,}"
    )


def picture(source: Any, hit: Hit, field: str) -> np.ndarray | None:
    """The picture of a hit, uint8 `[h, w, 3]`, small; None where it cannot be had."""
    if not _same(source, hit):
        return None
    try:
        value = source[hit.item].streams.get(field)
        return None if value is None else thumbnail(decode(value, SIDE))
    except BadItem:
        return None


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """No larger than the page shows it."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _same(source: Any, hit: Hit) -> bool:
    """Whether the source still has this item at its place."""
    name = item_id(source, hit.item) if hit.item < len(source) else None
    return name is not None and name.encode("utf-8", "backslashreplace").decode() == hit.id


def _caption(source: Any, hit: Hit) -> str:
    try:
        return next(iter(texts_of(source, hit.item, "caption")), "") if _same(source, hit) else ""
    except BadItem:
        return ""


def _cell(hit: Hit, pixels: np.ndarray | None, text: str) -> str:
    shown = '<span class="nopicture">no picture</span>' if pixels is None else _image(pixels, text or hit.id)
    told = f"<p>{escape(text)}</p>" if text else ""
    return (
        f"<figure>{shown}<figcaption><b>{hit.score:.3f}</b> <code>{escape(hit.id)}</code>{told}</figcaption></figure>"
    )


def _image(pixels: np.ndarray, alt: str) -> str:
    sharp = max(pixels.shape[:2]) <= SHARP
    return f'<img{" class=sharp" if sharp else ""} src="{data_uri(pixels, smooth=not sharp)}" alt="{escape(alt)}">'
