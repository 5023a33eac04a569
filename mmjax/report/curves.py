"""Curves of a run: what was learnt (metrics.jsonl), how fast (timing.jsonl), and where the time went."""

import json
import pathlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.ticker import LogFormatter, MaxNLocator

from mmjax.report.svg import axes

Line = Mapping[str, Any]  # step, and name → number; null where it was not finite; skipped.jsonl holds text too
Series = tuple[np.ndarray, np.ndarray]

POINTS = 400  # more than a figure has pixels: a long run is averaged in this many bins
LOGARITHMIC = ("gradient_norm", "update_norm")
CONSTANT = ("queries", "count", "images", "sha256", "skipped")  # of an evaluation: not worth a curve
TYPES = "eval/answer/type"  # of questions: one of them is called count
SCALES = {"median_rank": "rank", "perplexity": "perplexity", "tokens": "tokens", "CIDEr-D": "CIDEr-D"}  # no shares
PARTS = {
    "step": "training steps",
    "evaluate": "evaluation",
    "save": "saving",
    "data": "waiting for data",
    "compile": "compiling",
}


def read(file: pathlib.Path) -> list[Line]:
    """The whole lines of a file of JSON lines; none where there is no file. A line cut short is left out."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def series(lines: Sequence[Line]) -> dict[str, Series]:
    """`{key: (steps, values)}`; NaN where a value was not finite."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in lines:
        for key, value in line.items():
            if key != "step" and (value is None or isinstance(value, (int, float))):
                found[key].append((line.get("step", 0), np.nan if value is None else value))
    return {key: tuple(np.array(points, float).T) for key, points in found.items()}


def charts(found: Mapping[str, Series]) -> list[tuple[str, dict[str, Series]]]:
    """Which curves share a chart: losses; recalls of one direction; classes; foils. Constants are left out."""
    out: dict[str, dict[str, Series]] = defaultdict(dict)
    for key, (steps, values) in found.items():
        prefix, _, name = key.rpartition("/")
        constant = name.endswith(CONSTANT) and prefix != TYPES
        if constant or (prefix == "train" and len(values) > 1 and np.ptp(values) == 0):
            continue
        if prefix == "train":
            title = "loss" if "loss" in name or "-" in name else name.replace("_", " ")
        else:
            scale = f" ({SCALES[name]})" if name in SCALES else ""
            title = prefix.removeprefix("eval/").replace("_", " ") + scale
        out[title][name] = (steps, values)
    return sorted(out.items(), key=lambda chart: (chart[0] != "loss", "/" not in chart[0] and "eval" in chart[0]))


def learning(lines: Sequence[Line]) -> str:
    """The charts of metrics.jsonl as HTML."""
    figures = [figure(title, curves) for title, curves in charts(series(lines))]
    return f'<div class="charts">{"".join(figures)}</div>'


def speed(lines: Sequence[Line]) -> str:
    """Examples a second, the share of time spent waiting, utilisation and memory, as HTML."""
    found = series(lines)
    titles = {
        "examples_per_second": "examples / s",
        "data_wait_share": "share of time waiting for data",
        "mfu": "model FLOPs utilisation",
        "device_memory_peak_bytes": "peak device memory, bytes",
    }
    figures = [figure(title, {key: found[key]}) for key, title in titles.items() if key in found]
    return f'<div class="charts">{"".join(figures)}</div>'


def figure(title: str, curves: Mapping[str, Series]) -> str:
    """One chart with its title; the only curve of a chart needs no legend."""
    with axes(4.2, 2.5) as (ax, out):
        for name, (steps, values) in list(curves.items())[:10]:
            x, y = thin(steps, values)
            ax.plot(x, y, label=name, marker="o" if len(x) < 25 else None, markersize=3)
        if any(name in LOGARITHMIC for name in curves):
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))  # below 1.5 decades
        else:
            ax.ticklabel_format(axis="y", scilimits=(-3, 5))
        if len(curves) > 1:
            ax.legend(fontsize=8, ncols=2 if len(curves) > 4 else 1)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=(1, 2, 5, 10)))
        ax.set_xlabel("step")
    return f"<figure><figcaption>{escape(title)}</figcaption>{out[0]}</figure>"


def thin(steps: np.ndarray, values: np.ndarray, points: int = POINTS) -> Series:
    """Means of at most `points` bins of neighbours; a bin with a non-finite value is a gap."""
    if len(steps) <= points:
        return steps, values
    bins = np.array_split(np.arange(len(steps)), points)
    return np.array([steps[b].mean() for b in bins]), np.array([values[b].mean() for b in bins])


def goodput(shares: Mapping[str, float]) -> str:
    """The shares of the wall time as one bar, as HTML; `shares` as in `goodput/step`."""
    parts = {part: float(shares.get(f"goodput/{part}", 0.0)) for part in PARTS}
    parts["other"] = max(1.0 - sum(parts.values()), 0.0)
    bars = [
        f'<i style="width:{100 * share:.2f}%;background:var(--c{i})" title="{name} {share:.1%}"></i>'
        for i, (name, share) in enumerate(parts.items())
        if share > 0
    ]
    legend = [
        f'<span><i style="background:var(--c{i})"></i>{PARTS.get(name, name)} <b>{share:.1%}</b></span>'
        for i, (name, share) in enumerate(parts.items())
    ]
    return f'<div class="bar">{"".join(bars)}</div><div class="legend">{"".join(legend)}</div>'
