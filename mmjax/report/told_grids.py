"""Written texts beside their pictures, right ones and wrong ones told apart, and their words over the pictures."""

from collections import Counter
from html import escape

import numpy as np

from mmjax.report.grids import image
from mmjax.report.maps import overlay
from mmjax.report.svg import data_uri
from mmjax.report.told import Text, Told


def texts(told: Told) -> str:
    """All texts as HTML, each with its question and with what people wrote."""
    return f'<div class="told">{"".join(_card(text, told) for text in told.texts)}</div>'


def words(told: Told) -> str:
    """Those texts whose maps are kept, word by word, as HTML."""
    return "".join(_looks(text, told.pictures[text.item], told.maps[text.item]) for text in told.texts if text.words)


def shade(text: Text) -> str:
    """The text, each piece on a ground that is the darker the less likely the piece was."""
    spans = []
    for piece, chance in zip(text.pieces, text.chances, strict=True):
        shown = piece.lstrip()
        blank = piece[: len(piece) - len(shown)]
        spans.append(f'{blank}<span style="--p:{chance:.2f}" title="{chance:.1%}">{escape(shown)}</span>')
    return f'<span class="said">{"".join(spans) or "(nothing)"}</span>'


def badge(text: Text) -> str:
    """Whether it is right, as far as that is known."""
    if text.right is None:
        return ""
    kind, mark = ("right", "✓") if text.right else ("wrong", "✗")
    return f'<span class="badge {kind}">{mark} {escape(text.verdict)}</span>'


def _card(text: Text, told: Told) -> str:
    kind = {True: "right", False: "wrong", None: ""}[text.right]
    question = f"<p><q>{escape(text.question)}</q></p>" if text.question else ""
    given = [
        escape(one) + (f" × {count}" if count > 1 else "") for one, count in Counter(text.references).most_common()
    ]
    items = "".join(f"<li>{one}</li>" for one in given)
    body = f"{badge(text)}{question}<p>{shade(text)}</p><ul>{items}</ul>"
    return f'<div class="text {kind}">{image(told.pictures, text.item)}<div>{body}</div></div>'


def _looks(text: Text, picture: np.ndarray, maps: np.ndarray) -> str:
    cells = [f"<figure>{image({text.item: picture}, text.item)}<figcaption>&nbsp;</figcaption></figure>"]
    for word, weights in zip(text.words, maps, strict=True):
        over = f'<img src="{data_uri(overlay(picture, weights))}" alt="attention" loading="lazy">'
        cells.append(f"<figure>{over}<figcaption>{escape(word)}</figcaption></figure>")
    question = f"<q>{escape(text.question)}</q> " if text.question else ""
    said = f"<p>{badge(text)}{question}{escape(''.join(text.pieces))}</p>"
    return f'<div class="query">{said}<div class="words">{"".join(cells)}</div></div>'
