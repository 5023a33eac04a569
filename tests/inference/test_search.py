"""`mmjax search`: by text, by picture and by id; the saved index; the page of pictures; and what is refused."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from mmjax.cli import main
from mmjax.inference.query import Query, parse
from mmjax.inference.shards import read_features, read_rows, write
from tests.inference.conftest import broken
from tests.report.test_page import Checker

DATA = "world:scenes/val"
EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def index(clip, tmp_path_factory):
    """Both streams of 40 scenes in several shards; the captions have 4 rows a scene."""
    out = tmp_path_factory.mktemp("index") / "embeddings"
    options = ["--limit", "40", "--shard-rows", "16", "--batch-size", "16"]
    assert main(["embed", "--model", clip, "--data", DATA, "--out", str(out), *options]) == 0
    return out


def search(capsys, index, *arguments):
    """The hits as JSON says them."""
    capsys.readouterr()
    assert main(["search", "--index", str(index), *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def features(index, stream):
    files = sorted((index / stream).glob("*.parquet"))
    return np.concatenate([read_features(file) for file in files])


def test_a_text_finds_pictures_by_their_cosine(index, model, capsys):
    found = search(capsys, index, "a red circle", "--top", "7")
    scores = features(index, "image") @ model.embed(text=["a red circle"])[0]
    order = np.argsort(-scores, kind="stable")[:7]
    assert found["stream"] == "image" and [hit["item"] for hit in found["hits"]] == order.tolist()
    np.testing.assert_allclose([hit["score"] for hit in found["hits"]], scores[order], atol=1e-5)
    assert found["hits"][0] == {**found["hits"][0], "rank": 1, "id": str(order[0]), "text": None}


@pytest.mark.parametrize("text", ["a red circle " * 25, "x" * 5000, "~hello there", "~nobody-of-this-name", "a\0b"])
def test_a_text_that_is_no_path_is_a_text(text):
    assert parse(text) == Query("text", text)


def test_a_text_finds_texts(index, capsys):
    caption = search(capsys, index, "id:3", "--stream", "caption")["hits"][0]["text"]
    found = search(capsys, index, caption, "--stream", "text", "--top", "3")
    assert found["stream"] == "caption" and len(found["hits"]) == 3
    assert (found["hits"][0]["text"], found["hits"][0]["item"]) == (caption, 3)
    assert found["hits"][0]["score"] == pytest.approx(1, abs=1e-5)


def test_a_picture_finds_itself_and_its_captions_are_searched_as_well(index, capsys, tmp_path):
    from mmjax.data.sources import open_source

    Image.fromarray(open_source(DATA)[17].streams["image"]).save(tmp_path / "query.png")
    found = search(capsys, index, str(tmp_path / "query.png"))["hits"]
    assert found[0]["item"] == 17 and found[0]["score"] == pytest.approx(1, abs=1e-5) and len(found) == 10
    assert search(capsys, index, str(tmp_path / "query.png"), "--stream", "caption")["hits"][0]["text"]


def test_an_item_is_found_by_id_without_any_model(index, capsys, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(index, moved)
    manifest = json.loads((moved / "manifest.json").read_text())
    (moved / "manifest.json").write_text(json.dumps({**manifest, "model": str(tmp_path / "gone")}))
    assert search(capsys, moved, "id:39")["hits"][0]["id"] == "39"
    assert main(["search", "--index", str(moved), "a text"]) == 2
    assert "no bundle here" in (error := capsys.readouterr().err) and "say where the model is now" in error


def test_the_table_on_a_terminal(index, capsys):
    assert main(["search", "--index", str(index), "--stream", "caption", "id:2", "--top", "2"]) == 0
    first = capsys.readouterr().out.splitlines()[0].split()
    assert first[:3] == ["1", "1.0000", "2"] and len(first) > 4


def test_a_saved_index_is_used_until_a_shard_is_newer(index, capsys, tmp_path, monkeypatch):
    own = tmp_path / "own"
    shutil.copytree(index, own)
    fresh = search(capsys, own, "id:5")
    assert not (own / "image/index.faiss").exists()
    assert search(capsys, own, "id:5", "--save-index") == fresh
    assert (own / "image/index.faiss").is_file()
    built = []
    monkeypatch.setattr("mmjax.inference.index._build", lambda *a: built.append(a) or pytest.skip.Exception("unused"))
    assert search(capsys, own, "id:5") == fresh and not built
    monkeypatch.undo()
    saved = (own / "image/index.faiss").stat().st_mtime_ns
    (own / "image/embeddings-00001.parquet").touch()
    assert search(capsys, own, "id:5", "--save-index") == fresh
    assert (own / "image/index.faiss").stat().st_mtime_ns > saved


@pytest.mark.parametrize("damage", ["cut", "of other shards"])
def test_a_damaged_saved_index_is_made_again(index, capsys, tmp_path, damage):
    own = tmp_path / "own"
    shutil.copytree(index, own)
    fresh = search(capsys, own, "id:5", "--save-index")
    saved = own / "image/index.faiss"
    whole = saved.read_bytes()
    if damage == "cut":
        saved.write_bytes(whole[: len(whole) // 2])
    else:
        search(capsys, own, "id:5", "--stream", "caption", "--save-index")
        shutil.copy(own / "caption/index.faiss", saved)
    assert search(capsys, own, "id:5") == fresh
    assert search(capsys, own, "id:5", "--save-index") == fresh and saved.read_bytes() == whole


def test_features_that_are_no_numbers_are_named_and_found_nowhere(index, capsys, tmp_path, monkeypatch):
    own = tmp_path / "own"
    shutil.copytree(index, own)
    shard = own / "image/embeddings-00001.parquet"
    features = read_features(shard)
    features[3, 2] = np.nan
    write(shard, read_rows(shard), features)
    assert main(["search", "--index", str(own), "id:5"]) == 1
    error = capsys.readouterr().err
    assert "embeddings-00001.parquet, row 3: its features are not finite" in error and error.count("\n") == 1
    # As an index that was saved before this was checked: FAISS finds nothing for a NaN, and numbers it -1.
    monkeypatch.setattr("mmjax.inference.index.check_finite", lambda *_: None)
    search(capsys, own, "id:5", "--save-index")
    assert search(capsys, own, "id:19", "--top", "40")["hits"] == []
    assert len(search(capsys, own, "id:5", "--top", "40")["hits"]) == 39


def test_a_query_that_is_no_number_is_named(index, capsys, model, monkeypatch):
    monkeypatch.setattr("mmjax.inference.query.load_for", lambda *_: broken(model))
    assert main(["search", "--index", str(index), "a red circle"]) == 1
    error = capsys.readouterr().err
    assert "'a red circle': its features are not finite" in error and error.count("\n") == 1


def test_the_page_holds_pictures_texts_and_scores(index, tmp_path, capsys):
    page = tmp_path / "pages/found.html"
    hits = search(capsys, index, EVIL, "--html", str(page), "--top", "6")["hits"]
    text = page.read_text("utf-8")
    checked = Checker(text)
    sources = [value for name, value in checked.attributes if name == "src"]
    assert len(sources) == 6 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert checked.tags.count("figure") == 6 and "script" not in checked.tags
    assert "&lt;script&gt;alert" in text and "default-src 'none'" in text
    for hit in hits:
        assert f"<b>{hit['score']:.3f}</b> <code>{hit['id']}</code><p>" in text, "the scene's caption stands below"


def test_the_page_of_captions_shows_their_pictures_and_the_query(index, tmp_path, capsys):
    Image.new("RGB", (500, 300), "red").save(tmp_path / "red.jpg")
    page = tmp_path / "found.html"
    hits = search(capsys, index, str(tmp_path / "red.jpg"), "--stream", "caption", "--html", str(page))["hits"]
    text = page.read_text("utf-8")
    assert text.count("data:image/png") == 10 and text.count("data:image/jpeg") == 1 and 'class="asked"' in text
    assert all(f"<p>{hit['text']}</p>" in text for hit in hits)


def test_data_that_is_no_longer_the_same_shows_no_picture(clip, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["embed", "--model", clip, "--data", str(photos), "--out", str(out)]) == 0
    (photos / "a.jpg").write_bytes(b"junk")
    (photos / "c.jpg").rename(photos / "z.jpg")
    search(capsys, out, "id:d.jpg", "--html", str(tmp_path / "x.html"))
    text = (tmp_path / "x.html").read_text()
    assert text.count("no picture") == 3, "a.jpg is junk; c.jpg is gone, so d.jpg has moved to its place"
    assert text.count("<img") == 2
    shutil.rmtree(photos)
    assert main(["search", "--index", str(out), "id:d.jpg", "--html", str(tmp_path / "x.html")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unfinished_folder_is_searched_as_far_as_it_is(index, tmp_path, capsys):
    part = tmp_path / "part"
    shutil.copytree(index, part)
    manifest = json.loads((part / "manifest.json").read_text())
    del manifest["streams"]["image"]["shards"][1:]
    (part / "manifest.json").write_text(json.dumps(manifest))
    assert main(["search", "--index", str(part), "id:3", "--top", "99"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 16 and "run `mmjax embed` to its end" in printed.err


def test_without_faiss_the_error_says_how_to_install_it(index, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert main(["search", "--index", str(index), "x"]) == 2
    assert capsys.readouterr().err == "mmjax search: search needs FAISS: pip install 'mmjax[search]'\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["  "], 2, "the query is empty"),
        (["gone.jpg"], 2, "gone.jpg: no such file"),
        (["id:nobody"], 2, "id:nobody: the stream image has no such item; ids look like id:0"),
        (["x", "--stream", "sound"], 2, "has no stream 'sound'; it has image, caption"),
        (["x", "--top", "0"], 2, "--top must be at least 1"),
        (["x", "--model", "nowhere"], 2, "nowhere: no bundle here"),
        ([__file__], 2, "not an image of a known format"),
    ],
)
def test_wrong_use_is_one_line(index, capsys, arguments, code, message):
    assert main(["search", "--index", str(index), *arguments]) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_another_model_cannot_ask(index, siglip, capsys):
    assert main(["search", "--index", str(index), "--model", siglip, "x"]) == 2
    assert "is not the model that made these embeddings" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_damaged_shard_is_named(index, tmp_path, capsys, damage):
    own = tmp_path / "own"
    shutil.copytree(index, own)
    shard = own / "image/embeddings-00001.parquet"
    content = shard.read_bytes()
    shard.unlink() if damage == "gone" else shard.write_bytes(content[:100])
    assert main(["search", "--index", str(own), "id:3"]) == 1
    error = capsys.readouterr().err
    assert "embeddings-00001.parquet: " in error and error.count("\n") == 1


@pytest.mark.parametrize("content", ["{", "{}", '{"format": 99}', "[]"])
def test_a_folder_without_a_manifest_of_ours_is_refused(tmp_path, capsys, content):
    assert main(["search", "--index", str(tmp_path), "x"]) == 2
    assert "`mmjax embed --out" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text(content)
    assert main(["search", "--index", str(tmp_path), "x"]) == 2
    error = capsys.readouterr().err
    assert "manifest.json: " in error and error.count("\n") == 1
