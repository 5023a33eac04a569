"""What comes in goes out as it was: tensors bit by bit, preprocessing, tokenizers; and the libraries load it."""

import json
import logging
import warnings

import numpy as np
import pytest
from flax import traverse_util

import mmjax
from mmjax.cli import main
from mmjax.exchange import verify
from mmjax.interop.tensors import open_files
from tests.interop.peers import PEERS, random_model, torch, transformers, write
from tests.interop.torch_peers import import_open_clip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every family written by its library, and exported again after an import; made when first asked for."""
    root, made = tmp_path_factory.mktemp("roundtrip"), {}

    def make(name):
        if name not in made:
            peer, place = PEERS[name], root / name.replace(" ", "_")
            source = write(peer, random_model(peer), place / "in")
            to = "open_clip" if peer.config is not None else "hf"
            assert main(["export", str(place / "out"), "--model", source, "--to", to, "--verify"]) == 0
            made[name] = (source, place / "in", place / "out", to)
        return made[name]

    return make


def weights(folder):
    (file,) = folder.glob("*.safetensors")
    return {name: stored.read() for name, stored in open_files([file]).items()}


@pytest.mark.parametrize("name", PEERS)
def test_tensors_go_out_bit_by_bit(name, folders):
    _, there, back, _ = folders(name)
    before, after = weights(there), weights(back)
    assert before.keys() == after.keys()
    for tensor, values in before.items():
        assert values.shape == after[tensor].shape, tensor
        if not tensor.endswith("mask_token"):  # holds nothing that a feature depends on, and goes out as zeros
            np.testing.assert_array_equal(values, after[tensor], err_msg=tensor)


@pytest.mark.parametrize("name", PEERS)
def test_in_out_in_is_the_same_model(name, folders):
    source, _, back, to = folders(name)
    first, second = mmjax.load(source), mmjax.load(f"{to}:{back}")
    assert first.config["task"] == second.config["task"]
    a, b = (traverse_util.flatten_dict(model.params, sep="/") for model in (first, second))
    assert a.keys() == b.keys()
    for path, values in a.items():
        np.testing.assert_array_equal(values, b[path], err_msg=path)


def strip(section):
    """A stream's section without the place of its tokenizer."""
    return {key: value for key, value in section.items() if key != "tokenizer"}


@pytest.mark.parametrize("name", PEERS)
def test_preprocessing_survives(name, folders):
    source, _, back, to = folders(name)
    first, second = mmjax.load(source), mmjax.load(f"{to}:{back}")
    assert {k: strip(v) for k, v in first.config["streams"].items()} == {
        k: strip(v) for k, v in second.config["streams"].items()
    }
    text = "w1 w2 w3 unknown w99"
    for stream in first.streams:
        if first.streams[stream].kind == "text":
            np.testing.assert_array_equal(
                first.streams[stream]((text,), None)["data"], second.streams[stream]((text,), None)["data"]
            )


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.config is None])
def test_transformers_loads_it_without_a_warning(name, folders, caplog):
    _, _, back, _ = folders(name)
    transformers.utils.logging.enable_propagation()
    caplog.clear()
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error", UserWarning)
        bare = {"add_pooling_layer": False} if "without" in name else {}  # or it says that it has drawn a new pooler
        model, report = transformers.AutoModel.from_pretrained(back, output_loading_info=True, **bare)
    said = [record.getMessage() for record in caplog.records]
    # transformers says this of its own default SiglipTextConfig, whatever it loads.
    assert not [text for text in said if "between 0 and 31999" not in text]
    assert not any(report.values()), report
    assert type(model).__name__ == json.loads((back / "config.json").read_text())["architectures"][0]


@pytest.mark.parametrize("name", PEERS)
def test_the_proof_rejects_another_model(name, folders, tmp_path):
    source, _, back, to = folders(name)
    model = mmjax.load(source)
    assert verify.largest_error(model, to, back) < 1e-5
    path, values = next((p, x) for p, x in traverse_util.flatten_dict(model.params).items() if "value" in p)
    flat = traverse_util.flatten_dict(model.params) | {path: values * 1.1}
    wrong = mmjax.Model(model.task, traverse_util.unflatten_dict(flat), model.streams, model.config)
    assert verify.largest_error(wrong, to, back) > 1e-4


@pytest.mark.parametrize("name", ["clip", "siglip", "chinese_clip"])
def test_processor_and_pipeline(name, folders, tmp_path):
    from PIL import Image

    _, _, back, _ = folders(name)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(picture)
    labels = ["w1 w2", "w3", "w4 w5 w6"]
    pillow = transformers.AutoImageProcessor.from_pretrained(back, backend="pil")  # the one whose pixels are ours
    pipe = transformers.pipeline("zero-shot-image-classification", str(back), image_processor=pillow)
    scores = {item["label"]: item["score"] for item in pipe(str(picture), labels, hypothesis_template="{}")}
    mine = mmjax.load(f"hf:{back}").classify([picture], labels, templates=["{}"])[0]
    np.testing.assert_allclose([scores[label] for label in labels], mine, atol=1e-4)
    processor = transformers.AutoProcessor.from_pretrained(back)
    processor.image_processor = pillow
    batch = processor(text=labels, images=Image.open(picture), return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = transformers.AutoModel.from_pretrained(back)(**batch)
    np.testing.assert_allclose(out.image_embeds.numpy(), mmjax.load(f"hf:{back}").embed(image=[picture]), atol=1e-5)


def test_open_clip_makes_it_with_its_transforms(folders, tmp_path):
    from PIL import Image

    open_clip = import_open_clip()
    _, _, back, _ = folders("open_clip")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{back}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{back}")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 56, 3), dtype=np.uint8))
    mine, texts = mmjax.load(f"open_clip:{back}"), ["w1 w2", "w3 w4 w5"]
    model.eval()
    with torch.inference_mode():
        image = model.encode_image(preprocess(picture)[None], normalize=True).numpy()
        text = model.encode_text(tokenize(texts), normalize=True).numpy()
    np.testing.assert_allclose(image, mine.embed(image=[picture]), atol=1e-5)
    np.testing.assert_allclose(text, mine.embed(text=texts), atol=1e-5)
