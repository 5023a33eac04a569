"""The page: sections from whatever a run folder holds. A part that is missing says so and hides nothing else.

Everything that is not ours (captions, file names, config values) is escaped, and the page allows no scripts and no
requests.
"""

import json
import pathlib
import string
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mmjax.config import flatten
from mmjax.report import curves, grids, maps, told_grids
from mmjax.report.data import ReportData
from mmjax.report.told import Told

Part = ReportData | Told | str  # examples of one kind, or why there are none

TEMPLATE = pathlib.Path(__file__).with_name("template.html")
TILES = (
    ("retrieval/text_to_image/R@1", "text → image R@1"),
    ("retrieval/image_to_text/R@1", "image → text R@1"),
    ("zero_shot/top1", "zero-shot top-1"),
    ("zero_shot/top5", "zero-shot top-5"),
    ("foils/colour", "colour foils"),
    ("foils/relation", "relation foils"),
    ("caption/true", "captions true"),
    ("caption/CIDEr-D", "CIDEr-D"),
    ("caption/BLEU-4", "BLEU-4"),
    ("answer/accuracy", "answers right"),
)
NO_SHARES = ("caption/CIDEr-D",)
CLASSES, TYPES = "zero_shot/class/", "answer/type/"
SKIPS_SHOWN = 200


def render(run: pathlib.Path, parts: Sequence[Part]) -> str:
    """The whole page as HTML.

    Args:
      run: a run folder; any of its files may be missing.
      parts: the examples to show.
    """
    scores, environment, config = (read_json(run / f"{name}.json") for name in ("evaluation", "environment", "config"))
    timing = curves.read(run / "timing.jsonl")
    measured = {what: how for part in parts if not isinstance(part, str) for what, how in part.notes.items()}
    sections = [
        ("Results", results(scores, measured)),
        ("Learning", learning(run / "metrics.jsonl")),
        ("Speed", speed(timing, environment)),
        *(section for part in parts or ("no examples were collected",) for section in _examples(part)),
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
    found = [(key, label, scores[key]) for key, label in TILES if key in scores]
    shown = [(label, f"{value:.2f}" if key in NO_SHARES else f"{value:.1%}") for key, label, value in found]
    return "".join(f'<div class="tile"><b>{value}</b><span>{escape(label)}</span></div>' for label, value in shown)


def results(scores: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    """The final numbers as tables, classes and types of questions apart, and what they were measured with."""
    if not scores:
        return missing("evaluation.json is missing or empty: the run was not evaluated at its end.")
    rest = {key: number(key, value) for key, value in scores.items() if not key.startswith((CLASSES, TYPES))}
    out = [f'<div class="columns">{rows(rest)}</div>' if rest else ""]
    for prefix, title in ((CLASSES, "class"), (TYPES, "type of question")):
        own = {key.removeprefix(prefix): value for key, value in scores.items() if key.startswith(prefix)}
        if own:
            listing = f'<div class="columns">{rows(worst_first(own))}</div>'
            out.append(f"<details><summary>accuracy per {title}, worst first</summary>{listing}</details>")
    return "".join(out) + (rows(notes, number=False) if notes else "")


def worst_first(scores: Mapping[str, Any]) -> dict[str, str]:
    """Accuracies in ascending order, each with how many items it is of where there is a `NAME/count`."""
    rates = {name: value for name, value in scores.items() if not name.endswith("/count")}
    of = {name: f" of {scores[f'{name}/count']:,}" if f"{name}/count" in scores else "" for name in rates}
    return {name: f"{rates[name]:.4f}{of[name]}" for name in sorted(rates, key=lambda name: rates[name])}


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


def _examples(part: Part) -> list[tuple[str, str]]:
    """The sections that show pictures and texts."""
    if isinstance(part, str):
        return [("Examples", missing(f"Not shown: {part}."))]
    if isinstance(part, Told):
        return [("Answers" if part.asked else "Captions", _texts(part)), ("Words", _words(part))]
    similar = lead("Cosines of the first pairs of the set; the pairs are on the diagonal.") + maps.similarity(part)
    embedded = (_retrieval(part), similar, _embedding(part), _attention(part))
    return list(zip(("Retrieval", "Similarity", "Embedding map", "Attention"), embedded, strict=True))


def _texts(told: Told) -> str:
    known = any(text.right is not None for text in told.texts)
    halves = "Right and wrong, in equal parts where possible" if known else "Evenly spaced"
    given = "the answers that were given" if told.asked else "the captions of the data"
    text = (
        f"{halves}, among {told.size:,} items. The less likely a token was, the darker its ground; hover for its "
        f"probability. Below each text: {given}."
    )
    return lead(text) + told_grids.texts(told)


def _words(told: Told) -> str:
    if not told.maps:
        return missing(f"Not shown: {told.no_maps}.")
    text = "Weights of the patches in the last block of the decoder as it comes to each word, mean over heads. Bright: "
    return lead(f"{text}the largest.") + told_grids.words(told)


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
