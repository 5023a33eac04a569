"""Maps of a model: similarities of pairs, the embedding space in two dimensions, attention over pictures."""

from html import escape

import matplotlib
import numpy as np
from PIL import Image

from mmjax.report.collect import THUMBNAILS, spaced
from mmjax.report.data import ReportData
from mmjax.report.grids import image
from mmjax.report.svg import axes, data_uri

WIDTH, HEIGHT, MARGIN = 1000.0, 620.0, 36.0


def similarity(data: ReportData) -> str:
    """The cosines of the first pairs as a heat map: a good model has a bright diagonal and nothing else."""
    with axes(6.2, 5.2, fitted=True) as (ax, out):
        ax.grid(False)
        shown = ax.imshow(data.matrix, cmap="viridis", interpolation="nearest")
        ax.figure.colorbar(shown, ax=ax, shrink=0.85, label="cosine")
        ax.set_xlabel("caption")
        ax.set_ylabel("picture")
    pairs = [
        f"<li><b>{row}</b>{image(data.pictures, item)}<span>{escape(data.captions[item])}</span></li>"
        for row, item in enumerate(data.matrix_items)
    ]
    listing = f'<ol class="pairs">{"".join(pairs)}</ol>'
    return f'<div class="matrix"><figure>{out[0]}</figure>{listing}</div>'


def embedding(data: ReportData) -> str:
    """Pictures (circles) and captions (triangles) on two principal axes, each pair joined by a line, as SVG."""
    points = _to_page(data.points)
    colours = _colours(data)
    lines, marks = [], []
    for i, item in enumerate(data.point_items):
        (x, y), (u, v) = points[i]
        title = f"<title>{escape(data.captions[item])}</title>"
        colour = f"var(--c{colours[i]})"
        other = colour if data.point_groups else "var(--c1)"
        lines.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{u:.1f}" y2="{v:.1f}"/>')
        marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">{title}</circle>')
        triangle = f"M{u:.1f} {v - 5:.1f}l4.6 8h-9.2z"
        marks.append(f'<path d="{triangle}" fill="{other}">{title}</path>')
    pictures = [_thumbnail(data, i, points[i][0]) for i in spaced(len(points), THUMBNAILS).tolist()]
    body = f'<g class="links">{"".join(lines)}</g><g>{"".join(marks)}</g>{"".join(pictures)}'
    return f'<svg class="map" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img">{body}</svg>{_legend(data)}'


def _to_page(points: np.ndarray) -> np.ndarray:
    """Scales `[m, 2, 2]` to the page with one factor for both axes, so that distances keep their proportion."""
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    room = np.array([WIDTH, HEIGHT]) - 2 * MARGIN
    factor = (room / np.maximum(high - low, 1e-9)).min()
    return (points - (low + high) / 2) * factor * np.array([1, -1]) + np.array([WIDTH, HEIGHT]) / 2


def _colours(data: ReportData) -> list[int]:
    names = sorted(set(data.point_groups))
    return [names.index(name) % 10 for name in data.point_groups] or [0] * len(data.point_items)


def _thumbnail(data: ReportData, index: int, at: np.ndarray, side: float = 40.0) -> str:
    item = data.point_items[index]
    if item not in data.pictures:
        return ""
    x, y = at - np.array([side / 2, side + 6])
    href = data_uri(data.pictures[item])
    title = f"<title>{escape(data.captions[item])}</title>"
    return f'<image x="{x:.1f}" y="{y:.1f}" width="{side}" height="{side}" href="{href}">{title}</image>'


def _legend(data: ReportData) -> str:
    first, second = ("currentColor", "currentColor") if data.point_groups else ("var(--c0)", "var(--c1)")
    shapes = {
        "pictures": f'<circle cx="5" cy="5" r="4" fill="{first}"/>',
        "captions": f'<path d="M5 1l4.6 8h-9.2z" fill="{second}"/>',
    }
    spans = [f'<span><svg viewBox="0 0 10 10">{shape}</svg>{name}</span>' for name, shape in shapes.items()]
    for i, name in enumerate(sorted(set(data.point_groups))):
        spans.append(f'<span><i style="background:var(--c{i % 10})"></i>{escape(name)}</span>')
    return f'<div class="legend">{"".join(spans)}</div>'


def attention(data: ReportData) -> str:
    """Each picture beside itself under its attention weights, as HTML."""
    cells = []
    for item, weights in zip(data.attention_items, data.attention, strict=False):
        if item in data.pictures:
            over = f'<img src="{data_uri(overlay(data.pictures[item], weights))}" alt="attention" loading="lazy">'
            caption = f"<figcaption>{escape(data.captions[item])}</figcaption>"
            cells.append(f"<figure>{image(data.pictures, item)}{over}{caption}</figure>")
    return f'<div class="attention">{"".join(cells)}</div>'


def overlay(pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A uint8 picture in grey, coloured by where the weights `[g, g]` are, from none to the map's largest."""
    height, width = pixels.shape[:2]
    scaled = np.asarray(weights / max(float(weights.max()), 1e-12), np.float32)
    smooth = Image.fromarray(scaled).resize((width, height), Image.Resampling.BICUBIC)
    heat = matplotlib.colormaps["inferno"](np.clip(np.asarray(smooth), 0, 1))[..., :3]
    grey = pixels.mean(axis=-1, keepdims=True) / 255
    return ((0.4 * grey + 0.6 * heat) * 255).astype(np.uint8)
