"""Where a verb may write a folder of its own: never over what it did not make, and never over what it reads."""

import pathlib
from collections.abc import Sequence

from mmjax.bundle import check_no_file, check_place
from mmjax.errors import UserError
from mmjax.interop.sources import SCHEMES

BUNDLE = ("bundle.json", "params.safetensors", "tokenizers")
EXPORTED = "Exported by mmjax"  # what the model card of an export says
EXPORT = (
    *("README.md", "model.safetensors", "config.json", "preprocessor_config.json"),
    *("open_clip_model.safetensors", "open_clip_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "spiece.model", "tokenizer.model", "chat_template.jinja"),
)


def check_bundle_place(folder: pathlib.Path, sources: Sequence[str]) -> None:
    """Refuses a place for a new bundle, unless it is free or holds an older bundle and nothing else.

    Args:
      sources: the models that are read.

    Raises:
      UserError: names what is in the way.
    """
    check_place(folder)
    _check_names(folder, BUNDLE, "a bundle")
    _check_sources(folder, sources)


def check_export_place(folder: pathlib.Path, source: str) -> None:
    """Refuses a place for an export, unless it is free or holds an older export and nothing else.

    Args:
      source: the model that is read.

    Raises:
      UserError: names what is in the way.
    """
    check_no_file(folder)
    if folder.is_dir() and any(folder.iterdir()) and not _is_export(folder):
        raise UserError(f"{folder}: is there and no export of mmjax; take another folder")
    _check_names(folder, EXPORT, "an export")
    _check_sources(folder, [source])


def _is_export(folder: pathlib.Path) -> bool:
    card = folder / "README.md"
    return card.is_file() and any(line.startswith(EXPORTED) for line in card.read_text("utf-8", "replace").splitlines())


def _check_names(folder: pathlib.Path, known: Sequence[str], what: str) -> None:
    """All that is in the folder will be replaced, so all of it must be ours."""
    found = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    if others := [name for name in found if name not in known]:
        raise UserError(f"{folder}: holds {others[0]} beside {what}; take another folder, or move that away")


def _check_sources(folder: pathlib.Path, sources: Sequence[str]) -> None:
    """A model is not replaced by what is made of it."""
    for source in sources:
        path = _path(source)
        if path.exists() and folder.resolve() in (path, *path.parents, path / "bundle"):
            raise UserError(f"{folder}: is where {source} is read from; take another folder")


def _path(source: str) -> pathlib.Path:
    """Where a model lies, if it lies here: of `hf:FOLDER` the folder, of `open_clip:NAME@FILE` the file."""
    scheme, _, place = source.partition(":") if source.startswith(SCHEMES) else ("", "", source)
    file = place.partition("@")[2] if scheme == "open_clip" else ""
    return pathlib.Path(file or place).expanduser().resolve()
