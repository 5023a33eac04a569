"""The page: sections from whatever a run folder holds. A part that is missing says so and hides nothing else.

Everything that is not ours (captions, file names, config values) is escaped, and the page allows no scripts and no
requests.
"""

import json
import pathlib
import string
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from mmjax.config import flatten
from mmjax.report import curves, grids, maps
from mmjax.report.data import ReportData

TEMPLATE = pathlib.Path(__file__).with_name("template.html")
TILES = (
    ("retrieval/text_to_image/R@1", "text → image R@1"),
    ("retrieval/image_to_text/R@1", "image → text R@1"),
    ("zero_shot/top1", "zero-shot top-1"),
    ("zero_shot/top5", "zero-shot top-5"),
    ("foils/colour", "colour foils"),
    ("foils/relation", "relation foils"),
)
SKIPS_SHOWN = 200


def render(run: pathlib.Path, data: ReportData | None, why_none: str = "no examples were collected") -> str:
    """The whole page as HTML.

    Args:
      run: a run folder; any of its files may be missing.
      data: the examples to show, or None.
      why_none: said where examples would stand.
    """
    scores, environment, config = (read_json(run / f"{name}.json") for name in ("evaluation", "environment", "config"))
    timing = curves.read(run / "timing.jsonl")
    examples = _examples(data, why_none)
    sections = [
        ("Results", results(scores, data)),
        ("Learning", learning(run / "metrics.jsonl")),
        ("Speed", speed(timing, environment)),
        *examples,
        ("Skipped items", skipped(run)),
        ("Config", table(config, "config.json is missing.")),
        ("Environment", table(environment, "environment.json is missing.")),
    ]
    named = [(title.lower().replace(" ", "-"), title, body) for title, body in sections]
    page = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    return page.substitute(
        title=escape(run.resolve().name),
        subtitle=subtitle(config, environment, timing),
        tiles=tiles(scores),
        nav="".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in named),
        body="\n".join(f'<section id="{anchor}"><h2>{title}</h2>{body}</section>' for anchor, title, body in named),
    )


def read_json(file: pathlib.Path) -> dict[str, Any]:
    """A JSON object; empty where there is none or it is broken."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def subtitle(config: Mapping[str, Any], environment: Mapping[str, Any], timing: list[curves.Line]) -> str:
    """Steps, batch, devices and time in one line."""
    parts = [f"{config['steps']:,} steps" if "steps" in config else ""]
    parts.append(f"batch {config['batch_size']:,}" if "batch_size" in config else "")
    parts.append(escape(str(environment.get("devices", ""))))
    seconds = timing[-1].get("wall_seconds") if timing else None
    parts.append(f"{seconds / 60:,.1f} minutes" if seconds else "")
    return " · ".join(part for part in parts if part)


def tiles(scores: Mapping[str, float]) -> str:
    """The headline numbers."""
    found = [(label, scores[key]) for key, label in TILES if key in scores]
    return "".join(f'<div class="tile"><b>{value:.1%}</b><span>{escape(label)}</span></div>' for label, value in found)


def results(scores: Mapping[str, Any], data: ReportData | None) -> str:
    """The final numbers as tables, classes apart, and what they were measured with."""
    if not scores:
        return missing("evaluation.json is missing or empty: the run was not evaluated at its end.")
    classes = {key: value for key, value in scores.items() if key.startswith("zero_shot/class/")}
    rest = {key: value for key, value in scores.items() if key not in classes}
    out = [f'<div class="columns">{rows({key: number(key, value) for key, value in rest.items()})}</div>']
    if classes:
        worst = dict(sorted(classes.items(), key=lambda item: item[1]))
        shown = {key.removeprefix("zero_shot/class/"): number(key, value) for key, value in worst.items()}
        listing = f'<div class="columns">{rows(shown)}</div>'
        out.append(f"<details><summary>accuracy per class, worst first</summary>{listing}</details>")
    if data and data.notes:
        out.append(rows(dict(data.notes), number=False))
    return "".join(out)


def number(key: str, value: Any) -> str:
    """A metric as a reader wants it: counts whole, rates to four places, a hash as such."""
    if key.endswith("sha256"):
        return f"{int(value):012x}"
    if isinstance(value, int) or key.endswith(("median_rank", "count", "queries")):
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:.4f}"


def rows(values: Mapping[str, Any], number: bool = True) -> str:
    """Two columns: names and values."""
    kind = ' class="number"' if number else ""
    lines = [
        f'<tr><td class="key">{escape(str(k))}</td><td{kind}>{escape(str(v))}</td></tr>' for k, v in values.items()
    ]
    return f"<table>{''.join(lines)}</table>"


def learning(file: pathlib.Path) -> str:
    """The curves of what was learnt."""
    lines = curves.read(file)
    return curves.learning(lines) if lines else missing("metrics.jsonl is missing or empty.")


def speed(timing: list[curves.Line], environment: Mapping[str, Any]) -> str:
    """Rates over the run, and where the wall time went."""
    if not timing:
        return missing("timing.jsonl is missing or empty.")
    shares = {
        key: value for line in (timing[-1], environment) for key, value in line.items() if key.startswith("goodput/")
    }
    bar = f"<h3>Where the wall time went</h3>{curves.goodput(shares)}" if shares else ""
    return curves.speed(timing) + bar


def skipped(run: pathlib.Path) -> str:
    """How many items could not be used, and which; each host has listed what it read, in another epoch another's."""
    lines = [line for file in sorted(run.glob("skipped*.jsonl")) for line in curves.read(file)]
    lines = list({(line.get("source"), line.get("index")): line for line in lines}.values())
    if not lines:
        return "<p>No item is listed as skipped.</p>"
    keys = [key for key in ("step", "source", "id", "reason") if key in lines[0]]
    head = "".join(f"<th>{key}</th>" for key in keys)
    body = ["".join(f"<td>{escape(str(line.get(key, '')))}</td>" for key in keys) for line in lines[:SKIPS_SHOWN]]
    listing = f"<table><tr>{head}</tr>{''.join(f'<tr>{cells}</tr>' for cells in body)}</table>"
    more = f", the first {SKIPS_SHOWN} of them here; skipped.jsonl has all" if len(lines) > SKIPS_SHOWN else ""
    return f"<p>Items skipped: {len(lines):,}{more}.</p><details><summary>list</summary>{listing}</details>"


def table(values: Mapping[str, Any], absent: str) -> str:
    """A nested section, flattened to dotted keys."""
    if not values:
        return missing(absent)
    return f'<div class="columns">{rows(flatten(values), number=False)}</div>'


def missing(text: str) -> str:
    """A paragraph that says why a part is not there."""
    return f'<p class="missing">{escape(text)}</p>'


def lead(text: str) -> str:
    """An introductory paragraph; its text is HTML already."""
    return f'<p class="lead">{text}</p>'


def _examples(data: ReportData | None, why_none: str) -> list[tuple[str, str]]:
    """The sections that show pictures and captions."""
    makers: dict[str, Callable[[ReportData], str]] = {
        "Retrieval": _retrieval,
        "Similarity": lambda d: (
            lead("Cosines of the first pairs of the set; the pairs are on the diagonal.") + maps.similarity(d)
        ),
        "Embedding map": _embedding,
        "Attention": _attention,
    }
    return [(title, make(data) if data else missing(f"Not shown: {why_none}.")) for title, make in makers.items()]


def _retrieval(data: ReportData) -> str:
    text = lead(f"Found and missed, in equal parts where possible, among {data.size:,} items; numbers are cosines.")
    return f"{text}<h3>Text → image</h3>{grids.text_to_image(data)}<h3>Image → text</h3>{grids.image_to_text(data)}"


def _embedding(data: ReportData) -> str:
    text = (
        f"{len(data.point_items)} pairs on the two axes of largest variance ({data.explained:.0%} of it), each "
        f"modality around its own mean; the means are {data.gap:.2f} apart (the modality gap). Hover for the caption."
    )
    return lead(text) + maps.embedding(data)


def _attention(data: ReportData) -> str:
    if not len(data.attention):
        return missing(f"Attention: {data.attention_kind}.")
    side = data.attention.shape[1]
    text = f"Weights of the {side} × {side} patches: {escape(data.attention_kind)}. Bright: the largest."
    return lead(text) + maps.attention(data)
