"""The files that a command line names: as they are, in folders, or by pattern."""

import glob
import os
from collections.abc import Iterator, Sequence

from mmjax.data.sources.table import IMAGE_SUFFIXES


def pictures(names: Sequence[str]) -> Iterator[str]:
    """The files to read, in order: a folder's pictures with its subfolders', a pattern's matches, any other as it is.

    A name that stands for nothing comes through unchanged, to be missed when it is read.
    """
    for name in names:
        if os.path.isdir(name):
            yield from _inside(name)
        elif glob.has_magic(name) and not os.path.exists(name):
            yield from sorted(glob.glob(name, recursive=True)) or [name]
        else:
            yield name


def _inside(folder: str) -> list[str]:
    """The picture files of a folder, sorted; the folder itself where it has none."""
    found = [
        os.path.join(parent, file)
        for parent, _, files in os.walk(folder)
        for file in files
        if file.lower().endswith(IMAGE_SUFFIXES) and not file.startswith(".")
    ]
    return sorted(found) or [folder]
