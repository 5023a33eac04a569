"""`mmjax classify`: probabilities by the model's own rule, the files that are named, and those that cannot be read."""

import json

import numpy as np
import pytest

from mmjax import bundle
from mmjax.cli import main
from mmjax.inference.files import pictures
from tests.inference.conftest import broken


def classify(capsys, model, *arguments):
    """Exit code and the result as JSON."""
    code = main(["classify", "--model", model, "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("which", ["clip", "siglip"])
def test_probabilities_are_those_of_the_model(which, request, photos, capsys):
    path = request.getfixturevalue(which)
    model = request.getfixturevalue({"clip": "model", "siglip": "sigmoid_model"}[which])
    code, found = classify(capsys, path, "--labels", "dog, cat,owl", str(photos / "a.jpg"), str(photos / "b.png"))
    expected = model.classify([photos / "a.jpg", photos / "b.png"], ["dog", "cat", "owl"])
    assert code == 0 and [one["file"] for one in found] == [str(photos / "a.jpg"), str(photos / "b.png")]
    for one, row in zip(found, expected, strict=True):
        order = np.argsort(-row)
        assert [label["label"] for label in one["labels"]] == [["dog", "cat", "owl"][i] for i in order]
        np.testing.assert_allclose([label["probability"] for label in one["labels"]], row[order], atol=1e-5)
        assert np.isclose(row.sum(), 1, atol=1e-5) == (which == "clip")


def test_a_line_a_file_and_the_top_labels(clip, photos, capsys):
    assert main(["classify", "--model", clip, "--labels", "a,b,c", "--top", "2", str(photos)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[0].startswith(f"{photos}/a.jpg: ") and len(lines[0].split(": ")[1].split()) == 4


def test_labels_of_a_file_and_templates(clip, model, photos, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("a dog, wet\n\n一只猫\n", "utf-8")
    options = ["--labels-file", str(tmp_path / "labels.txt"), "--template", "{}", "--template", "see {}"]
    _, found = classify(capsys, clip, *options, str(photos / "a.jpg"))
    expected = model.classify([photos / "a.jpg"], ["a dog, wet", "一只猫"], ("{}", "see {}"))[0]
    got = {label["label"]: label["probability"] for label in found[0]["labels"]}
    np.testing.assert_allclose([got["a dog, wet"], got["一只猫"]], expected, atol=1e-5)


def test_prompts_that_ship(clip, photos, capsys):
    code, found = classify(capsys, clip, "--prompts", "cifar10", "--top", "3", str(photos))
    assert code == 0 and len(found) == 5 and all(len(one["labels"]) == 3 for one in found)


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_scored(clip, photos, capsys):
    (photos / "c.jpg").write_bytes(b"junk")
    (photos / "empty").mkdir()
    names = [str(photos), str(photos / "gone.jpg"), str(photos / "empty"), str(photos / "*.tiff")]
    assert main(["classify", "--model", clip, "--labels", "a,b", *names]) == 1
    printed = capsys.readouterr()
    assert [line.partition(":")[0] for line in printed.out.splitlines()] == [
        str(photos / name) for name in ("a.jpg", "b.png", "d.jpg", "more/e.jpg")
    ]
    errors = printed.err.splitlines()
    assert len(errors) == 4 and all(line.startswith("mmjax classify: ") for line in errors)
    told = (
        "c.jpg': not an image",
        "gone.jpg': No such file",
        "empty: no picture in this folder",
        "*.tiff': No such file",
    )
    assert all(text in line for text, line in zip(told, errors, strict=True))


def test_a_model_of_no_numbers_classifies_nothing(model, photos, tmp_path, capsys, monkeypatch):
    path = str(bundle.save(tmp_path / "broken", broken(model)))
    assert main(["classify", "--model", path, "--labels", "a,b", str(photos)]) == 1
    error = capsys.readouterr().err
    assert "the label 'a': its features are not finite, as in 2 of 2 rows" in error and error.count("\n") == 1
    monkeypatch.setattr("mmjax.inference.classify.class_features", lambda *_: np.eye(2, 16, dtype=np.float32))
    assert main(["classify", "--model", path, "--labels", "a,b", str(photos)]) == 1
    error = capsys.readouterr().err
    assert "a.jpg: its features are not finite, as in 5 of 5 rows" in error and error.count("\n") == 1


def test_nothing_that_can_be_read(clip, tmp_path, capsys):
    assert main(["classify", "--model", clip, "--labels", "a,b", "--json", str(tmp_path / "gone.jpg")]) == 1
    assert json.loads(capsys.readouterr().out) == []


def test_folders_and_patterns_are_expanded_once(photos):
    names = [name.removeprefix(f"{photos}/") for name in pictures([f"{photos}/*.jpg", str(photos / "more"), "x.jpg"])]
    assert names == ["a.jpg", "c.jpg", "d.jpg", "more/e.jpg", "x.jpg"]
    (photos / "odd[1].jpg").touch()
    (photos / ".hidden.jpg").touch()
    (photos / "notes.txt").touch()
    assert list(pictures([str(photos / "odd[1].jpg")])) == [str(photos / "odd[1].jpg")]
    assert len(list(pictures([str(photos)]))) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", " , "], "--labels: there is no label"),
        (["--labels", "a,b,a"], "the label 'a' stands there twice"),
        (["--labels-file", "gone.txt"], "--labels-file gone.txt: No such file"),
        (["--labels", "a", "--template", "no place"], "exactly one {}"),
        (["--prompts", "cifar10", "--template", "{}"], "--prompts bring their own templates"),
        (["--prompts", "cifar11"], "did you mean cifar10"),
        (["--labels", "a", "--top", "0"], "--top must be at least 1"),
    ],
)
def test_wrong_use_is_one_line(clip, photos, capsys, options, message):
    assert main(["classify", "--model", clip, *options, str(photos)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_labels_are_said_in_one_way(clip, photos, capsys):
    for options in ([], ["--labels", "a", "--prompts", "mnist"]):
        with pytest.raises(SystemExit) as stop:
            main(["classify", "--model", clip, *options, str(photos)])
        assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1
