"""`mmjax embed`: what lands in the folder, how it goes on after any kill, and what it refuses."""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

import mmjax
from mmjax.cli import main
from mmjax.config import build
from mmjax.data.streams import STREAMS
from mmjax.inference import job
from mmjax.inference.manifest import fingerprint, read
from mmjax.inference.section import absolute
from mmjax.inference.shards import read_features, read_rows
from tests.inference.conftest import SECTIONS, broken

ROOT = pathlib.Path(__file__).parents[2]
TOY = "tests.data.toys:Toy"


def embed(model, out, *options, data=TOY):
    return main(["embed", "--model", model, "--data", data, "--out", str(out), "--batch-size", "8", *options])


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parquet_holds_ids_rows_texts_and_embeddings(clip, model, tmp_path, capsys):
    assert embed(clip, tmp_path / "out", "--shard-rows", "8") == 0
    assert "out/caption: 20 x 16 in 3 shards" in capsys.readouterr().out
    table = pq.read_table(tmp_path / "out/caption/embeddings-00001.parquet")
    assert table.column_names == ["id", "item", "row", "text_index", "text", "embedding"]
    assert table["id"].to_pylist() == [f"item-{i // 2}" for i in range(8, 16)]
    assert table["row"].to_pylist() == list(range(8, 16)) and table["text_index"].to_pylist() == [0, 1] * 4
    assert table["text"].to_pylist()[:2] == ["one 4", "two 4"]
    expected = model.embed(text=table["text"].to_pylist())
    np.testing.assert_allclose(np.stack(table["embedding"].to_numpy()), expected, atol=1e-5)
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[16]"
    images = pq.read_table(tmp_path / "out/image/embeddings-00000.parquet")
    assert images.column_names == ["id", "item", "row", "embedding"] and len(images) == 8


def test_npy_holds_the_same(clip, tmp_path):
    for files in ("parquet", "npy"):
        assert embed(clip, tmp_path / files, "--format", files, "--stream", "caption", "--shard-rows", "16") == 0
    assert sorted(contents(tmp_path / "npy/caption")) == [
        *(f"embeddings-0000{i}.npy" for i in (0, 1)),
        *(f"ids-0000{i}.jsonl" for i in (0, 1)),
    ]
    for number in (0, 1):
        npy, parquet = (tmp_path / f"{f}/caption/embeddings-0000{number}.{f}" for f in ("npy", "parquet"))
        np.testing.assert_array_equal(read_features(npy), read_features(parquet))
        for a, b in zip(read_rows(npy).columns().items(), read_rows(parquet).columns().items(), strict=True):
            assert a[0] == b[0] and list(a[1]) == list(b[1])


@pytest.mark.parametrize("files", ["parquet", "npy"])
def test_float16_is_half_as_large_and_close(clip, tmp_path, files):
    for dtype in ("float32", "float16"):
        assert embed(clip, tmp_path / dtype, "--format", files, "--dtype", dtype, "--stream", "image") == 0
    half, whole = (tmp_path / f"{d}/image/embeddings-00000.{files}" for d in ("float16", "float32"))
    np.testing.assert_allclose(read_features(half), read_features(whole), atol=1e-3)
    if files == "npy":
        assert np.load(half).dtype == np.float16


def test_the_manifest_tells_model_data_and_counts(clip, tmp_path):
    assert embed(clip, tmp_path, "--limit", "7", "--data-option", "bad=(2,)", "--max-skip-rate", "0.2") == 0
    told = json.loads((tmp_path / "manifest.json").read_text())
    assert (told["format"], told["model"], told["items"], told["skipped"]) == (1, clip, 7, 2)
    assert told["data"] == {"path": TOY, "bad": [2]} and len(told["model_sha256"]) == 64
    assert told["streams"]["image"] == {
        "kind": "image",
        "field": "image",
        "rows": 7,
        "dim": 16,
        "shards": [{"file": "image/embeddings-00000.parquet", "rows": 6, "skipped": 1}],
    }


def test_corrupt_photographs_are_skipped_counted_and_listed(clip, photos, tmp_path, capsys):
    whole = (photos / "c.jpg").read_bytes()
    (photos / "c.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "junk.jpg").write_bytes(b"<html>")
    out = tmp_path / "out"
    assert embed(clip, out, data=str(photos)) == 1
    error = capsys.readouterr().err
    assert "2 of 6 items are bad as image" in error and error.count("\n") == 1
    lines = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert [(line["id"], line["reason"]) for line in lines] == [
        ("c.jpg", "the image is truncated"),
        ("junk.jpg", "not an image of a known format"),
    ]
    assert embed(clip, out, "--max-skip-rate", "0.5", "--json", data=str(photos)) == 0
    assert json.loads(capsys.readouterr().out)["streams"] == {
        "image": {"rows": 4, "skipped": 2, "dim": 16, "shards": 1}
    }
    assert list(read_rows(out / "image/embeddings-00000.parquet").id) == ["a.jpg", "b.png", "d.jpg", "more/e.jpg"]


@pytest.mark.parametrize("files", ["parquet", "npy"])
def test_a_shard_of_which_nothing_is_good_is_empty(clip, tmp_path, files):
    options = ["--shard-rows", "4", "--data-option", f"bad={tuple(range(4, 8))}", "--max-skip-rate", "1"]
    assert embed(clip, tmp_path, "--format", files, *options) == 0
    assert [shard.rows for shard in read(tmp_path).streams["image"].shards] == [4, 0, 2]
    assert read_features(tmp_path / f"image/embeddings-00001.{files}").shape == (0, 16)
    assert main(["search", "--index", str(tmp_path), "id:item-9", "--top", "99"]) == 0


def test_workers_and_devices_change_no_bit(clip, tmp_path):
    for workers in ("0", "1"):
        assert embed(clip, tmp_path / workers, "--workers", workers, "--stream", "image") == 0
    assert contents(tmp_path / "0") == contents(tmp_path / "1")


OPTIONS = ["--shard-rows", "8", "--data-option", "bad=(1, 9)", "--max-skip-rate", "0.5"]


def test_what_a_kill_leaves_between_two_writes_is_made_again(clip, tmp_path, monkeypatch):
    """The states between shard, list and manifest, and drafts cut short: each ends bitwise as if nothing had been."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    states, original = [], job.write

    def spy(folder, manifest):  # before each manifest: a shard and its skipped lines that nothing lists
        states.append(contents(folder))
        original(folder, manifest)

    monkeypatch.setattr(job, "write", spy)
    assert embed(clip, whole, *OPTIONS) == 0
    assert len(states) == 5
    monkeypatch.undo()
    for number, state in enumerate([{"manifest.json.tmp": b"{"}, *states]):
        shutil.rmtree(broken, ignore_errors=True)
        draft = {f"image/embeddings-{number:05d}.parquet.tmp": b"PAR1"} if 0 < number < 2 else {}
        for name, content in {**state, **draft}.items():
            (broken / name).parent.mkdir(parents=True, exist_ok=True)
            (broken / name).write_bytes(content)
        assert embed(clip, broken, *OPTIONS) == 0
        assert contents(broken) == contents(whole)


def program(model, out):
    command = ["embed", "--model", model, "--data", "tests.inference.toys:Slow", "--out", str(out)]
    options = ["--batch-size", "8", "--shard-rows", "16", "--data-option", "bad=(1, 90)"]
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "mmjax.cli", *command, *options], env=environment, cwd=ROOT)


def shards_done(out):
    try:
        return sum(len(part["shards"]) for part in json.loads((out / "manifest.json").read_text())["streams"].values())
    except OSError:
        return 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_at_random_instants_it_ends_bitwise_the_same(clip, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert program(clip, whole).wait(200) == 0
    dice = random.Random(time.time_ns())
    for before in (0, 5, 12):
        process = program(clip, killed)
        while shards_done(killed) < before + dice.randint(1, 4) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was killed at work"
    done = shards_done(killed)
    stamps = {path: path.stat().st_mtime_ns for path in sorted((killed / "image").glob("*.parquet"))[:done]}
    assert 0 < done < 75 and program(clip, killed).wait(200) == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items()), "what was done is not done again"
    assert contents(killed) == contents(whole)
    assert len((killed / "skipped.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data-option", "length=11"], "with --data {'path'"),
        (["--limit", "3"], "of 10 items, not 3"),
        (["--dtype", "float16"], "with --dtype float32, not float16"),
        (["--format", "npy"], "with --format parquet, not npy"),
        (["--shard-rows", "9"], "with --shard-rows 16384, not 9"),
        (["--stream", "image"], "the streams image (10 rows), caption (20 rows), not image (10 rows)"),
    ],
)
def test_another_use_of_the_same_folder_is_refused(clip, tmp_path, capsys, options, message):
    assert embed(clip, tmp_path) == 0
    before = contents(tmp_path)
    assert embed(clip, tmp_path, *options) == 2
    error = capsys.readouterr().err
    assert message in error and "choose another --out" in error and error.count("\n") == 1
    assert contents(tmp_path) == before


def test_another_model_is_refused_and_a_changed_one(clip, siglip, model, tmp_path, capsys):
    own = str(mmjax.save(tmp_path / "own", model))
    out = tmp_path / "out"
    assert embed(own, out) == 0
    assert embed(siglip, out) == 2
    assert f"another model, {own}" in capsys.readouterr().err
    changed = {**model.params, "scale": model.params["scale"] + 1}
    mmjax.save(tmp_path / "own", mmjax.Model(model.task, changed, model.streams, model.config))
    assert embed(own, out) == 2
    assert "own as it was; choose another --out" in capsys.readouterr().err


def test_another_vocabulary_is_another_model(model, tmp_path):
    """Not its path, and not how its tokenizer was last called: what it makes of a text."""

    def told(words, path, length=8):
        write_words(path, words)
        sections = {
            **SECTIONS,
            "caption": {"name": "text", "tokenizer": {"name": "hf", "path": str(path)}, "length": 8},
        }
        streams = {**model.streams, "caption": build(sections["caption"], STREAMS, "caption")}
        streams["caption"].loaded().encode(words[0], length)
        return fingerprint(dataclasses.replace(model, streams=streams, config={**model.config, "streams": sections}))

    assert told(["red", "blue"], tmp_path / "a") == told(["red", "blue"], tmp_path / "b", length=5)
    assert told(["red", "blue"], tmp_path / "a") != told(["blue", "red"], tmp_path / "c")


def write_words(folder, words):
    """A tokenizer of transformers that knows these words."""
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate([*words, "<unk>"])}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<unk>").save_pretrained(folder)


def test_a_model_that_has_moved_is_the_same_one(clip, model, tmp_path):
    def told(path, **more):
        streams = {"caption": {"name": "text", "tokenizer": {"name": "bpe", "path": path}, **more}}
        return fingerprint(dataclasses.replace(model, config={**model.config, "streams": streams}))

    assert told("/a/tokenizer.json") == told("/b/tokenizer.json") != told("/a/tokenizer.json", length=9)
    shutil.copytree(clip, tmp_path / "moved")
    assert embed(clip, tmp_path / "out") == 0 and embed(str(tmp_path / "moved"), tmp_path / "out") == 0


def test_paths_are_kept_from_the_root_and_names_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    kept = ("hf:openai/clip", "open_clip:ViT-B-32", "world:scenes/test", "my_lab.sources:Thing", "/x/*.tar")
    assert [absolute(name) for name in kept] == list(kept)
    relative = ("folder", "hf:folder", "open_clip:ViT-B-32@weights.pt", "open_clip:ViT@/x/y.pt", "shards-{0..9}.tar")
    assert [absolute(name) for name in relative] == [
        f"{tmp_path}/folder",
        f"hf:{tmp_path}/folder",
        f"open_clip:ViT-B-32@{tmp_path}/weights.pt",
        "open_clip:ViT@/x/y.pt",
        f"{tmp_path}/shards-{{0..9}}.tar",
    ]


def test_a_source_may_be_named(clip, data_root, tmp_path):
    folder = data_root / "fashion_mnist"
    parts = {"images": "t10k-images-idx3-ubyte.gz", "labels": "t10k-labels-idx1-ubyte.gz", "names": "class_names.txt"}
    options = [word for key, name in parts.items() for word in ("--data-option", f"{key}={folder / name}")]
    assert embed(clip, tmp_path, *options, "--limit", "9", "--stream", "image", data="idx") == 0
    assert read(tmp_path).rows("image") == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard-rows", "0"], "--shard-rows must be at least 1"),
        (["--batch-size", "0"], "batch_size and limit must be at least 1"),
        (["--limit", "0"], "batch_size and limit must be at least 1"),
        (["--workers", "-1"], "workers must not be negative"),
        (["--max-skip-rate", "2"], "--max-skip-rate must lie in [0, 1]"),
        (["--stream", "sound"], "no stream 'sound'; it has image, caption"),
        (["--data-option", "length"], "write it as KEY=VALUE"),
        (["--data-option", "lenght=3"], "did you mean length"),
        (["--model", "nowhere"], "no bundle here"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
    ],
)
def test_wrong_flags_are_one_line(clip, tmp_path, capsys, options, message):
    assert embed(clip, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_features_that_are_no_numbers_are_not_written(model, tmp_path, capsys):
    path = str(mmjax.save(tmp_path / "broken", broken(model)))
    assert embed(path, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "image of item-0: its features are not finite, as in 10 of 10 rows" in error and error.count("\n") == 1
    assert read(tmp_path / "out").rows("image") == 0


def test_what_float16_cannot_hold_is_not_written(clip, tmp_path, capsys, monkeypatch):
    def large(*args):
        found = read_features_of(*args)
        return dataclasses.replace(found, features=found.features * 1e6)

    read_features_of = job.read_rows
    monkeypatch.setattr(job, "read_rows", large)
    assert embed(clip, tmp_path / "out", "--dtype", "float16") == 1
    error = capsys.readouterr().err
    assert "take --dtype float32" in error and error.count("\n") == 1
    assert embed(clip, tmp_path / "wide") == 0


def test_a_folder_below_a_file_is_one_line(clip, photos, capsys):
    assert embed(clip, photos / "a.jpg" / "below") == 2
    error = capsys.readouterr().err
    assert "a.jpg/below: Not a directory" in error and error.count("\n") == 1


def test_a_folder_of_other_things_is_left_alone(clip, photos, tmp_path, capsys):
    assert embed(clip, photos) == 2
    assert "is not empty and holds no manifest.json" in capsys.readouterr().err
    assert embed(clip, photos / "a.jpg") == 2
    assert "is a file" in capsys.readouterr().err


def test_real_photographs_with_their_captions(clip, data_root, tmp_path):
    data = str(data_root / "flickr8k_1k/flickr8k_1k.tar")
    options = ["--data-option", "caption=captions_en", "--limit", "40", "--shard-rows", "64"]
    assert embed(clip, tmp_path, *options, data=data) == 0
    manifest = read(tmp_path)
    assert (manifest.rows("image"), manifest.rows("caption"), manifest.skipped()) == (40, 200, 0)
