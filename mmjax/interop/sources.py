"""Where weights come from: `hf:NAME-or-folder`, `open_clip:NAME-or-file`, or a plain path to either."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from mmjax.errors import UserError, nearest

SCHEMES = ("hf:", "open_clip:")
WANTED = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model")  # of a repository on the Hub
SINGLE = ("model.safetensors", "pytorch_model.bin")
SINGLE_OPEN_CLIP = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    *SINGLE,
)


@dataclasses.dataclass(frozen=True)
class Origin:
    """A checkpoint on disk.

    Attributes:
      name: as the user wrote it, for messages.
      library: whose format: "hf" or "open_clip".
      folder: where its config, tokenizer and preprocessing lie.
      config: its config: of transformers with all defaults, or open_clip's `{"model_cfg", "preprocess_cfg"}`.
      files: its weights, one file or all shards.
    """

    name: str
    library: str
    folder: pathlib.Path
    config: Mapping[str, Any]
    files: tuple[pathlib.Path, ...]


def is_foreign(source: str) -> bool:
    """Whether a model's name asks for PyTorch weights."""
    return source.startswith(SCHEMES)


def find(source: str) -> Origin:
    """Finds config and weights; a name that is no path is fetched from the Hugging Face Hub.

    Raises:
      UserError: nothing there, no network, no access, or a folder without config or weights.
    """
    scheme, _, place = source.partition(":") if is_foreign(source) else ("", "", source)
    path = pathlib.Path(place).expanduser()
    if scheme != "hf" and path.is_file():
        return _open_clip_file(source, path)
    if scheme == "open_clip" and not path.is_dir():
        return _open_clip_name(source, place)
    folder = path if path.is_dir() else download(source, place)
    if scheme != "hf" and (folder / "open_clip_config.json").is_file():
        config = read_json(folder / "open_clip_config.json")
        return Origin(source, "open_clip", folder, config, weights(source, folder, SINGLE_OPEN_CLIP))
    if scheme == "open_clip":
        raise UserError(
            f"{source}: no open_clip_config.json in that folder; for a transformers folder write hf:{place}"
        )
    return Origin(source, "hf", folder, hf_config(source, folder), weights(source, folder, SINGLE))


def download(source: str, name: str) -> pathlib.Path:
    """A repository of the Hub, in its cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UserError(f"{source}: no such file or folder")
    try:
        return pathlib.Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except HFValidationError:
        raise UserError(f"{source}: neither a folder nor a name on the Hub") from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{source}: the Hub has no {name}, or it is gated: accept its terms there and set HF_TOKEN"
        ) from None
    except (LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise UserError(
            f"{source}: not a folder here, not in the cache, and the Hub did not give it ({reason}); "
            "fetch it where there is network, and give the folder"
        ) from None


def hf_config(source: str, folder: pathlib.Path) -> dict[str, Any]:
    """`config.json` with the defaults of its model type written out."""
    from transformers import AutoConfig

    file = folder / "config.json"
    raw = read_json(file)
    if "model_type" not in raw:
        raise UserError(f"{file}: no model_type, so it is no transformers model (source: {source})")
    try:
        return json.loads(AutoConfig.from_pretrained(str(folder)).to_json_string(use_diff=False))
    except (ValueError, KeyError, OSError, TypeError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise UserError(f"{file}: transformers does not read it ({reason})") from None


def weights(source: str, folder: pathlib.Path, single: tuple[str, ...]) -> tuple[pathlib.Path, ...]:
    """The files of a folder that hold the weights: one of the usual names, or what an index lists."""
    for name in single:
        if (folder / name).is_file():
            return (folder / name,)
        index = folder / f"{name}.index.json"
        if index.is_file():
            return tuple(folder / shard for shard in sorted(set(read_json(index)["weight_map"].values())))
    raise UserError(f"{source}: no weights in {folder}; looked for {', '.join(single)} and their .index.json")


def _open_clip_file(source: str, path: pathlib.Path) -> Origin:
    """A weights file with its config beside it; without one its place says nothing about the architecture."""
    config = path.parent / "open_clip_config.json"
    if config.is_file():
        return Origin(source, "open_clip", path.parent, read_json(config), (path,))
    if (path.parent / "config.json").is_file():
        return Origin(source, "hf", path.parent, hf_config(source, path.parent), (path,))
    raise UserError(
        f"{source}: no open_clip_config.json or config.json beside it says which model it is; "
        "for a model of open_clip write open_clip:NAME@FILE, such as open_clip:ViT-B-32@weights.pt"
    )


def _open_clip_name(source: str, place: str) -> Origin:
    """`NAME@FILE`: an architecture that the open_clip package knows, with weights from a file; or a name on the Hub."""
    name, at, file = place.partition("@")
    if not at:
        folder = download(source, place)
        config = read_json(folder / "open_clip_config.json")
        return Origin(source, "open_clip", folder, config, weights(source, folder, SINGLE_OPEN_CLIP))
    path = pathlib.Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"{source}: no file {file}")
    return Origin(source, "open_clip", path.parent, {"model_cfg": package_config(name), "preprocess_cfg": {}}, (path,))


def package_config(name: str) -> dict[str, Any]:
    """The config of a model name, read from the installed open_clip package without importing it."""
    import importlib.util

    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"open_clip:{name}: model names are open_clip's; pip install 'mmjax[torch]'")
    folder = pathlib.Path(spec.submodule_search_locations[0]) / "model_configs"
    file = folder / f"{name}.json"
    if not file.is_file():
        raise UserError(f"open_clip has no model {name!r}{nearest(name, [f.stem for f in folder.glob('*.json')])}")
    return read_json(file)


def read_json(file: pathlib.Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
      UserError: no such file, or something else in it.
    """
    try:
        value = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: missing") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{file}: holds no JSON object")
    return value
