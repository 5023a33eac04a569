"""What is in a data set: counts, sizes, caption lengths, what is broken, and a sheet of pictures with captions."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.check import Seen
from mmjax.data.contact_sheet import contact_sheet
from mmjax.data.decode import decode
from mmjax.data.sources import Source

SHOWN = 24  # pictures on the sheet
Spread = dict[str, float]


def summary(seen: Iterable[Seen]) -> dict[str, Any]:
    """Counts, and the least, middle and largest of every size, over the good items.

    Returns:
      `{"items", "broken", "captions", "captions_left_out", "width", "height", "captions_per_item", "characters"}`, the
      last four as `{"min", "median", "max"}`; empty where no item is good.
    """
    seen = list(seen)
    good = [s for s in seen if s.reason is None]
    return {
        "items": len(seen),
        "broken": len(seen) - len(good),
        "captions": sum(len(s.characters) for s in good),
        "captions_left_out": sum(len(s.dropped) for s in good),
        "width": spread([s.width for s in good]),
        "height": spread([s.height for s in good]),
        "captions_per_item": spread([len(s.characters) for s in good]),
        "characters": spread([n for s in good for n in s.characters]),
    }


def spread(values: Sequence[int]) -> Spread:
    """Smallest, median and largest; nothing of nothing."""
    if not len(values):
        return {}
    return {"min": float(np.min(values)), "median": float(np.median(values)), "max": float(np.max(values))}


def table(numbers: dict[str, Any]) -> str:
    """The summary for reading."""
    counts = ("items", "broken", "captions", "captions_left_out")
    lines = [f"{name.replace('_', ' '):<18} {numbers[name]:>9,}" for name in counts]
    lines += ["", f"{'':<18} {'min':>9} {'median':>9} {'max':>9}"]
    for name, unit in {"width": "width, pixels", "height": "height, pixels"}.items():
        lines.append(_row(unit, numbers[name]))
    lines += [_row("captions per item", numbers["captions_per_item"])]
    lines += [_row("caption characters", numbers["characters"])]
    return "\n".join(lines)


def _row(label: str, values: Spread) -> str:
    return f"{label:<18} " + " ".join(f"{values.get(key, float('nan')):>9,g}" for key in ("min", "median", "max"))


def first_text(streams: Mapping[str, Any]) -> str:
    """The first caption of an item; of a question, what is asked and answered."""
    texts = streams.get("caption") or (*streams.get("question", ()), *streams.get("answer", ())[:1])
    return texts[0] if "caption" in streams else " ".join(texts)


def write_sheet(source: Source, seen: Sequence[Seen], out: Path) -> str:
    """Writes the contact sheet of good items, evenly spaced. Returns the characters that no font here can draw."""
    good = [s.index for s in seen if s.reason is None]
    chosen = [good[i] for i in np.linspace(0, len(good) - 1, min(SHOWN, len(good))).astype(int)]
    examples = [source[i] for i in chosen]
    pictures = [decode(e.streams["image"], shortest=256) for e in examples]
    sheet, missing = contact_sheet(pictures, [first_text(e.streams) for e in examples])
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    return missing
