"""Where examples come from: folders, tables, tars, parquet, TFDS, ArrayRecord, published files, the generated world.

`open_source` is the way in. A source outside the package is named `my_lab.sources:Thing`.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from mmjax.batch import Example
from mmjax.config import build, plain
from mmjax.data.sources.array_record import ArrayRecord
from mmjax.data.sources.coco import Coco, Karpathy
from mmjax.data.sources.idx import Idx
from mmjax.data.sources.parquet import Parquet
from mmjax.data.sources.qa import Qa, holds_questions
from mmjax.data.sources.table import Folder, Table, captions_file
from mmjax.data.sources.tables import SUFFIXES
from mmjax.data.sources.tfds import Tfds
from mmjax.data.sources.vqa import Gqa, Vqa
from mmjax.data.sources.webdataset import WebDataset
from mmjax.data.world import WORLDS
from mmjax.errors import UserError
from mmjax.storage import Place, place

QUESTIONS = "qa.jsonl"  # in a folder
FORMS = (
    "a folder, captions.jsonl|csv|tsv, qa.jsonl, shards-{000..099}.tar, FILES.parquet, FILES.array_record, "
    "tfds:NAME/split, world:scenes/split, world:questions/split or my_lab.sources:Thing"
)


@runtime_checkable
class Source(Protocol):
    """Random access to examples. It can be pickled, so that worker processes open their own files."""

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """The item; raises BadItem where it cannot be read."""
        ...

    def captions(self, index: int) -> tuple[str, ...]:
        """All captions of the item, without reading pixels; raises BadItem where none is good."""
        ...

    def truth(self, index: int) -> Mapping[str, Any]:
        """`Example.truth`, without reading pixels; raises BadItem."""
        ...


SOURCES: dict[str, Callable] = {
    "folder": Folder,
    "table": Table,
    "webdataset": WebDataset,
    "parquet": Parquet,
    "tfds": Tfds,
    "array_record": ArrayRecord,
    "idx": Idx,
    "qa": Qa,
    "vqa": Vqa,
    "gqa": Gqa,
    "coco": Coco,
    "karpathy": Karpathy,
    "world": WORLDS["scenes"],
    "world_questions": WORLDS["questions"],
}


def open_source(spec: str | os.PathLike | Mapping[str, Any], where: str = "data") -> Source:
    """Opens data by its path or its config section.

    Args:
      spec: one of `FORMS`; or `{"path": one of FORMS, **options}`, e.g. `{"path": "x.tar", "caption": "captions_en"}`;
        or `{"name": a key of SOURCES, **arguments}`.
      where: the config key it stands under, for messages.

    Raises:
      UserError: nothing of a known form is there, an option is unknown, or no row can be read.
    """
    section = {"path": os.fspath(spec)} if isinstance(spec, (str, os.PathLike)) else plain(spec)
    if "name" not in section:
        path = section.pop("path", None)
        if not path:
            raise UserError(f"{where}.path is missing: say {FORMS}")
        section = {**recognise(os.fspath(path), where), **section}
    source = build(section, SOURCES, where)
    if not isinstance(source, Source):  # from outside the package
        lacking = [
            name for name in ("name", "__len__", "__getitem__", "captions", "truth") if not hasattr(source, name)
        ]
        raise UserError(f"{where}: {section['name']} is no source: it lacks {', '.join(lacking)}")
    return source


def recognise(path: str, where: str) -> dict[str, Any]:
    """The section that a path stands for: which source, and what it is to open."""
    if path.startswith(("world:", "tfds:")):
        name, _, rest = path.partition(":")
        if name == "tfds":
            return {"name": "tfds", "path": rest}
        world, _, split = rest.partition("/")
        if world not in WORLDS:
            raise UserError(f"{where}: no world {world!r}; known: {', '.join(WORLDS)}, as in world:scenes/train")
        kind = "world" if world == "scenes" else f"world_{world}"
        return {"name": kind, **({"split": split} if split else {})}
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", path):
        return {"name": path}
    found = place(path)
    if not found.is_dir():
        return {"name": _by_suffix(path, where), "path": path}
    if not captions_file(found) and holds_questions(str(found / QUESTIONS)):
        return {"name": "qa", "path": str(found / QUESTIONS)}
    return {"name": _in_folder(found), "path": path}


def _in_folder(folder: Place) -> str:
    """Which source a folder is: what a table in it or its files say."""
    if captions_file(folder):
        return "folder"
    for kind, pattern in (("array_record", "*.array_record*"), ("parquet", "*.parquet"), ("webdataset", "*.tar")):
        if any(folder.glob(pattern)):
            return kind
    return "folder"


def _by_suffix(path: str, where: str) -> str:
    name = os.path.basename(path)
    if name.endswith(SUFFIXES):
        return "qa" if holds_questions(path) else "table"
    if ".array_record" in name:
        return "array_record"
    if name.endswith(".parquet"):
        return "parquet"
    if ".tar" in name or name.endswith(".tgz"):
        return "webdataset"
    missing = "" if place(path).exists() else ": no such file or folder"
    raise UserError(f"{where}: {path}{missing}; data is {FORMS}")
