"""Nothing of the user's is replaced: a verb takes a free place, or what it made itself before."""

import json

import numpy as np
import pytest

import mmjax
from mmjax.cli import main
from tests.interop.peers import PEERS, random_model, write

KEPT = "years of work"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of transformers with a README.md of its own."""
    folder = tmp_path_factory.mktemp("source") / "clip"
    write(PEERS["clip"], random_model(PEERS["clip"]), folder)
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# CLIP\n")
    return folder


@pytest.fixture
def unread(monkeypatch):
    """A place is judged before any model is read."""
    monkeypatch.setattr("mmjax.bundle.load_weights", lambda *_: pytest.fail("read"))


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def export(source, folder):
    return main(["export", str(folder), "--model", f"hf:{source}", "--to", "hf"])


def take(source, folder):
    return main(["import", str(source), str(folder)])


def average(source, folder):
    return main(["average", "--models", f"{source},{source}", str(folder)])


PROJECTS = {
    "a project": {"README.md": "# My project", "thesis.txt": KEPT},
    "a project that quotes an export": {"README.md": "Exported by mmjax 1.0", "thesis.txt": KEPT},
    "a readme": {"README.md": "# My project"},
    "a bundle with notes": {"bundle.json": "{}", "thesis.txt": KEPT},
    "an old draft": {"thesis.txt": KEPT},
}


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("verb", [export, take, average])
@pytest.mark.parametrize("files", PROJECTS.values(), ids=PROJECTS)
def test_a_folder_of_other_things_is_left_alone(verb, files, source, tmp_path, capsys):
    for name, text in files.items():
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_text(text)
    before = contents(tmp_path)
    assert verb(source, tmp_path / "mine") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{tmp_path}/mine: " in error and "take another folder" in error
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("verb", [export, take, average])
@pytest.mark.parametrize("place", ["mine", "mine/below"])
def test_a_file_is_left_alone(verb, place, source, tmp_path, capsys):
    (tmp_path / "mine").write_text(KEPT)
    assert verb(source, tmp_path / place) == 2
    error = capsys.readouterr().err
    assert "mine: is a file; take another folder" in error and error.count("\n") == 1
    assert contents(tmp_path) == {"mine": KEPT.encode()}


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("verb", [export, take, average])
def test_a_model_is_not_replaced_by_what_is_made_of_it(verb, source, capsys):
    before = contents(source)
    assert verb(source, source) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert contents(source) == before


@pytest.mark.parametrize(("verb", "made"), [(take, "bundle.json"), (export, "config.json")])
def test_an_older_one_is_replaced_and_what_lies_beside_it_is_not(verb, made, source, tmp_path, monkeypatch):
    for name in ("new.old", "new.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text(KEPT)
    for _ in range(2):
        assert verb(source, tmp_path / "new") == 0
        assert (tmp_path / "new" / made).is_file()
    monkeypatch.chdir(tmp_path / "new")
    assert verb(source, ".") == 0, "the folder where one stands has no name of its own"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "new.old", "new.tmp"]
    assert all((tmp_path / name / "thesis.txt").read_text() == KEPT for name in ("new.old", "new.tmp"))


@pytest.mark.parametrize(("make", "verb"), [(export, export), (take, average)])
def test_what_mmjax_made_is_not_replaced_either_where_it_is_what_is_read(make, verb, source, tmp_path, capsys):
    assert make(source, tmp_path / "new") == 0
    before = contents(tmp_path)
    assert verb(tmp_path / "new", tmp_path / "new") == 2
    assert "new: is where " in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_saving_in_python_replaces_nothing_but_a_bundle(source, tmp_path):
    model = mmjax.load(source)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text(KEPT)
    with pytest.raises(mmjax.errors.UserError, match="is not empty and holds no bundle.json"):
        mmjax.save(tmp_path / "mine", model)
    with pytest.raises(mmjax.errors.UserError, match="is a file"):
        mmjax.save(tmp_path / "mine" / "thesis.txt", model)
    assert contents(tmp_path) == {"mine/thesis.txt": KEPT.encode()}


def test_a_bundle_that_cannot_be_written_changes_nothing(source, tmp_path, monkeypatch):
    model = mmjax.load(source)
    mmjax.save(tmp_path / "new", model)
    before = contents(tmp_path)
    monkeypatch.setattr("mmjax.bundle._save_tokenizers", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        mmjax.save(tmp_path / "new", model)
    assert contents(tmp_path) == before


def test_a_source_needs_no_scheme_where_it_is_a_path(source, tmp_path):
    assert take(source, tmp_path / "folder") == 0 and take(source / "model.safetensors", tmp_path / "file") == 0
    bare = mmjax.load(source)
    assert mmjax.sections(source) == mmjax.sections(f"hf:{source}")
    for model in (mmjax.load(tmp_path / "folder"), mmjax.load(tmp_path / "file"), mmjax.load(f"hf:{source}")):
        np.testing.assert_array_equal(model.embed(text=["w1 w2"]), bare.embed(text=["w1 w2"]))
    with pytest.raises(mmjax.errors.UserError, match="no bundle here"):
        mmjax.load(tmp_path / "nowhere")


def test_options_are_for_weights_of_pytorch(source, tmp_path):
    from mmjax.interop.importer import Options

    assert take(source, tmp_path / "bundle") == 0
    with pytest.raises(mmjax.errors.UserError, match="is a bundle; options of an import are for weights of PyTorch"):
        mmjax.load(tmp_path / "bundle", options=Options(image_size=48))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "bundle.json: not JSON"),
        (lambda text: "{}", "bundle.json: has no format and no task and no streams"),
        (lambda text: json.dumps({**json.loads(text), "streams": None}), "bundle.json: has no streams"),
        (lambda text: "[]", "bundle.json: holds no JSON object"),
        (lambda text: json.dumps({**json.loads(text), "format": 99}), "bundle format 99 is newer"),
    ],
)
def test_a_damaged_bundle_is_one_line(source, tmp_path, damage, message):
    assert take(source, tmp_path / "bundle") == 0
    file = tmp_path / "bundle" / "bundle.json"
    file.write_text(damage(file.read_text()))
    for read in (mmjax.load, mmjax.sections):
        with pytest.raises(mmjax.errors.UserError, match=message) as error:
            read(tmp_path / "bundle")
        assert "\n" not in str(error.value)
