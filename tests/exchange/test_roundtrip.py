"""What comes in goes out as it was: tensors bit by bit, preprocessing, tokenizers; and the libraries load it."""

import contextlib
import json
import logging
import re
import warnings

import numpy as np
import pytest
from flax import traverse_util

import mmjax
from mmjax.cli import main
from mmjax.config import build
from mmjax.data.streams import STREAMS
from mmjax.exchange import verify
from mmjax.interop.tensors import open_files
from mmjax.tasks import TASKS
from tests.interop.captioners import PEER as CAPTIONER
from tests.interop.peers import PEERS, random_model, torch, transformers, write
from tests.interop.torch_peers import import_open_clip

TOLERANCE = 1e-5  # the default
# What transformers says of itself, whatever it loads: of its default SiglipTextConfig.
OF_THEIR_OWN = ("between 0 and 31999",)


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


@pytest.fixture
def silent(caplog):
    """A block in which neither a log nor a warning may say anything."""

    @contextlib.contextmanager
    def block():
        transformers.utils.logging.enable_propagation()
        caplog.clear()
        with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.WARNING):
            warnings.simplefilter("always")
            yield
        said = [record.getMessage() for record in caplog.records] + [str(warning.message) for warning in warned]
        assert not [text for text in said if not any(known in text for known in OF_THEIR_OWN)]

    return block


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.config is None])
def test_transformers_loads_it_without_a_warning(name, folders, silent):
    _, _, back, _ = folders(name)
    bare = {"add_pooling_layer": False} if "without" in name else {}  # or it says that it has drawn a new pooler
    with silent():
        model, report = transformers.AutoModel.from_pretrained(back, output_loading_info=True, **bare)
    assert not any(report.values()), report
    assert type(model).__name__ == json.loads((back / "config.json").read_text())["architectures"][0]


def with_values(model, **changed):
    """The model with some of its parameters changed: {path with dots for slashes: function}."""
    flat = traverse_util.flatten_dict(model.params, sep="/")
    flat |= {name: change(np.asarray(flat[name])) for name, change in changed.items()}
    return mmjax.Model(model.task, traverse_util.unflatten_dict(flat, sep="/"), model.streams, model.config)


def with_sections(model, task=None, streams=None):
    """The model with the same parameters under other sections."""
    task, streams = task or model.config["task"], streams or model.config["streams"]
    built = {name: build(section, STREAMS, name) for name, section in streams.items()}
    config = {**model.config, "task": task, "streams": streams}
    return mmjax.Model(build(task, TASKS, "task"), model.params, built, config)


@pytest.mark.parametrize("name", PEERS)
def test_the_proof_rejects_another_model(name, folders):
    source, _, back, to = folders(name)
    model = mmjax.load(source)
    assert max(verify.errors(model, to, back).values()) < TOLERANCE / 5
    path = next(p for p in traverse_util.flatten_dict(model.params, sep="/") if "value" in p)
    assert max(verify.errors(with_values(model, **{path: lambda x: x * 1.1}), to, back).values()) > 10 * TOLERANCE


SWAPPED = {"gelu": "gelu_tanh", "gelu_tanh": "gelu", "quick_gelu": "gelu"}


@pytest.mark.parametrize(
    "name", ["clip", "siglip", "chinese_clip", "vit", "dinov2", "bert", "roberta", "gpt2", "open_clip"]
)
def test_the_proof_rejects_another_activation(name, tmp_path):
    """The two GELUs are 5e-4 apart at most. Small weights would not even reach where they are."""
    source = write(PEERS[name], random_model(PEERS[name], noise=0.2), tmp_path)
    to, model = "open_clip" if PEERS[name].config else "hf", mmjax.load(source)
    task = dict(model.config["task"])
    task["towers"] = {n: {**tower, "activation": SWAPPED[tower["activation"]]} for n, tower in task["towers"].items()}
    errors = verify.errors(with_sections(model, task), to, tmp_path)
    assert all(errors[stream] > 5 * TOLERANCE for stream in model.streams), errors


@pytest.mark.parametrize("name", ["clip", "siglip", "chinese_clip", "open_clip bias"])
def test_the_proof_rejects_other_logits(name, folders):
    """Scale and bias are in no feature."""
    source, _, back, to = folders(name)
    model = mmjax.load(source)
    for scalar in {"scale", "bias"} & model.params.keys():
        errors = verify.errors(with_values(model, **{scalar: lambda x: x + np.float32(0.01)}), to, back)
        assert {what for what, error in errors.items() if not error <= TOLERANCE} == {"logits"}, scalar


@pytest.mark.parametrize("name", ["clip", "open_clip", "bert"])
def test_the_proof_sees_what_is_no_number(name, folders):
    source, _, back, to = folders(name)
    model = mmjax.load(source)
    kernel = next(p for p in traverse_util.flatten_dict(model.params, sep="/") if "text" in p and p.endswith("kernel"))
    errors = verify.errors(with_values(model, **{kernel: lambda x: np.full_like(x, np.nan)}), to, back)
    assert np.isnan(errors["caption"]) and ("logits" not in errors or np.isnan(errors["logits"]))


PREPARED = {
    "interpolation": ("clip", "image", {"interpolation": "bilinear"}, "pixels"),
    "crop": ("dinov2", "image", {"resize_to": 40}, "pixels"),
    "squash": ("open_clip", "image", {"resize": "squash"}, "pixels"),
    "patches": ("siglip2_naflex", "image", {"max_patches": 9}, "pixels"),
    "padding that is read": ("siglip", "caption", {"pad": 7}, "ids"),
    "vocabulary": ("clip", "caption", {"unknown": 5}, "ids"),
    "vocabulary of open_clip": ("open_clip", "caption", {"unknown": 5}, "ids"),
}


@pytest.mark.parametrize("mutant", PREPARED)
def test_the_proof_rejects_other_preprocessing(mutant, folders, tmp_path):
    name, stream, change, what = PREPARED[mutant]
    source, _, back, to = folders(name)
    model = mmjax.load(source)
    section = dict(model.config["streams"][stream])
    if "unknown" in change:
        for file in back.glob("tokenizer*.json"):
            (tmp_path / file.name).write_text(re.sub(r'("<unk>": )\d+', r"\g<1>5", file.read_text()))
        section["tokenizer"] = {**section["tokenizer"], "path": str(tmp_path)}
    elif stream == "caption":
        section["tokenizer"] = {**section["tokenizer"], **change}
    else:
        section |= change
    errors = verify.errors(with_sections(model, streams={**model.config["streams"], stream: section}), to, back)
    assert not errors[what] <= TOLERANCE, errors


@pytest.mark.parametrize("name", ["clip", "siglip", "chinese_clip"])
def test_processor_and_pipeline(name, folders, tmp_path, silent):
    from PIL import Image

    _, _, back, _ = folders(name)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(picture)
    labels = ["w1 w2", "w3", "w4 w5 w6"]
    with silent():
        pillow = transformers.AutoImageProcessor.from_pretrained(back, backend="pil")  # the one whose pixels are ours
        transformers.pipeline("zero-shot-image-classification", str(back))(str(picture), labels)
        pipe = transformers.pipeline("zero-shot-image-classification", str(back), image_processor=pillow)
        scores = {item["label"]: item["score"] for item in pipe(str(picture), labels, hypothesis_template="{}")}
    mine = mmjax.load(f"hf:{back}").classify([picture], labels, templates=["{}"])[0]
    np.testing.assert_allclose([scores[label] for label in labels], mine, atol=1e-4)
    with silent():
        processor = transformers.AutoProcessor.from_pretrained(back)
        processor.image_processor = pillow
        batch = processor(text=labels, images=Image.open(picture), return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = transformers.AutoModel.from_pretrained(back)(**batch)
    np.testing.assert_allclose(out.image_embeds.numpy(), mmjax.load(f"hf:{back}").embed(image=[picture]), atol=1e-5)


def test_a_captioner_of_transformers(tmp_path, silent):
    """Out by the command line; the card's lines write what ours writes, and nothing need be said of how to generate."""
    from PIL import Image

    source, back = write(CAPTIONER, random_model(CAPTIONER, noise=0.2), tmp_path / "in"), tmp_path / "out"
    assert main(["export", str(back), "--model", source, "--to", "hf", "--verify"]) == 0
    assert "AutoModelForImageTextToText.from_pretrained" in (back / "README.md").read_text()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    with silent():
        model = transformers.AutoModelForImageTextToText.from_pretrained(back)
        tokenizer = transformers.AutoTokenizer.from_pretrained(back)
        processor = transformers.AutoImageProcessor.from_pretrained(back, backend="pil")
    ids = model.generate(processor(picture, return_tensors="pt").pixel_values, max_length=16)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert mmjax.load(f"hf:{back}").caption([picture]) == mmjax.load(source).caption([picture]) == texts != [""]
    assert main(["export", str(back), "--model", source, "--to", "hf"]) == 0  # in place of the older one


@pytest.mark.parametrize("name", ["open_clip", "open_clip quickgelu", "open_clip bias", "coca"])
def test_open_clip_makes_it_with_its_transforms(name, folders, silent):
    from PIL import Image

    open_clip = import_open_clip()
    _, _, back, _ = folders(name)
    with silent():
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
