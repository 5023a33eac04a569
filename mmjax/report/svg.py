"""Figures and pictures that live inside the page: SVG that follows its theme, and data URIs."""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Matplotlib writes fixed colours; these stand for the page's own, so that one figure is readable on light and dark.
INK, GRID = "#010101", "#010102"
SERIES = tuple(f"#0101{i:02x}" for i in range(0x10, 0x1A))
THEME = {INK: "var(--ink)", GRID: "var(--line)"} | {colour: f"var(--c{i})" for i, colour in enumerate(SERIES)}

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's font
    "svg.hashsalt": "mmjax",  # the same data give the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=SERIES),
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.color": GRID,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}


@contextmanager
def axes(width: float, height: float, fitted: bool = False) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on, `width` x `height` inches; the list holds the figure's SVG afterwards.

    `fitted` measures what stands around the axes, which takes as long as the drawing; else the margins are fixed.
    """
    out: list[str] = []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained" if fitted else None)
        if not fitted:
            figure.subplots_adjust(left=0.14, right=0.96, top=0.92, bottom=0.19)
        yield figure.add_subplot(), out
        out.append(to_svg(figure))


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element without a fixed size, in the page's colours and fonts."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in THEME.items():
        text = text.replace(colour, variable)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    return re.sub(r"font: (\d*\.?\d+px) [^;\"]+", r"font-size: \1", text)


def data_uri(pixels: np.ndarray, smooth: bool = True) -> str:
    """A uint8 `[h, w, 3]` picture as `data:image/...`: JPEG, or PNG where every pixel counts."""
    file = io.BytesIO()
    if smooth:
        Image.fromarray(pixels).save(file, "JPEG", quality=90, subsampling=0)
    else:
        Image.fromarray(pixels).save(file, "PNG", optimize=True)
    kind = "jpeg" if smooth else "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
