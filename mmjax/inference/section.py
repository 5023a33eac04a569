"""Models and data as a manifest names them: from any folder, and for as long as they stay where they are."""

import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from mmjax.data.sources import SOURCES, recognise
from mmjax.evaluation.verb import data_section
from mmjax.inference import pictures


def data_for(spec: str, options: Sequence[str]) -> dict[str, Any]:
    """The section of the source that `--data` and `--data-option` name; paths are absolute.

    `spec` may be the bare name of a source, such as idx. A folder of pictures without any caption is one of `Pictures`.
    """
    section = data_section(spec, options, {})
    section = {"path": section} if isinstance(section, str) else dict(section)
    if spec in SOURCES and not os.path.exists(spec):
        files = {key: absolute(value) for key, value in section.items() if _is_file(value)}
        return {"name": section.pop("path"), **section, **files}
    section["path"] = absolute(section["path"])
    folder = pathlib.Path(section["path"])
    if folder.is_dir() and recognise(str(folder), "--data")["name"] == "folder" and pictures.without_captions(folder):
        return {"name": pictures.NAME, **section}
    return section


def absolute(name: str) -> str:
    """A path as an absolute one, also that of `hf:FOLDER` and `open_clip:NAME@FILE`; any other name as it is."""
    scheme, colon, place = name.partition(":")
    if scheme == "open_clip" and "@" in place:
        model, _, file = place.partition("@")
        return f"{scheme}:{model}@{absolute(file)}"
    if scheme in ("hf", "open_clip") and colon and os.path.exists(os.path.expanduser(place)):
        return f"{scheme}:{absolute(place)}"
    if re.match(r"[A-Za-z_][\w.]*:", name):
        return name
    return os.path.abspath(os.path.expanduser(name))


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and os.path.isfile(value)
