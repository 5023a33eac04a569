"""Pictures with their captions under them, on one sheet."""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmjax.data.fonts import font_for

PICTURE, MARGIN, POINTS = 160, 8, 12  # pixels
LINES = 4  # of a caption; what is longer ends in …


def contact_sheet(pictures: Sequence[np.ndarray], captions: Sequence[str], columns: int = 6) -> tuple[Image.Image, str]:
    """Draws the sheet.

    Args:
      pictures: uint8 `[h, w, 3]`, any sizes.
      captions: one for each.

    Returns:
      The sheet, and the characters that no font found here can draw (they appear as boxes).
    """
    font, missing = font_for("".join(captions), POINTS)
    line = sum(font.getmetrics())
    cell = (PICTURE + MARGIN, PICTURE + LINES * line + 2 * MARGIN)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * cell[0] + MARGIN, rows * cell[1] + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (pixels, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = (MARGIN + place * size for place, size in zip((number % columns, number // columns), cell, strict=True))
        picture = _fit(Image.fromarray(pixels))
        sheet.paste(picture, (x + (PICTURE - picture.width) // 2, y + (PICTURE - picture.height) // 2))
        for n, text in enumerate(wrap(caption, font)):
            draw.text((x, y + PICTURE + MARGIN // 2 + n * line), text, "black", font)
    return sheet, missing


def _fit(picture: Image.Image) -> Image.Image:
    """Made smaller or larger until its long side is as long as the cell's; small ones keep their pixels square."""
    scale = PICTURE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)


def wrap(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """Lines as wide as a picture, broken at blanks and after Chinese characters; the last ends in … if text is left."""
    lines = [""]
    for piece in re.findall(
        r"[\u2e80-\uffef][\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]*|[^\s\u2e80-\uffef]+\s*|\s+", text
    ):
        if font.getlength((lines[-1] + piece).rstrip()) > PICTURE and lines[-1]:
            lines.append("")
        lines[-1] += piece
    shown = [_cut(line.rstrip(), font, False) for line in lines[:LINES]]
    return [*shown[:-1], _cut(shown[-1], font, len(lines) > LINES)]


def _cut(line: str, font: ImageFont.FreeTypeFont, more: bool) -> str:
    """A line no wider than a picture."""
    end = "…" if more else ""
    while line and font.getlength(line + end) > PICTURE:
        line, end = line[:-1], "…"
    return line + end
