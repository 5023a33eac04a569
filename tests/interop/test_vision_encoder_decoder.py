"""ViT + GPT-2: the numbers and texts of transformers' `VisionEncoderDecoderModel`, there and back."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from flax import traverse_util

import mmjax
from mmjax.batch import Batch, Stream
from mmjax.config import build
from mmjax.decoding import Decoding
from mmjax.exchange import verify
from mmjax.interop import exporter
from mmjax.interop.tensors import open_files
from mmjax.tasks import TASKS
from mmjax.writing import program
from tests.interop.captioners import LARGE, PEER, PEERS, START, difference, ours, theirs, torch_pixels
from tests.interop.comparing import (
    batch_of,
    changed,
    make_inputs,
)
from tests.interop.peers import (
    EOS,
    LENGTH,
    SIDE,
    random_model,
    torch,
    transformers,
    write,
)
from tests.interop.test_full_size import NOISE
from tests.interop.test_parity import TOLERANCE, record


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Each peer as its library writes it; made when first asked for. The small one has small activations."""
    root, made = tmp_path_factory.mktemp("peers"), {}

    def get(name="vision_encoder_decoder", spread=1.0):
        key = (name, spread)
        if key not in made:
            peer = PEERS.get(name, LARGE)
            model = random_model(peer, spread=spread, noise=NOISE if peer is LARGE else 0.2)
            made[key] = (model, write(peer, model, root / f"{len(made)}"))
        return made[key]

    return get


FULL = "full vision_encoder_decoder"
SMALL = [(name, 1.0) for name in PEERS] + [("vision_encoder_decoder", 0.01)]


@pytest.mark.parametrize(("name", "spread"), [*SMALL, pytest.param(FULL, 1.0, marks=pytest.mark.slow)])
def test_same_numbers(name, spread, folder, tmp_path):
    """At full size ViT-B/16 and GPT-2 small; of its noise and tolerance see test_full_size.py."""
    peer = LARGE if name == FULL else PEERS[name]
    inputs = make_inputs(peer, rows=2 if name == FULL else 4)
    model, source = folder(name, spread)
    mine = ours(mmjax.load(source), inputs)
    wrong = difference(mine, theirs(peer, model, inputs, tmp_path), inputs)
    record(name + (" small activations" if spread < 1 else ""), wrong)
    assert max(wrong.values()) < (3 * TOLERANCE if name == FULL else TOLERANCE), wrong


def without_bias(params):
    return {**params, "connect": {"map": {**params["connect"]["map"], "bias": np.zeros(32, np.float32)}}}


def swapped(params):
    """Key and value of what reads the picture, one for the other."""
    flat = traverse_util.flatten_dict(params, sep="/")
    turn = {"key": "value", "value": "key"}
    names = {name: name.split("/") for name in flat if "/cross/key" in name or "/cross/value" in name}
    flat |= {name: flat["/".join([*path[:-2], turn[path[-2]], path[-1]])] for name, path in names.items()}
    return traverse_util.unflatten_dict(flat, sep="/")


def blind(params):
    flat = traverse_util.flatten_dict(params, sep="/")
    flat |= {name: np.zeros_like(x) for name, x in flat.items() if "/cross/out/" in name}
    return traverse_util.unflatten_dict(flat, sep="/")


MUTANTS = {
    "the exact GELU in the decoder": ({"towers.text.activation": "gelu"}, None, 1.0),
    "tanh GELU in the encoder": ({"towers.image.activation": "gelu_tanh"}, None, 1.0),
    "GPT-2's epsilon in the encoder": ({"towers.image.epsilon": 1e-5}, None, 0.01),
    "the encoder's epsilon in GPT-2": ({"towers.text.epsilon": 1e-12}, None, 0.01),
    "embeddings scaled": ({"towers.text.embed_scale": True}, None, 1.0),
    "a projection without its bias": ({}, without_bias, 1.0),
    "key for value": ({}, swapped, 1.0),
    "no picture read": ({}, blind, 1.0),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_wrong_variants_are_rejected(mutant, folder):
    changes, change, spread = MUTANTS[mutant]
    model, source = folder(spread=spread)
    mine, inputs = mmjax.load(source), make_inputs(PEER)
    wanted = next_logits(model, inputs)
    out = encode(mine, inputs, changes, mine.params if change is None else change(mine.params))
    assert np.abs(out - wanted).max() / np.abs(wanted).max() > 3 * TOLERANCE


def next_logits(model, inputs):
    with torch.inference_mode():
        out = model(pixel_values=torch_pixels(inputs.pixels), decoder_input_ids=torch.tensor(inputs.ids))
    return out.logits[:, :-1].numpy() * inputs.mask[:, 1:, None]


def encode(model, inputs, changes, params):
    task = build(changed(model.config["task"], changes), TASKS, "task")
    with jax.default_matmul_precision("highest"):
        out = jax.jit(lambda params: task.encode(params, batch_of(model, inputs), None))(params)
    return out["logits"] * out["mask"][..., None]


def test_a_missing_projection_is_no_model(folder):
    _, source = folder()
    mine = mmjax.load(source)
    with pytest.raises(ValueError, match="connector 'none' needs one width, got image tokens 24 wide and a decoder 32"):
        encode(mine, make_inputs(PEER), {"connection.connector": "none"}, mine.params)


PICTURES = np.random.default_rng(3).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)


def generated(model, beams=1, **more):
    """Their ids, the start left out, and behind the end nothing."""
    with torch.inference_mode():
        ids = model.generate(
            torch_pixels(PICTURES), max_new_tokens=LENGTH - 1, do_sample=False, num_beams=beams, **more
        ).numpy()
    assert (ids[:, 0] == START).all()
    return [row[: np.flatnonzero(row == EOS)[0] + 1 if EOS in row else None].tolist() for row in ids[:, 1:]]


def written(model, beams=1):
    present, index = np.ones(len(PICTURES), bool), np.arange(len(PICTURES), dtype=np.int32)
    batch = Batch({"image": Stream(PICTURES, present)}, present, index, index)
    with jax.default_matmul_precision("highest"):
        out = program(model.task, Decoding(LENGTH - 1, beams=beams))(model.params, batch, None, None)
    return [np.asarray(ids)[np.asarray(mask)].tolist() for ids, mask in zip(out.ids, out.mask, strict=True)]


@pytest.mark.parametrize("beams", [1, 3])
def test_the_same_texts_are_written(beams, folder):
    model, source = folder()
    wanted = generated(model, beams)
    assert written(mmjax.load(source), beams) == wanted
    assert len(set(map(tuple, wanted))) > 1  # pictures matter


def test_a_captioner_out_of_the_folder(folder):
    """`mmjax.load` is all that it takes."""
    _, source = folder()
    model = mmjax.load(source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.removeprefix("hf:"))
    wanted = [tokenizer.decode(row, skip_special_tokens=True) for row in written(model)]
    assert model.caption(list(PICTURES)) == wanted
    assert any(wanted)


@pytest.fixture
def exported(folder, tmp_path):
    def export(name="vision_encoder_decoder"):
        model = mmjax.load(folder(name)[1])
        out = exporter.begin("hf", model.config["task"], model.config["streams"])
        flat = {name: np.asarray(x) for name, x in traverse_util.flatten_dict(model.params, sep="/").items()}
        exporter.write(out, flat, tmp_path)
        model.streams["caption"].save_tokenizer(tmp_path, root=tmp_path)
        return model, out

    return export


@pytest.mark.parametrize("name", PEERS)
def test_in_out_in(name, folder, exported, tmp_path):
    """Bit by bit; a pooler, which no caption depends on, goes out as zeros; and `generate` needs to be told nothing."""
    _, source = folder(name)
    model, _ = exported(name)
    there = {key: x.read() for key, x in open_files([tmp_path / "model.safetensors"]).items()}
    state = {key: x.read() for key, x in open_files([pathlib.Path(source[3:]) / "model.safetensors"]).items()}
    assert there.keys() == state.keys()
    for key, values in state.items():
        np.testing.assert_array_equal(there[key], 0 * values if ".pooler." in key else values, err_msg=key)
    again = mmjax.load(f"hf:{tmp_path}")
    assert again.config["task"] == model.config["task"]
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    other, report = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert generated(other) == written(model)
    assert isinstance(transformers.AutoModelForImageTextToText.from_pretrained(tmp_path), type(other))
    wrong = verify.errors(model, "hf", tmp_path)
    assert wrong.keys() == {"next", "pixels", "ids"} and max(wrong.values()) < TOLERANCE, wrong


@pytest.mark.parametrize("stream", ["next", "ids"])
def test_the_proof_rejects_another_model(stream, exported, tmp_path):
    model, _ = exported()
    if stream == "next":
        model = dataclasses.replace(model, params=swapped(model.params))
    else:
        file = next(tmp_path.glob("tokenizer.json"))
        file.write_text(file.read_text().replace('"<unk>": 100', '"<unk>": 7'))
    assert not verify.errors(model, "hf", tmp_path)[stream] <= TOLERANCE


def test_ids_are_those_of_generate(folder, tmp_path):
    """A file of their own comes before the config; a start that nobody says is the begin; padding may be the end."""
    _, source = folder()
    place = shutil.copytree(source.removeprefix("hf:"), tmp_path / "model")
    config = json.loads((place / "config.json").read_text())
    for key in ("decoder_start_token_id", "eos_token_id", "pad_token_id"):
        del config[key]
    (place / "config.json").write_text(json.dumps(config))
    other = transformers.VisionEncoderDecoderModel.from_pretrained(place)
    assert generated(other) == written(mmjax.load(f"hf:{place}"))
    (place / "generation_config.json").unlink()
    decoder = mmjax.load(f"hf:{place}").task.model.decoder
    assert (decoder.begin, decoder.eos, decoder.pad) == (START, EOS, EOS)
