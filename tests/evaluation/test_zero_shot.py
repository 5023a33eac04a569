"""Zero-shot accuracy by hand; prompts are versioned, hashed and checked."""

import json
import sys

import numpy as np
import pytest

from mmjax.errors import BadItem, UserError
from mmjax.evaluation.prompts import FOLDER, known, load
from mmjax.evaluation.zero_shot import ZeroShot, class_features
from tests.evaluation.fakes import FakeSet, Lookup, unit


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "pets.json"
    content = {"version": 3, "classes": ["cat", "dog", "owl"], "templates": ["a {}.", "the {}!"]}
    file.write_text(json.dumps(content))
    return file


PHRASES = ("a cat.", "the cat!", "a dog.", "the dog!", "a owl.", "the owl!")
TEXTS = dict(zip(PHRASES, np.eye(6, dtype=np.float32), strict=True))


def pets(labels=(0, 0, 1, 2, 2)):
    """Five pictures: right, wrong (dog, then cat), right, tied, right by one template more."""
    e = np.eye(6)
    images = unit(np.stack([e[0], e[2] + 0.5 * e[1], e[3], e[4] + e[0], e[4] + e[5] + e[0]]))
    truths = [{"label": label} for label in labels]
    return FakeSet({"image": images}, {"image": np.arange(5)}, truths, texts=TEXTS, batch_size=2)


def test_accuracies_by_hand(prompts):
    metrics = ZeroShot(prompts=str(prompts), at=(1, 2, 5)).run(Lookup(), np.float32(1), pets())
    assert metrics["zero_shot/top1"] == pytest.approx(3 / 5)
    assert metrics["zero_shot/top2"] == 1
    assert "zero_shot/top5" not in metrics  # there are three classes
    assert metrics["zero_shot/class/cat"] == 0.5
    assert metrics["zero_shot/class/owl"] == 0.5
    assert metrics["zero_shot/images"] == 5
    assert f"{int(metrics['zero_shot/prompts_sha256']):012x}" == load(str(prompts)).sha256[:12]


def test_a_class_is_the_normalised_mean_of_its_prompts():
    texts = unit(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(class_features(texts, 2), [[half, half, 0], [0, 0, 1]], atol=1e-6)


def test_the_hash_is_of_the_content_not_of_the_layout(prompts):
    before = load(str(prompts)).sha256
    content = json.loads(prompts.read_text())
    prompts.write_text(json.dumps(content, indent=4))
    assert load(str(prompts)).sha256 == before
    prompts.write_text(json.dumps(content | {"templates": ["one {}."]}))
    assert load(str(prompts)).sha256 != before


def test_shipped_sets_load_and_name_themselves():
    assert {"cifar10", "cifar100", "fashion_mnist", "mnist"} <= set(known())
    sizes = {file.stem: len(load(file.stem).classes) for file in FOLDER.glob("*.json")}
    assert sizes == {"cifar10": 10, "cifar100": 100, "fashion_mnist": 10, "mnist": 10}


def test_the_shipped_hashes_are_pinned():
    """Editing a shipped set changes what its scores mean: raise `version` and pin the new hash here."""
    assert {file.stem: load(file.stem).sha256[:12] for file in FOLDER.glob("*.json")} == {
        "cifar10": "193075a500b1",
        "cifar100": "45a3c34c5363",
        "fashion_mnist": "7c6196caf56d",
        "mnist": "6b890f955be7",
    }


def test_names_and_templates_of_the_data_where_no_prompts_are_chosen():
    data = pets()
    with pytest.raises(UserError, match="names no classes"):
        ZeroShot().run(Lookup(), np.float32(1), data)
    data.source.class_names, data.source.templates = ("cat", "dog", "owl"), ("a {}.", "the {}!")
    assert ZeroShot().run(Lookup(), np.float32(1), data)["zero_shot/top1"] == pytest.approx(3 / 5)
    assert "sha256" in ZeroShot().notes(data)["zero_shot prompts"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "version, classes and templates"),
        ('{"version": 1, "classes": ["a"]}', "templates"),
        ('{"version": 1, "classes": ["a"], "templates": ["no place"]}', "exactly one {}"),
        ('{"version": 1, "classes": [], "templates": ["a {}"]}', "at least one class"),
    ],
)
def test_bad_prompt_files_are_refused(prompts, content, message):
    prompts.write_text(content)
    with pytest.raises(UserError, match=message):
        load(str(prompts))


def test_unknown_sets_and_labels_are_refused(prompts):
    with pytest.raises(UserError, match="did you mean cifar10"):
        load("cifar_10")
    with pytest.raises(UserError, match="label 7, which the prompts"):
        ZeroShot(prompts=str(prompts)).run(Lookup(), np.float32(1), pets(labels=(0, 0, 1, 7, 2)))
    with pytest.raises(UserError, match="no label"):
        ZeroShot(prompts=str(prompts)).run(Lookup(), np.float32(1), pets(labels=(0, 0, None, 2, 2)))


def test_imagenet_prompts_are_read_from_open_clip_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "open_clip"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('torch')")
    (package / "zero_shot_metadata.py").write_text(
        "OPENAI_IMAGENET_TEMPLATES = (lambda c: f'a bad photo of a {c}.',)\nIMAGENET_CLASSNAMES = ['tench', 'goldfish']"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "open_clip", raising=False)  # another test may have imported the real one
    assert load("imagenet").texts() == ["a bad photo of a tench.", "a bad photo of a goldfish."]


def test_imagenet_prompts_without_open_clip(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="install open_clip_torch"):
        load("imagenet")


def test_labels_by_name_and_items_whose_truth_cannot_be_read(prompts):
    data = pets(labels=("cat", "cat", "dog", "2", "owl"))
    data.truths[1] = BadItem("label is null")  # a picture that is classified wrong
    metrics = ZeroShot(prompts=str(prompts)).run(Lookup(), np.float32(1), data)
    assert metrics["zero_shot/top1"] == pytest.approx(3 / 4) and metrics["zero_shot/images"] == 4
    assert [(skip.index, skip.reason) for skip in data.skipped] == [(1, "label is null")]
