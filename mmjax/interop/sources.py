"""Where weights come from: `hf:NAME-or-folder`, `open_clip:NAME-or-file`, or a plain path to either."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from mmjax.errors import UserError, nearest

SCHEMES = ("hf:", "open_clip:")
CONFIGS = (".json", ".txt", ".model")  # of a repository on the Hub: configs, tokenizer, preprocessing
SINGLE = ("model.safetensors", "pytorch_model.bin")
SINGLE_OPEN_CLIP = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    *SINGLE,
)
CONFIG_OPEN_CLIP = "open_clip_config.json"


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


def with_scheme(source: str) -> str:
    """A source as `hf:...` or `open_clip:...`: a path without either by what lies there, a name as transformers'."""
    if is_foreign(source):
        return source
    path = pathlib.Path(source).expanduser()
    folder = path.parent if path.is_file() else path
    # Where both configs lie, a file tells whose it is by its name; a whole folder is read as open_clip's.
    other = path.name in SINGLE and (folder / "config.json").is_file()
    return f"open_clip:{source}" if (folder / CONFIG_OPEN_CLIP).is_file() and not other else f"hf:{source}"


def find(source: str) -> Origin:
    """Finds config and weights; a name that is no path is fetched from the Hugging Face Hub.

    Raises:
      UserError: nothing there, no network, no access, or a folder without config or weights.
    """
    library, _, place = with_scheme(source).partition(":")
    path = pathlib.Path(place).expanduser()
    if path.is_file():
        return _beside(source, library, path)
    name, at, file = place.partition("@")
    if library == "open_clip" and at and not path.is_dir():
        return _by_name(source, name, file)
    single = SINGLE_OPEN_CLIP if library == "open_clip" else SINGLE
    folder = path if path.is_dir() else download(source, place, single)
    if library == "hf":
        return Origin(source, "hf", folder, hf_config(source, folder), weights(source, folder, SINGLE))
    if not (folder / CONFIG_OPEN_CLIP).is_file():
        raise UserError(f"{source}: no {CONFIG_OPEN_CLIP} there; for a model of transformers write hf:{place}")
    config = open_clip_config(folder / CONFIG_OPEN_CLIP)
    return Origin(source, "open_clip", folder, config, weights(source, folder, SINGLE_OPEN_CLIP))


def download(source: str, name: str, single: Sequence[str]) -> pathlib.Path:
    """What is needed of a repository of the Hub, in its cache: configs and one copy of the weights."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UserError(f"{source}: no such file or folder")
    try:
        files = _listing(name)
        wanted = {"local_files_only": True} if files is None else {"allow_patterns": _wanted(name, files, single)}
        return pathlib.Path(snapshot_download(name, **wanted))
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


def _listing(name: str) -> list[str] | None:
    """The files of a repository; None where the Hub cannot be asked, and the cache has to do."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return HfApi().list_repo_files(name)
    except (HFValidationError, RepositoryNotFoundError):
        raise
    except Exception:  # what is raised without network is of whichever HTTP client the library has
        return None


def _wanted(name: str, files: Sequence[str], single: Sequence[str]) -> list[str]:
    """Of a repository's files the configs, and of the weights, which many have in several formats, the first copy."""
    from huggingface_hub import hf_hub_download

    configs = [file for file in files if file.endswith(CONFIGS) and "/" not in file]
    return configs + first_copy(files, single, lambda index: pathlib.Path(hf_hub_download(name, index)))


def first_copy(names: Collection[str], single: Sequence[str], fetch: Callable[[str], pathlib.Path]) -> list[str]:
    """The names of the files that hold the weights: the first of the usual ones, or the shards that its index lists.

    Args:
      names: the files that are there.
      single: the usual names, best first.
      fetch: the name of an index → where it lies.

    Raises:
      UserError: an index that lists nothing.
    """
    for name in single:
        if name in names:
            return [name]
        if (index := f"{name}.index.json") in names:
            return _shards(fetch(index))
    return []


def _shards(index: pathlib.Path) -> list[str]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, Mapping) or not places or not all(isinstance(file, str) for file in places.values()):
        raise UserError(f"{index}: no weight_map from tensors to files, so it is no index of shards; fetch it again")
    return sorted(set(places.values()))


def hf_config(source: str, folder: pathlib.Path) -> dict[str, Any]:
    """`config.json` with the defaults of its model type written out. No code that comes with a model is run."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    file = folder / "config.json"
    raw = read_json(file)
    if "model_type" not in raw:
        raise UserError(f"{file}: no model_type, so it is no transformers model (source: {source})")
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        return json.loads(config.to_json_string(use_diff=False))
    except (ValueError, KeyError, OSError, TypeError, AttributeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{file}: transformers does not read it ({reason})") from None


def open_clip_config(file: pathlib.Path) -> dict[str, Any]:
    """`open_clip_config.json`.

    Raises:
      UserError: a section that is missing, or is none.
    """
    config = read_json(file)
    model = config.get("model_cfg")
    for key in ("vision_cfg", "text_cfg"):
        if not isinstance(model, Mapping) or not isinstance(model.get(key), Mapping):
            raise UserError(f"{file}: no section model_cfg.{key}, so it describes no model of open_clip")
    if not isinstance(config.get("preprocess_cfg") or {}, Mapping):
        raise UserError(f"{file}: preprocess_cfg is no section, but {config['preprocess_cfg']!r}")
    return config


def hub_tokenizer_config(name: str) -> dict[str, Any]:
    """`tokenizer_config.json` of a tokenizer on the Hub; empty where it has none.

    Raises:
      UserError: no such name.
    """
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    try:
        return get_tokenizer_config(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise UserError(f"{name}: neither a folder nor a tokenizer on the Hub ({reason})") from None


def weights(source: str, folder: pathlib.Path, single: Sequence[str]) -> tuple[pathlib.Path, ...]:
    """The files of a folder that hold the weights: one of the usual names, or what an index lists."""
    names = first_copy({file.name for file in folder.iterdir()}, single, lambda index: folder / index)
    if not names:
        raise UserError(f"{source}: no weights in {folder}; looked for {', '.join(single)} and their .index.json")
    return tuple(folder / name for name in names)


def _beside(source: str, library: str, file: pathlib.Path) -> Origin:
    """A weights file with its config beside it; without one its place says nothing about the architecture."""
    folder = file.parent
    name = CONFIG_OPEN_CLIP if library == "open_clip" else "config.json"
    if not (folder / name).is_file():
        raise UserError(
            f"{source}: no {name} beside it says which model it is; "
            "for a model of open_clip write open_clip:NAME@FILE, such as open_clip:ViT-B-32@weights.pt"
        )
    config = open_clip_config(folder / name) if library == "open_clip" else hf_config(source, folder)
    return Origin(source, library, folder, config, (file,))


def _by_name(source: str, name: str, file: str) -> Origin:
    """`NAME@FILE`: an architecture that the open_clip package knows, with weights from a file."""
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
