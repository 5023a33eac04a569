"""Every bad input that we know of, and the table of what each gets.

python -m tests.data.bad_inputs --write     puts the table into docs/data.md
"""

import dataclasses
import io
import json
import os
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
BEGIN, END = "<!-- bad inputs: begin -->", "<!-- bad inputs: end -->"
SMOOTH = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)).resize(
        (32, 24), Image.Resampling.BICUBIC
    )
)
GREY = np.linspace(0, 65535, 32 * 24).astype(np.uint16).reshape(24, 32)
CAPTION = "a good caption"


@dataclasses.dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
      name: what it is, for the table.
      write: makes it in an empty folder; returns the path to open and the index of the item in question.
      pixels: what is decoded; None where the item is bad.
      note: what was done to it, for the table.
      tolerance: largest difference in any pixel (of lossy formats).
    """

    name: str
    write: Callable[[Path], tuple[Path, int]]
    pixels: np.ndarray | None = None
    note: str = ""
    tolerance: int = 0


def encode(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(stream, kind, **options)
    return stream.getvalue()


def picture(data: bytes, name: str = "x.jpg"):
    """A folder of a good picture and then this one."""

    def write(folder: Path) -> tuple[Path, int]:
        (folder / "good.png").write_bytes(encode(SMOOTH, "PNG"))
        (folder / name).write_bytes(data)
        rows = [{"file": f, "caption": CAPTION} for f in ("good.png", name)]
        (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return folder, 1

    return write


def caption(line: bytes):
    """A folder of a good picture, whose second row of the table is this one."""

    def write(folder: Path) -> tuple[Path, int]:
        for name in ("good.png", "x.png"):
            (folder / name).write_bytes(encode(SMOOTH, "PNG"))
        good = json.dumps({"file": "good.png", "caption": CAPTION}).encode()
        (folder / "captions.jsonl").write_bytes(good + b"\n" + line + b"\n")
        return folder, 1

    return write


def row(value) -> bytes:
    return json.dumps({"file": "x.png", "caption": value}).encode()


def tar(spoil: Callable[[Path], None], item: int, lacking: str = ""):
    """Three samples in a tar, spoilt."""

    def write(folder: Path) -> tuple[Path, int]:
        from tests.data.sources.made import write_tar

        image = encode(SMOOTH, "BMP")  # of the same size with any version of Pillow, for the table
        members = [(f"{k}.{e}", d) for k in "abc" for e, d in (("bmp", image), ("txt", b"a good caption"))]
        write_tar(folder / "x.tar", [m for m in members if m[0] != lacking])
        spoil(folder / "x.tar")
        return folder / "x.tar", item

    return write


def cut(member: int, extension: str, offset: int) -> Callable[[Path], None]:
    """Truncates a tar so many bytes into a member (or before it, if negative)."""

    def spoil(path: Path) -> None:
        from mmjax.data.sources.tar_index import scan

        os.truncate(path, scan(path).members(member)[extension][0] + offset)

    return spoil


def damage_header(path: Path) -> None:
    from mmjax.data.sources.tar_index import scan

    offset = scan(path).members(1)["bmp"][0]
    with open(path, "r+b") as stream:
        stream.seek(offset - 512)
        stream.write(b"\x07" * 512)


def damaged_record(folder: Path) -> tuple[Path, int]:
    from mmjax.data.convert import convert
    from mmjax.data.sources import open_source

    source = folder / "source"
    source.mkdir()
    convert(open_source(picture(encode(SMOOTH, "PNG"))(source)[0]), folder / "out", workers=0)
    (file,) = (folder / "out").glob("*.array_record")
    data = bytearray(file.read_bytes())
    place = data.index(b"x.jpg")
    data[place : place + 5] = b"\0" * 5
    file.write_bytes(data)
    return folder / "out", 1


def bomb() -> bytes:
    """A PNG of a few bytes whose header declares 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def transparent() -> Image.Image:
    """Left half opaque, right half clear."""
    image = Image.fromarray(SMOOTH).convert("RGBA")
    image.paste((7, 8, 9, 0), (16, 0, 32, 24))
    return image


def on_white(pixels: np.ndarray) -> np.ndarray:
    return np.where(np.arange(32)[:, None] < 16, pixels, 255).astype(np.uint8)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.astype(np.uint8)[:, :, None], 3, axis=2)


def exif(orientation: int) -> Image.Exif:
    out = Image.Exif()
    out[0x0112] = orientation
    return out


def cases() -> list[Case]:
    return [*images(), *captions(), *files()]


def images() -> list[Case]:
    jpeg, png = encode(SMOOTH, "JPEG", quality=95), encode(SMOOTH, "PNG")
    rgb = Image.fromarray(SMOOTH)
    palette = rgb.quantize(256)
    colours = np.asarray(palette.convert("RGB"))
    clear = transparent()
    grey8 = SMOOTH[:, :, 0]
    two = [Image.fromarray(a).quantize(256) for a in (SMOOTH, SMOOTH[::-1])]
    animated = encode(two[0], "GIF", save_all=True, append_images=two[1:])
    return [
        Case("corrupt image: the header", picture(b"\0\0\0\0" + jpeg[4:])),
        Case("corrupt image: the data", picture(flipped(png, len(png) // 2), "x.png")),
        Case("truncated JPEG, half", picture(jpeg[: len(jpeg) // 2])),
        Case("truncated JPEG, by one byte", picture(jpeg[:-1])),
        Case("truncated PNG", picture(png[: len(png) // 2], "x.png")),
        Case("truncated GIF", picture(animated[: len(animated) // 2 - 40], "x.gif")),
        Case("truncated WebP", picture(encode(SMOOTH, "WEBP")[:-9], "x.webp")),
        Case("zero bytes", picture(b"")),
        Case("a web page named .jpg", picture(b"<!DOCTYPE html><html><body>404</body></html>")),
        Case("wrong extension: a PNG named .jpg", picture(png), SMOOTH, "the content decides"),
        Case("CMYK JPEG", picture(encode(rgb.convert("CMYK"), "JPEG", quality=95)), SMOOTH, "as RGB", 24),
        Case("palette PNG", picture(encode(palette, "PNG"), "x.png"), colours, "as RGB"),
        Case(
            "palette PNG with a transparent colour",
            picture(encode(palette, "PNG", transparency=int(np.asarray(palette)[0, 0])), "x.png"),
            np.where((np.asarray(palette) == np.asarray(palette)[0, 0])[:, :, None], 255, colours).astype(np.uint8),
            "on white",
        ),
        Case("RGBA PNG", picture(encode(clear, "PNG"), "x.png"), on_white(SMOOTH), "on white"),
        Case(
            "grey PNG with alpha",
            picture(encode(clear.convert("LA"), "PNG"), "x.png"),
            on_white(np.asarray(rgb.convert("L").convert("RGB"))),
            "on white",
        ),
        Case("grey JPEG", picture(encode(grey8, "JPEG", quality=95)), grey(grey8), "as RGB", 8),
        Case("16-bit grey PNG", picture(encode(GREY, "PNG"), "x.png"), grey(np.round(GREY / 257)), "scaled to 8 bits"),
        Case(
            "1-bit PNG",
            picture(encode(rgb.convert("1"), "PNG"), "x.png"),
            grey(np.asarray(rgb.convert("1").convert("L"))),
            "as RGB",
        ),
        Case("32-bit float TIFF", picture(encode(Image.fromarray(np.float32(GREY)), "TIFF"), "x.tif")),
        Case(
            "EXIF-rotated JPEG",
            picture(encode(SMOOTH, "JPEG", quality=95, exif=exif(6))),
            np.rot90(SMOOTH, -1),
            "turned upright",
            32,
        ),
        Case("damaged EXIF", picture(encode(SMOOTH, "PNG", exif=b"Exif\0\0MM\0junk"), "x.png"), SMOOTH, "EXIF ignored"),
        Case("animated GIF", picture(animated, "x.gif"), np.asarray(two[0].convert("RGB")), "its first frame"),
        Case("1-pixel image", picture(encode(SMOOTH[:1, :1], "PNG"), "x.png")),
        Case("decompression bomb", picture(bomb(), "x.png")),
    ]


def captions() -> list[Case]:
    return [
        Case("empty caption", caption(row(""))),
        Case("blank caption", caption(row(" \t\n"))),
        Case("null caption", caption(row(None))),
        Case("caption that is a number", caption(row(3))),
        Case("no caption in the list", caption(row([]))),
        Case("over-long caption", caption(row("long " * 2001))),
        Case("non-UTF-8 caption", caption(b'{"file": "x.png", "caption": "caf\xe9"}')),
        Case("one bad caption among good ones", caption(row(["", CAPTION])), SMOOTH, "the bad caption left out"),
        Case("line of the table that is cut off", caption(row(CAPTION)[:-5])),
        Case("row that names no file", caption(b'{"file": null, "caption": "a good caption"}')),
    ]


def files() -> list[Case]:
    return [
        Case("missing file", caption(b'{"file": "gone.png", "caption": "a good caption"}')),
        Case("tar truncated within an image", tar(cut(1, "bmp", 100), 1)),
        Case("tar truncated between image and caption", tar(cut(1, "txt", -512), 1)),
        Case("tar truncated between samples", tar(cut(1, "bmp", -512), 1)),
        Case("tar with a damaged header", tar(damage_header, 1)),
        Case("tar sample without image", tar(lambda path: None, 1, "b.bmp")),
        Case("tar sample without caption", tar(lambda path: None, 1, "b.txt")),
        Case("damaged ArrayRecord record", damaged_record),
    ]


def outcome(case: Case, folder: Path) -> tuple[np.ndarray | None, str]:
    """(pixels, "") of the item in question, or (None, why it is bad). The item before it must be good."""
    from mmjax.data.decode import decode
    from mmjax.data.sources import open_source
    from mmjax.errors import BadItem

    path, index = case.write(folder)
    source = open_source(path)
    decode(source[index - 1].streams["image"])
    try:
        example = source[index]
        assert example.streams["caption"] == (CAPTION,)
        return decode(example.streams["image"]), ""
    except BadItem as error:
        return None, str(error)


def table() -> str:
    lines = ["| input | gets |", "| --- | --- |"]
    for case in cases():
        with tempfile.TemporaryDirectory() as folder:
            pixels, reason = outcome(case, Path(folder))
        lines.append(f"| {case.name} | {f'decoded: {case.note}' if pixels is not None else f'skipped: {reason}'} |")
    return "\n".join(lines)


def page_with(text: str, content: str) -> str:
    """A page with new content between the markers."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{PAGE} lacks the markers {BEGIN} and {END}"
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page_with(PAGE.read_text("utf-8"), table()), "utf-8")
    else:
        print(table())
