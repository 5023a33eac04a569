"""The retrieval grid: queries with their best candidates, right ones and wrong ones told apart by mark and colour."""

from collections.abc import Mapping
from html import escape

import numpy as np

from mmjax.report.data import Query, ReportData
from mmjax.report.svg import data_uri


def text_to_image(data: ReportData) -> str:
    """Captions that look for their picture, as HTML."""
    return "".join(_text_row(query, data.pictures) for query in data.text_queries)


def image_to_text(data: ReportData) -> str:
    """Pictures that look for their caption, as HTML."""
    return "".join(_image_row(query, data.pictures) for query in data.image_queries)


def badge(query: Query) -> str:
    """Where the right answer came."""
    if query.rank == 1:
        return '<span class="badge right">✓ first</span>'
    return f'<span class="badge wrong">✗ right one at rank {query.rank:,}</span>'


def image(pictures: Mapping[int, np.ndarray], item: int, alt: str = "") -> str:
    """One picture as `<img>`; small ones are enlarged with their pixels showing."""
    if item not in pictures:
        return '<span class="nopicture">no picture</span>'
    sharp = ' class="sharp"' if max(pictures[item].shape[:2]) < 48 else ""
    return f'<img{sharp} src="{data_uri(pictures[item])}" alt="{escape(alt)}" loading="lazy">'


def _text_row(query: Query, pictures: Mapping[int, np.ndarray]) -> str:
    cells = [
        _picture(pictures, item, score, "right" if right else "wrong", "✓" if right else "✗")
        for item, score, right in zip(query.items, query.scores, query.right, strict=True)
    ]
    if not any(query.right):
        item, _, score = query.answer
        cells.append('<span class="gap">…</span>' + _picture(pictures, item, score, "right missed", f"#{query.rank:,}"))
    asked = f"<p>{badge(query)}<q>{escape(query.text)}</q></p>"
    return f'<div class="query">{asked}<div class="hits">{"".join(cells)}</div></div>'


def _picture(pictures: Mapping[int, np.ndarray], item: int, score: float, kind: str, mark: str) -> str:
    return f'<figure class="hit {kind}">{image(pictures, item)}<figcaption>{mark} {score:.2f}</figcaption></figure>'


def _image_row(query: Query, pictures: Mapping[int, np.ndarray]) -> str:
    lines = [_caption(*line) for line in zip(query.texts, query.scores, query.right, strict=True)]
    if not any(query.right):
        _, text, score = query.answer
        lines.append(_caption(text, score, True, f"#{query.rank:,}"))
    picture = image(pictures, query.item, "the query")
    return f'<div class="query side"><div class="asked">{picture}{badge(query)}</div><ol>{"".join(lines)}</ol></div>'


def _caption(text: str, score: float, right: bool, mark: str = "") -> str:
    kind = "right" if right else "wrong"
    shown = mark or ("✓" if right else "✗")
    return f'<li class="{kind}"><span class="mark">{shown}</span><span>{escape(text)}</span><b>{score:.2f}</b></li>'
