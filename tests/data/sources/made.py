"""The same few pairs in every form that a source can read."""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

PAIRS = [  # key, captions, split
    ("a", ["a red square", "红色的方块"], "train"),
    ("b", ["a green square"], "test"),
    ("c", ["a blue square", "one blue thing", "蓝色"], "train"),
    ("d", ['a "quoted", square'], "train"),
]


def pixels(key: str) -> np.ndarray:
    return np.random.default_rng(ord(key)).integers(0, 256, (9, 12, 3), np.uint8)


def png(key: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(key)).save(stream, "PNG")
    return stream.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def jsonl(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return str(path)


def images(folder: Path) -> Path:
    folder.mkdir()
    for key, _, _ in PAIRS:
        (folder / f"{key}.png").write_bytes(png(key))
    return folder


def folder_jsonl(tmp: Path) -> str:
    folder = images(tmp / "pairs")
    jsonl(folder / "captions.jsonl", [{"file": f"{k}.png", "captions": c, "split": s} for k, c, s in PAIRS])
    return str(folder)


def table_csv(tmp: Path) -> str:
    """One row a caption, rows of an image apart from each other, with the mark that Excel puts first."""
    folder = images(tmp / "pairs")
    rows = [(f"{k}.png", c[n], s) for n in range(3) for k, c, s in PAIRS if n < len(c)]
    with open(folder / "pairs.csv", "w", encoding="utf-8-sig", newline="") as stream:
        csv.writer(stream).writerows([("image", "caption", "split"), *rows])
    return str(folder / "pairs.csv")


def table_tsv(tmp: Path) -> str:
    folder = images(tmp / "pairs")
    lines = ["filename\ttext\tsplit"] + [f"{k}.png\t{c}\t{s}" for k, captions, s in PAIRS for c in captions]
    (folder / "pairs.tsv").write_text("\r\n".join(lines), "utf-8")
    return str(folder / "pairs.tsv")


def sidecars(tmp: Path) -> str:
    folder = images(tmp / "pairs")
    for key, captions, _ in PAIRS:
        (folder / f"{key}.txt").write_text("\n".join(captions), "utf-8")
    return str(folder)


def tars(tmp: Path) -> str:
    for number, part in enumerate((PAIRS[:3], [], PAIRS[3:])):
        members = []
        for key, captions, split in part:
            row = json.dumps({"caption": captions, "split": split}).encode()
            members += [(f"x/{key}.json", row), (f"x/{key}.PNG", png(key))]
        write_tar(tmp / f"shard-{number:02d}.tar", members)
    return str(tmp / "shard-{00..02}.tar")


def tar_txt(tmp: Path) -> str:
    members = [("README", b"no sample"), ("._a.png", b"no sample either")]
    for key, captions, _ in PAIRS:
        members += [(f"{key}.png", png(key)), (f"{key}.txt", "\n".join(captions).encode()), (f"{key}.cls", b"3")]
    return write_tar(tmp / "pairs.tar", members)


def parquet(tmp: Path, struct: bool = False) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number, part in enumerate((PAIRS[:3], PAIRS[3:])):
        cells = [{"bytes": png(k), "path": None} if struct else png(k) for k, _, _ in part]
        columns = {"image": cells, "caption": [c for _, c, _ in part], "split": [s for _, _, s in part]}
        pq.write_table(pa.table(columns), tmp / f"part-{number}.parquet", row_group_size=2)
    return str(tmp / "part-*.parquet")


def parquet_struct(tmp: Path) -> str:
    return parquet(tmp, struct=True)


def array_record(tmp: Path) -> str:
    from mmjax.data.convert import convert
    from mmjax.data.sources import open_source

    convert(open_source(folder_jsonl(tmp)), tmp / "converted", shards=3, workers=0)
    return str(tmp / "converted")


FORMS = [
    folder_jsonl,
    table_csv,
    table_tsv,
    sidecars,
    tars,
    tar_txt,
    parquet,
    parquet_struct,
    array_record,
]
WITHOUT_SPLIT = (sidecars, tar_txt)
