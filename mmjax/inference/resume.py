"""Where a folder of embeddings stands, and whether it is the one that is meant."""

import dataclasses
import pathlib

from mmjax.errors import UserError
from mmjax.inference.manifest import FILE, SKIPPED, Manifest, Part, read, replace, write

# field: how the user says it
FIXED = {"data": "--data", "items": "--limit", "files": "--format", "dtype": "--dtype", "shard_rows": "--shard-rows"}


def begin(folder: pathlib.Path, wanted: Manifest) -> Manifest:
    """The folder's manifest if it goes on with `wanted`, else `wanted` itself, written into an empty folder.

    Raises:
      UserError: the folder holds something else.
    """
    if (folder / FILE).exists():
        found = read(folder)
        refuse_other(folder, found, wanted)
    else:
        _refuse_occupied(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, found := wanted)
    for stream in found.streams:
        (folder / stream).mkdir(exist_ok=True)
    _cut(folder / SKIPPED, found.skipped())
    return found


def refuse_other(folder: pathlib.Path, found: Manifest, wanted: Manifest) -> None:
    """Refuses to mix two models, two data sets or two layouts in one folder."""
    away = "choose another --out, or delete that folder"
    if found.model_sha256 != wanted.model_sha256:
        what = f"{wanted.model} as it was" if found.model == wanted.model else f"another model, {found.model}"
        raise UserError(f"{folder}: holds embeddings by {what}; {away}")
    for field, option in FIXED.items():
        old, new = getattr(found, field), getattr(wanted, field)
        if old != new:
            told = f"of {old:,} items, not {new:,}" if field == "items" else f"with {option} {old}, not {new}"
            raise UserError(f"{folder}: holds embeddings {told}; {away}")
    if _streams(found) != _streams(wanted):
        raise UserError(f"{folder}: holds the streams {_listed(found)}, not {_listed(wanted)}; {away}")


def _listed(manifest: Manifest) -> str:
    return ", ".join(f"{name} ({part.rows:,} rows)" for name, part in manifest.streams.items())


def _streams(manifest: Manifest) -> dict[str, Part]:
    """The streams as they are before any shard is done."""
    return {name: dataclasses.replace(part, shards=()) for name, part in manifest.streams.items()}


def _refuse_occupied(folder: pathlib.Path) -> None:
    """Refuses a place that holds other things; a draft that a kill left behind does not count."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; --out is a folder")
    if folder.is_dir() and any(not file.name.endswith(".tmp") for file in folder.iterdir()):
        raise UserError(f"{folder}: is not empty and holds no {FILE}; choose another --out")


def _cut(file: pathlib.Path, lines: int) -> None:
    """Takes out of `skipped.jsonl` what a shard added that was then not finished."""
    content = file.read_bytes() if file.exists() else None
    kept = b"".join((content or b"").splitlines(keepends=True)[:lines])
    if kept != content:
        replace(file, kept)
