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

    monkeypatch.setattr(verify, "largest_error", broken)
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


def test_a_folder_of_something_else_is_not_touched(bundle, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main(["export", str(tmp_path / "mine"), "--model", str(bundle()), "--to", "hf"]) == 2
    assert "is there and no export" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_what_differs_is_not_written(bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verify, "largest_error", lambda *args: 0.5)
    arguments = ["export", str(tmp_path / "out"), "--model", str(bundle()), "--to", "hf", "--verify"]
    assert main(arguments) == 1
    assert "differs by 5.0e-01" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
    monkeypatch.setattr(verify, "largest_error", lambda *args: float("nan"))
    assert main(arguments) == 1


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


def test_the_card_tells_scores_and_use(bundle, tmp_path):
    (tmp_path / "evaluation.json").write_text('{"retrieval/text_to_image/R@1": 0.5, "skipped": 0}')
    folder = bundle()
    assert main(["export", str(tmp_path / "out"), "--model", str(folder), "--to", "hf"]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "pipeline_tag: zero-shot-image-classification" in card
    assert "| retrieval/text_to_image/R@1 | 0.5000 |" in card
    assert "AutoModel.from_pretrained" in card
