"""An installed font that has the characters of a text, so that Chinese captions do not become boxes."""

from collections.abc import Container, Iterator
from pathlib import Path

from PIL import ImageFont

# Parts of file names: first the fonts that hold Chinese beside Latin, then the usual Latin ones, then all others.
PREFERRED = ("notosanscjk", "notosanssc", "sourcehansans", "pingfang", "msyh", "wqy", "simhei", "dejavusans")


def font_for(text: str, points: int) -> tuple[ImageFont.FreeTypeFont, str]:
    """The first font that has every character of a text, else the one that lacks the fewest; and those it lacks."""
    needed = {c for c in text if not c.isspace()}
    best: tuple[set[str], Path, int] | None = None
    for path, face, characters in _fonts():
        lacking = {c for c in needed if ord(c) not in characters}
        if best is None or len(lacking) < len(best[0]):
            best = (lacking, path, face)
        if not lacking:
            break
    assert best is not None, "matplotlib brings fonts of its own"
    return ImageFont.truetype(str(best[1]), points, index=best[2]), "".join(sorted(best[0]))


def _fonts() -> Iterator[tuple[Path, int, Container[int]]]:
    """(file, face, code points) of the fonts that are installed or come with matplotlib, the likeliest first.

    Without the one of last resort, which has every character, as a box.
    """
    import matplotlib
    from fontTools.ttLib import TTFont, TTLibError
    from matplotlib import font_manager

    own = Path(matplotlib.get_data_path(), "fonts", "ttf").glob("*.ttf")
    installed = [*map(Path, font_manager.findSystemFonts()), *own]
    for path in sorted((p for p in installed if "lastresort" not in p.stem.lower()), key=_rank):
        try:
            face = _simplified_chinese(path) if path.suffix.lower() == ".ttc" else 0
            with TTFont(path, fontNumber=face, lazy=True) as font:
                yield path, face, font.getBestCmap() or ()
        except (OSError, TTLibError):
            continue  # a damaged font


def _rank(path: Path) -> tuple[int, bool, str]:
    name = path.stem.lower()
    likely = next((i for i, part in enumerate(PREFERRED) if part in name), len(PREFERRED))
    return likely, not (name.endswith("regular") or name in PREFERRED), name


def _simplified_chinese(path: Path) -> int:
    """The face of a collection that draws Han characters as they are written in China, if one says so."""
    from fontTools.ttLib import TTCollection

    with TTCollection(path, lazy=True) as collection:
        names = [str(font["name"].getDebugName(1)) for font in collection]
    return next((i for i, name in enumerate(names) if name.endswith(" SC")), 0)
