"""A font made on the spot, so that what is drawn in tests does not depend on the fonts that a machine has."""

from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

EM = 1000  # font units


def write(path: Path, characters: str) -> Path:
    """A TrueType font: Han characters one em wide, all others half an em, each a black bar of a height of its own."""
    codes = sorted({*map(ord, characters)})
    names = [f"u{code:04X}" for code in codes]
    widths = {name: EM if code >= 0x2E80 else EM // 2 for name, code in zip(names, codes, strict=True)}
    font = FontBuilder(EM, isTTF=True)
    font.setupGlyphOrder([".notdef", *names])
    font.setupCharacterMap(dict(zip(codes, names, strict=True)))
    heights = {name: EM * (rank + 1) // len(names) for rank, name in enumerate(names)}
    font.setupGlyf({".notdef": _bar(0), **{name: _bar(height) for name, height in heights.items()}})
    font.setupHorizontalMetrics({".notdef": (EM, 0), **{name: (width, 0) for name, width in widths.items()}})
    font.setupHorizontalHeader(ascent=EM, descent=0)
    font.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    font.setupOS2(sTypoAscender=EM)
    font.setupPost()
    font.save(path)
    return path


def _bar(height: int):
    pen = TTGlyphPen(None)
    corners = ((0, 0), (0, height), (EM // 3, height), (EM // 3, 0))
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()
