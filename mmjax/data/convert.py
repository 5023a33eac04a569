"""Any source into sharded ArrayRecord: every item checked on the way, the bad ones left out, counted and listed."""

import contextlib
import io
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax import progress
from mmjax.batch import Example
from mmjax.data.decode import decode
from mmjax.data.parallel import ordered
from mmjax.data.skips import item_id
from mmjax.data.sources import Source
from mmjax.data.sources.array_record import DESCRIPTION, FORMAT, OPTIONS, pack
from mmjax.errors import BadItem, UserError

SKIPPED = "skipped.jsonl"


def record(source: Source, index: int) -> bytes | dict[str, Any]:
    """An item as a record; or what is wrong with it, as a line of `skipped.jsonl`."""
    try:
        example = source[index]
        pixels = decode(example.streams["image"])
    except BadItem as error:
        return {"index": index, "id": item_id(source, index), "reason": str(error)}
    if isinstance(example.streams["image"], np.ndarray):
        example = Example(example.id, {**example.streams, "image": _png(pixels)}, example.truth)
    return pack(example)


def convert(
    source: Source, out: Path, shards: int = 1, workers: int | None = None, limit: int | None = None
) -> dict[str, Any]:
    """Writes `OUT-00000-of-0000N.array_record`, `dataset.json` and `skipped.jsonl` into the folder `out`.

    The folder appears under its name only when it is whole; until then it is called `OUT.partial`.

    Args:
      shards: files to spread the items over, in order and in almost equal parts.
      limit: only the first so many items.

    Returns:
      What `dataset.json` holds.

    Raises:
      UserError: `out` is there already, there are more shards than items, or no item is good.
    """
    count = len(range(len(source))[:limit])
    if out.exists():
        raise UserError(f"{out}: is there already; choose another name or delete it")
    if not 1 <= shards <= count:
        raise UserError(f"{out}: cannot spread {count:,} items over {shards} shards; choose 1 to {count:,}")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a conversion that was killed
    partial.mkdir(parents=True)
    try:
        description = _write(source, partial, out.name, shards, count, workers)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return description


def _write(source: Source, folder: Path, name: str, shards: int, count: int, workers: int | None) -> dict[str, Any]:
    written, skipped = [], 0
    files = [f"{name}-{n:05d}-of-{shards:05d}.array_record" for n in range(shards)]
    records = ordered(record, source, range(count), workers)
    with progress.bar("converting", count) as advance, open(folder / SKIPPED, "w", encoding="utf-8") as lines:
        for shard, file in enumerate(files):
            here = (shard + 1) * count // shards - shard * count // shards
            with _writer(folder / file) as write:
                good = 0
                for item in itertools.islice(records, here):
                    if isinstance(item, bytes):
                        write(item)
                        good += 1
                    else:
                        lines.write(json.dumps(item, ensure_ascii=True) + "\n")
                        skipped += 1
                    advance(skipped=skipped)
            written.append(good)
    if not sum(written):
        raise UserError(f"{source.name}: none of its {count:,} items is good; see `mmjax data check`")
    description = {
        "format": FORMAT,
        "source": source.name,
        "items": sum(written),
        "skipped": skipped,
        "shards": [{"file": file, "items": items} for file, items in zip(files, written, strict=True)],
        "class_names": list(getattr(source, "class_names", ())),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return description


@contextlib.contextmanager
def _writer(file: Path) -> Iterator[Callable[[bytes], None]]:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(file), OPTIONS)
    try:
        yield writer.write
    finally:
        writer.close()


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
