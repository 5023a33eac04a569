"""Where weights are looked for: paths with and without a scheme, the Hub, and configs that say nothing usable."""

import io
import json
import pathlib
import sys
import types

import numpy as np
import pytest
from flax import traverse_util
from safetensors.torch import save_file

import mmjax
from mmjax.data.tokenizers import HuggingFace
from mmjax.errors import UserError
from mmjax.interop import importer, sources
from mmjax.interop.importer import Options
from tests.interop.peers import PEERS, random_model, torch, write


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return pathlib.Path(
        write(PEERS["clip"], random_model(PEERS["clip"]), tmp_path_factory.mktemp("hf")).partition(":")[2]
    )


@pytest.fixture(scope="module")
def open_clip(tmp_path_factory):
    peer = PEERS["open_clip"]
    return pathlib.Path(write(peer, random_model(peer), tmp_path_factory.mktemp("open")).partition(":")[2])


def copied(folder, to):
    """A copy that a test may spoil."""
    to.mkdir(exist_ok=True)
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def refused(source, *words, **options):
    with pytest.raises(UserError) as error:
        importer.begin(str(source), **options)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


# Paths


def test_a_path_needs_no_scheme(clip, open_clip):
    for place in (clip, clip / "model.safetensors"):
        assert sources.with_scheme(str(place)) == f"hf:{place}"
        for source in (str(place), f"hf:{place}"):
            found = sources.find(source)
            assert (found.library, found.files) == ("hf", (clip / "model.safetensors",))
    for place in (open_clip, open_clip / "open_clip_model.safetensors"):
        assert sources.with_scheme(str(place)) == f"open_clip:{place}"
        for source in (str(place), f"open_clip:{place}"):
            found = sources.find(source)
            assert (found.library, found.files) == ("open_clip", (open_clip / "open_clip_model.safetensors",))


def test_where_both_lie_a_file_tells_by_its_name_and_a_folder_is_open_clips(clip, open_clip, tmp_path):
    both = copied(open_clip, copied(clip, tmp_path / "both"))
    libraries = {"model.safetensors": "hf", "open_clip_model.safetensors": "open_clip", ".": "open_clip"}
    for name, library in libraries.items():
        assert sources.find(str(both / name)).library == library
    assert sources.find(f"hf:{both}").files == (both / "model.safetensors",)


def test_a_name_without_a_scheme_is_transformers():
    assert sources.with_scheme("openai/clip-vit-base-patch32") == "hf:openai/clip-vit-base-patch32"
    assert sources.with_scheme("open_clip:ViT-B-32@b32.pt") == "open_clip:ViT-B-32@b32.pt"


@pytest.mark.parametrize("library", ["hf", "open_clip"])
def test_a_file_without_its_config_is_refused(library, tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "weights.safetensors")
    config = {"hf": "config.json", "open_clip": "open_clip_config.json"}[library]
    refused(f"{library}:{tmp_path / 'weights.safetensors'}", f"no {config} beside it", "open_clip:NAME@FILE")


def test_a_folder_of_the_other_library_is_refused(clip):
    refused(f"open_clip:{clip}", "no open_clip_config.json", f"hf:{clip}")


def flat(model):
    return traverse_util.flatten_dict(model.params, sep="/")


def test_a_file_is_the_model_of_its_folder(clip):
    whole, file = flat(mmjax.load(f"hf:{clip}")), flat(mmjax.load(f"hf:{clip / 'model.safetensors'}"))
    assert whole.keys() == file.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(values, file[name])


# What is not of the form that it should have


def test_an_index_that_lists_nothing(clip, tmp_path):
    folder = copied(clip, tmp_path / "copy")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = folder / "model.safetensors.index.json"
    for content in ("{}", '{"weight_map": ["a"]}', '{"weight_map": {"a": 1}}'):
        index.write_text(content)
        refused(f"hf:{folder}", "model.safetensors.index.json: no weight_map")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_cfg": {"embed_dim": 4}}, "no section model_cfg.vision_cfg"),
        ({"model_cfg": {"vision_cfg": {}, "text_cfg": [1]}}, "no section model_cfg.text_cfg"),
        ({"model_cfg": {"vision_cfg": {}, "text_cfg": {}}, "preprocess_cfg": [1]}, "preprocess_cfg is no section"),
        ({"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}, "CLIP config: model_cfg.embed_dim is missing"),
        (
            {"model_cfg": {"embed_dim": 4, "vision_cfg": {"width": "64"}, "text_cfg": {}}},
            "CLIP config: a value is not of the kind",
        ),
        (
            {"model_cfg": {"embed_dim": 4, "vision_cfg": {"head_width": 0}, "text_cfg": {}}},
            "CLIP config: a value is not of the kind",
        ),
        (
            {"model_cfg": {"embed_dim": 4, "vision_cfg": {}, "text_cfg": {"layers": "2"}}},
            "towers.text.depth must be int | None, got '2'",
        ),
        ({"model_cfg": {"vision_cfg": {"layers": [3, 4]}, "text_cfg": {}}}, "no family for vision_cfg.layers = [3, 4]"),
        (
            {"model_cfg": {"vision_cfg": {}, "text_cfg": {"hf_model_name": "b"}, "custom_text": True}},
            "no family for text_cfg.hf_model_name = 'b' and custom_text = True",
        ),
    ],
)
def test_a_config_of_open_clip_that_describes_no_model_of_ours(config, words, tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    refused(f"open_clip:{tmp_path}", words)


def test_a_resnet_by_name(tmp_path):
    pytest.importorskip("open_clip", reason="open_clip is not installed: pip install 'mmjax[torch]'")
    save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    refused(f"open_clip:RN50@{tmp_path / 'a.safetensors'}", "no family for vision_cfg.layers = [3, 4, 6, 3]")


# Code that a folder brings along

CODE = """
import pathlib
pathlib.Path({marker!r}).touch()
from transformers import {base}
class Theirs({base}):
    model_type = "theirs"
"""


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that is there when code of a model has run, where a user would say yes to it."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    yield tmp_path / "it ran"
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


def test_a_configs_code_is_not_run(marker, tmp_path):
    (tmp_path / "theirs.py").write_text(CODE.format(marker=str(marker), base="PretrainedConfig"))
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Theirs"}})
    )
    refused(f"hf:{tmp_path}", "config.json: transformers does not read it", "custom code")
    assert not marker.exists()
    from transformers import AutoConfig

    AutoConfig.from_pretrained(tmp_path, trust_remote_code=True)
    assert marker.exists(), "it would have run"


def test_a_tokenizers_code_is_not_run(marker, clip, tmp_path):
    folder = copied(clip, tmp_path / "copy")
    (folder / "theirs.py").write_text(CODE.format(marker=str(marker), base="PreTrainedTokenizerFast"))
    (folder / "config.json").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Theirs", "auto_map": {"AutoTokenizer": [None, "theirs.Theirs"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="custom code"):
        HuggingFace(str(folder)).encode("w1", 8)
    assert not marker.exists()
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    assert marker.exists(), "it would have run"


# The Hub

FILES = {
    "several formats": (
        [
            "config.json",
            "vocab.txt",
            "README.md",
            "model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "onnx/a.json",
        ],
        ["config.json", "vocab.txt", "model.safetensors"],
    ),
    "shards": (
        [
            "config.json",
            "model.safetensors.index.json",
            "model-1.safetensors",
            "model-2.safetensors",
            "pytorch_model.bin",
        ],
        ["config.json", "model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors"],
    ),
    "an old one": (["config.json", "pytorch_model.bin", "model.ckpt"], ["config.json", "pytorch_model.bin"]),
}
OPEN_CLIP_FILES = ["open_clip_config.json", "config.json", "open_clip_model.safetensors", "model.safetensors", "a.bin"]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that has the files it is given, and notes which are fetched."""
    made = types.SimpleNamespace(files=[], fetched=[], options={})

    def one(name, file):
        (tmp_path / file).write_text(
            json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
        )
        return str(tmp_path / file)

    def snapshot(name, **options):
        made.options, made.fetched = options, options.get("allow_patterns", [])
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda self, name: made.files)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", one)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    return made


@pytest.mark.parametrize("case", FILES)
def test_one_copy_of_the_weights_is_fetched(case, hub):
    hub.files, wanted = FILES[case]
    sources.download("hf:a/b", "a/b", sources.SINGLE)
    assert sorted(hub.fetched) == sorted(wanted)


def test_open_clips_own_copy_is_fetched(hub):
    hub.files = OPEN_CLIP_FILES
    sources.download("open_clip:a/b", "a/b", sources.SINGLE_OPEN_CLIP)
    assert sorted(hub.fetched) == ["config.json", "open_clip_config.json", "open_clip_model.safetensors"]


def test_without_network_the_cache_is_asked(hub, monkeypatch, tmp_path):
    def broken(self, name):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", broken)
    assert sources.download("hf:a/b", "a/b", sources.SINGLE) == tmp_path
    assert hub.options == {"local_files_only": True}


# Tokenizers


@pytest.fixture
def named(monkeypatch):
    """The config of any tokenizer's name on the Hub."""
    config = {}
    monkeypatch.setattr("transformers.models.auto.tokenization_auto.get_tokenizer_config", lambda name: config)
    return config


@pytest.mark.parametrize("name", ["open_clip", "siglip"])
def test_padding_on_the_left_is_refused_for_a_tokenizer_by_name(name, named, tmp_path):
    source = write(PEERS[name], random_model(PEERS[name]), tmp_path)
    options = Options(tokenizer="somebody/tokenizer")
    assert importer.begin(source, options).streams["caption"]["tokenizer"]["path"] == "somebody/tokenizer"
    named["padding_side"] = "left"
    refused(source, "somebody/tokenizer", "padding_side is 'left', and this model reads its padding", options=options)


def test_padding_on_the_left_is_refused_for_open_clip(open_clip, tmp_path):
    folder = copied(open_clip, tmp_path / "copy")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"padding_side": "left"}))
    refused(f"open_clip:{folder}", "padding_side is 'left'")


def test_a_tokenizer_by_name_bounds_the_rows(named, clip):
    named["model_max_length"] = 7
    found = importer.begin(f"hf:{clip}", Options(tokenizer="somebody/tokenizer"))
    assert found.streams["caption"]["length"] == 7


@pytest.fixture
def clips_own(open_clip, tmp_path):
    """A model whose config names no tokenizer: open_clip's own is meant, which is CLIP's."""
    folder = copied(open_clip, tmp_path / "own")
    config = json.loads((folder / "open_clip_config.json").read_text())
    del config["model_cfg"]["text_cfg"]["hf_tokenizer_name"]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def test_without_open_clip_the_folders_own_tokenizer_is_taken(clips_own, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(importer.importlib.util, "find_spec", lambda name: None)
    section = importer.begin(f"open_clip:{clips_own}").streams["caption"]
    assert section["tokenizer"] == {"name": "hf", "path": str(clips_own), "clean": "lower", "pad": 0}
    for file in clips_own.glob("tokenizer*"):
        file.unlink()
    refused(f"open_clip:{clips_own}", "no tokenizer in", "open_clip brings the one that is meant")


def test_with_open_clip_its_own_is_taken(clips_own, tmp_path, monkeypatch):
    pytest.importorskip("open_clip", reason="open_clip is not installed: pip install 'mmjax[torch]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    section = importer.begin(f"open_clip:{clips_own}").streams["caption"]
    assert section["tokenizer"]["path"] == str(tmp_path / "cache" / "mmjax" / "clip_tokenizer")
