"""What an export refuses, what it tells, and streams by other names than an import gives them."""

import json

import numpy as np
import pytest
from flax import traverse_util

import mmjax
from mmjax.config import build
from mmjax.data.streams import STREAMS
from mmjax.exchange.tokenizer import save_tokenizer
from mmjax.interop import exporter
from mmjax.interop.config_map import Inexpressible, to_config
from mmjax.interop.families import open_clip
from mmjax.interop.families.open_clip_siglip import OPEN_CLIP_SIGLIP
from mmjax.interop.importer import Options
from mmjax.interop.tensors import open_files
from tests.interop.comparing import changed
from tests.interop.peers import PEERS, random_model, transformers, write

POOLER = "this model has no pooler, so AutoModel draws a random one"


def imported(name, folder, **options):
    return mmjax.load(write(PEERS[name], random_model(PEERS[name]), folder / "in"), options=Options(**options))


def library(name):
    return "open_clip" if PEERS[name].config is not None else "hf"


def written(model, to, folder, streams=None):
    """The export of a model, by its weights and its tokenizer."""
    folder.mkdir()
    export = exporter.begin(to, model.config["task"], streams or model.config["streams"])
    flat = {name: np.asarray(x) for name, x in traverse_util.flatten_dict(model.params, sep="/").items()}
    exporter.write(export, flat, folder)
    save_tokenizer(model, export, folder)
    return folder


# Streams by other names


def renamed(model):
    """The same model of a config that calls the pictures photos and the texts titles."""
    names = {"image": "photo", "caption": "title"}
    sections = {names[name]: section for name, section in model.config["streams"].items()}
    task = changed(model.config["task"], {})
    task |= {"streams": {"photo": "image", "title": "text"}, "pairs": (("photo", "title"),)}
    streams = {name: build(section, STREAMS, name) for name, section in sections.items()}
    return mmjax.Model(model.task, model.params, streams, {"task": task, "streams": sections})


@pytest.mark.parametrize("name", ["clip", "open_clip"])
def test_streams_go_by_their_tower(name, tmp_path):
    model = imported(name, tmp_path)
    plain = written(model, library(name), tmp_path / "plain")
    other = written(renamed(model), library(name), tmp_path / "other")
    assert {file.name for file in plain.iterdir()} == {file.name for file in other.iterdir()}
    for file in plain.iterdir():
        assert file.read_bytes() == (other / file.name).read_bytes(), file.name


def test_the_key_of_a_size_is_that_of_its_stream(tmp_path):
    task = renamed(imported("siglip", tmp_path)).config["task"]
    with pytest.raises(Inexpressible, match=r"config\.data\.streams\.photo\.size = 32, it has"):
        to_config(OPEN_CLIP_SIGLIP, task, 32)


# Rows of text


def test_shorter_rows_are_refused_where_padding_is_read(tmp_path):
    model = imported("siglip", tmp_path, text_length=16)
    with pytest.raises(Inexpressible) as error:
        exporter.begin("hf", model.config["task"], model.config["streams"])
    assert "config.data.streams.caption.length = 16" in str(error.value)
    assert "config.task.towers.text.length = 64" in str(error.value)


@pytest.mark.parametrize("name", ["clip", "open_clip"])
def test_the_length_of_a_row_goes_out(name, tmp_path, capsys):
    model = imported(name, tmp_path, text_length=9)
    out = written(model, library(name), tmp_path / "out")
    note = "length is 9, but open_clip cuts texts at the model's 16 positions"
    assert (note in capsys.readouterr().err) == (name == "open_clip")
    assert transformers.AutoTokenizer.from_pretrained(out).model_max_length == 9
    assert mmjax.load(f"{library(name)}:{out}").streams["caption"].length == 9


# Notes


@pytest.mark.parametrize(
    ("name", "told"), [("bert", []), ("bert without pooler", [POOLER]), ("vit without pooler", [POOLER]), ("gpt2", [])]
)
def test_a_missing_pooler_is_told(name, told, tmp_path, capsys):
    written(imported(name, tmp_path), "hf", tmp_path / "out")
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert [note.removeprefix("note: ").partition(":")[0] for note in notes] == told


# Numbers


@pytest.mark.parametrize(("width", "mlp_dim"), [(112, 976), (768, 3072), (32, 60)])
def test_open_clips_ratio_gives_the_width_of_the_mlp(width, mlp_dim):
    assert int(width * open_clip.mlp_ratio(width, mlp_dim)) == mlp_dim
    assert open_clip.mlp_ratio(768, 3072) == 4.0


def test_a_width_that_the_quotient_misses_goes_out(tmp_path):
    model = imported("open_clip", tmp_path)
    sizes = {f"towers.{tower}.{key}": value for tower in ("image", "text") for key, value in ODD.items()}
    config = exporter.begin("open_clip", changed(model.config["task"], sizes), model.config["streams"]).config
    for part in ("vision_cfg", "text_cfg"):
        assert int(112 * config["model_cfg"][part]["mlp_ratio"]) == 976


ODD = {"width": 112, "heads": 7, "mlp_dim": 976}


def test_a_picture_with_a_margin_goes_out_bit_by_bit(tmp_path):
    """30 pixels are 2 x 2 patches of 14; the two left over are no reason to resize the table."""
    model = imported("siglip margin", tmp_path)
    out = written(model, "hf", tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["vision_config"]["image_size"] == 30
    before, after = (open_files([place / "model.safetensors"]) for place in (tmp_path / "in", out))
    assert before.keys() == after.keys()
    for name, stored in before.items():
        np.testing.assert_array_equal(stored.read(), after[name].read(), err_msg=name)
