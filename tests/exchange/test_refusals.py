"""What a target cannot express is refused by the keys that stand in the way, and nothing is written."""

import jax
import numpy as np
import pytest

import mmjax
from mmjax.bundle import Model, blank_batch, save
from mmjax.cli import main
from mmjax.config import build, with_defaults
from mmjax.data.streams import STREAMS
from mmjax.exchange import verify
from mmjax.models import ENCODERS
from mmjax.tasks import TASKS
from tests.interop.comparing import changed
from tests.interop.peers import PEERS, random_model, write


@pytest.fixture
def bundle(tmp_path):
    """Makes a bundle of CLIP's architecture with other values under some keys of its task."""
    source = write(PEERS["clip"], random_model(PEERS["clip"]), tmp_path / "clip")

    def make(changes=(), streams=()):
        model = mmjax.load(source)
        section = changed(model.config["task"], dict(changes))
        section["towers"] = {
            name: with_defaults(tower, ENCODERS, f"towers.{name}") for name, tower in section["towers"].items()
        }
        sections = {name: {**value, **dict(streams).get(name, {})} for name, value in model.config["streams"].items()}
        built = {name: build(value, STREAMS, name) for name, value in sections.items()}
        task = build(section, TASKS, "task")
        params = jax.jit(task.init)(jax.random.key(0), blank_batch(built, 1))
        return save(tmp_path / "bundle", Model(task, params, built, {"task": section, "streams": sections}))

    return make


CASES = {
    "config.task.towers.image.positions = 'rotary', it has 'learned'": {"towers.image.positions": "rotary"},
    "config.task.towers.image.stem = 'conv', it has 'patch'": {"towers.image.stem": "conv"},
    "config.task.towers.text.norm = 'rms', it has 'layer'": {"towers.text.norm": "rms"},
    "config.task.towers.image.activation = 'swiglu', it has 'quick_gelu'": {"towers.image.activation": "swiglu"},
    "config.task.towers.text.qk_norm = True, it has False": {"towers.text.qk_norm": True},
    "config.task.towers.text.pooling = 'mean', it has": {"towers.text.pooling": "mean"},
}


@pytest.mark.parametrize("message", CASES)
def test_keys_that_stand_in_the_way(message, bundle, tmp_path, capsys):
    folder = bundle(CASES[message])
    assert main(["export", str(tmp_path / "out"), "--model", str(folder), "--to", "hf"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("mmjax export: CLIP (hf) cannot express this model: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_what_only_trains_stands_in_no_way(bundle, tmp_path):
    folder = bundle(
        {"towers.image.dropout": 0.1, "towers.text.remat": "full", "towers.image.scan": True, "loss": "triplet"}
    )
    assert main(["export", str(tmp_path / "out"), "--model", str(folder), "--to", "hf", "--verify"]) == 0


@pytest.mark.parametrize(("eos", "code"), [(119, 0), (117, 2)])
def test_the_end_as_the_largest_id_is_open_clips_pooling(bundle, tmp_path, eos, code):
    folder = bundle({"towers.text.pooling": "eos", "towers.text.eos": eos})
    assert main(["export", str(tmp_path / "out"), "--model", str(folder), "--to", "open_clip"]) == code


def test_a_library_that_does_not_import_is_one_line(bundle, tmp_path, capsys, monkeypatch):
    def broken(*args):
        raise ImportError("operator torchvision::nms does not exist\nand more")

    monkeypatch.setattr(verify, "errors", broken)
    assert main(["export", str(tmp_path / "out"), "--model", str(bundle()), "--to", "hf", "--verify"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.endswith("(operator torchvision::nms does not exist); mend it, or leave out --verify")


def test_a_size_by_name_goes_out_in_numbers(bundle, tmp_path):
    sizes = {
        "towers.text.size": "Ti",
        "towers.text.width": None,
        "towers.text.heads": None,
        "towers.text.mlp_dim": None,
    }
    folder = bundle(sizes)
    assert main(["export", str(tmp_path / "out"), "--model", str(folder), "--to", "hf", "--verify"]) == 0


def test_a_tokenizer_of_our_own_is_refused(bundle, tmp_path, capsys):
    folder = bundle({"towers.text.vocabulary": 300}, {"caption": {"tokenizer": "bytes"}})
    assert main(["export", str(tmp_path / "out"), "--model", str(folder), "--to", "hf"]) == 2
    assert "config.data.streams.caption.tokenizer is 'bytes'" in capsys.readouterr().err


def test_what_differs_is_not_written(bundle, tmp_path, capsys, monkeypatch):
    arguments = ["export", str(tmp_path / "out"), "--model", str(bundle()), "--to", "hf", "--verify"]
    for wrong in (0.5, float("nan"), float("inf"), 1.1e-5):
        monkeypatch.setattr(verify, "errors", lambda *args, wrong=wrong: {"image": 1e-7, "ids": wrong, "logits": 1e-7})
        assert main(arguments) == 1
        assert f"the exported model differs: ids by {wrong:.1e}, more than 1.0e-05" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
    monkeypatch.setattr(verify, "errors", lambda *args: {"image": 1e-7, "caption": 9e-6})
    assert main(arguments) == 0
    assert "verified: largest error 9.0e-06" in capsys.readouterr().err


def test_without_torch_it_says_that_it_did_not_verify(bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verify, "missing", lambda library: "torch")
    assert main(["export", str(tmp_path / "out"), "--model", str(bundle()), "--to", "hf", "--verify"]) == 0
    assert "not verified: torch is not installed" in capsys.readouterr().err


def test_plain_tensors(bundle, tmp_path):
    from safetensors.numpy import load_file

    folder = bundle()
    assert main(["export", str(tmp_path / "out"), "--model", str(folder), "--to", "safetensors"]) == 0
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    kernel = mmjax.load(folder).params["project_image"]["kernel"]
    np.testing.assert_array_equal(tensors["project_image.kernel"], kernel)


SCORES = '{"retrieval/text_to_image/R@1": 0.5, "skipped": 0}'


@pytest.fixture
def card(tmp_path):
    """The model card of what is exported of a source."""

    def make(source):
        assert main(["export", str(tmp_path / "out"), "--model", str(source), "--to", "hf"]) == 0
        return (tmp_path / "out" / "README.md").read_text()

    return make


@pytest.fixture
def run(bundle, tmp_path):
    """A run folder as `mmjax train` leaves it."""
    model = mmjax.load(bundle())
    config = {**model.config, "config": {"steps": 9, "batch_size": 4}}
    save(tmp_path / "run" / "bundle", Model(model.task, model.params, model.streams, config))
    (tmp_path / "run" / "evaluation.json").write_text(SCORES)
    return tmp_path / "run"


@pytest.mark.parametrize("place", [".", "bundle"])
def test_the_card_tells_scores_and_use(place, run, card):
    text = card(run / place)
    assert "pipeline_tag: zero-shot-image-classification" in text
    assert "| retrieval/text_to_image/R@1 | 0.5000 |" in text
    assert "9 steps of 4 examples" in text
    assert "AutoModel.from_pretrained" in text


def test_the_card_tells_no_scores_of_another_model(run, bundle, card, tmp_path):
    (tmp_path / "evaluation.json").write_text(SCORES)
    assert "R@1" not in card(bundle()), "it only lies beside"
    assert main(["average", "--models", f"{run},{run}", str(tmp_path / "wise")]) == 0
    assert "R@1" not in card(tmp_path / "wise")
    for file in ("bundle.json", "params.safetensors"):
        (tmp_path / "wise" / file).replace(run / "bundle" / file)
    text = card(run)
    assert "R@1" not in text and "The weighted mean of 2 models" in text, "an average, wherever it lies"


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ("null", "evaluation.json: holds no JSON object"),
        ("[", "evaluation.json: not JSON"),
        ('{"R@1": null}', "evaluation.json: R@1 is no number"),
    ],
)
def test_scores_that_are_none_are_one_line(scores, message, run, tmp_path, capsys):
    (run / "evaluation.json").write_text(scores)
    assert main(["export", str(tmp_path / "out"), "--model", str(run), "--to", "hf"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out").exists()
