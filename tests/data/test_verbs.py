"""`mmjax data check | convert | describe | tokenizer`, as a user calls them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from mmjax.cli import main
from mmjax.data import convert as convert_module
from mmjax.data import fonts
from mmjax.data.check import check
from mmjax.data.contact_sheet import PICTURE, contact_sheet, wrap
from mmjax.data.parallel import CHUNK, ordered
from mmjax.data.sources import open_source
from mmjax.errors import UserError

from . import chinese_font
from .sources import made

SHADES = "tests.my_lab.sources:Shades"


@pytest.fixture
def folder(tmp_path):
    """Four good pairs, of which one has a bad caption too; a missing file, a ruined picture and a null caption."""
    folder = made.images(tmp_path / "pairs")
    (folder / "e.png").write_bytes(b"ruined")
    rows = [{"file": f"{k}.png", "captions": c, "split": s} for k, c, s in made.PAIRS]
    rows[1]["captions"] = [*rows[1]["captions"], ""]
    rows += [{"file": "e.png", "captions": ["e"]}, {"file": "gone.png", "captions": ["f"]}]
    rows += [{"file": "g.png", "captions": None}]
    made.jsonl(folder / "captions.jsonl", rows)
    return folder


REASONS = {4: "not an image of a known format", 5: "no such file: gone.png", 6: "caption is null"}


def test_check_lists_what_is_broken(folder, capsys, tmp_path):
    assert main(["data", "check", str(folder), "--workers", "0", "--json", str(tmp_path / "out" / "x.json")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["item", "id", "what", "is", "wrong"]
    assert lines[1].split(maxsplit=2) == ["1", "b.png", "left out: caption is empty"]
    assert lines[2].split(maxsplit=2) == ["4", "e.png", "not an image of a known format"]
    assert lines[-1] == "7 items: 3 broken, 1 captions left out of good ones"
    result = json.loads((tmp_path / "out" / "x.json").read_text())
    assert (result["items"], result["broken"], result["captions_left_out"]) == (7, 3, 1)
    assert [f["index"] for f in result["faults"]] == [1, 4, 5, 6]


def test_check_of_good_data_exits_with_0(tmp_path, capsys):
    assert main(["data", "check", made.tars(tmp_path), "--workers", "0"]) == 0
    assert capsys.readouterr().out == "4 items: 0 broken, 0 captions left out of good ones\n"


def test_options_reach_the_source(tmp_path, capsys):
    path = made.tars(tmp_path)
    assert main(["data", "check", path, "--workers=0", "--where", "split=train", "--caption=caption"]) == 0
    assert capsys.readouterr().out.startswith("3 items")
    assert main(["data", "check", SHADES, "--workers=0", "--option", "length=5", "--option", "bad=(3,)"]) == 1
    assert "made to be bad" in capsys.readouterr().out
    assert main(["data", "check", "world:scenes/train", "--workers=0", "--limit=3"]) == 0
    assert capsys.readouterr().out.startswith("3 items")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nowhere"], "PATH: nowhere: no such file or folder; data is a folder"),
        (["check", "FOLDER", "--where", "split"], "--where split: write it as KEY=VALUE"),
        (["check", "FOLDER", "--caption", "captoins"], "did you mean captions"),
        (["check", "FOLDER", "--workers", "-1"], "--workers must not be negative"),
        (["check", "FOLDER", "--option", "imge=x"], "PATH.imge; did you mean image"),
        (["convert", "FOLDER", "FOLDER"], "is there already"),
        (["convert", "FOLDER", "out", "--shards", "8"], "cannot spread 7 items over 8 shards"),
        (["check", "idx"], "PATH.images is missing"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(folder, capsys, arguments, message):
    assert main(["data", *(str(folder) if a == "FOLDER" else a for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_workers_find_the_same(tmp_path):
    source = open_source({"path": SHADES, "length": 3 * CHUNK + 5, "bad": (0, CHUNK, 99)})
    here, there = (list(check(source, workers)) for workers in (0, 2))
    assert here == there
    assert [s.index for s in here] == list(range(len(source)))
    assert [s.index for s in here if s.reason] == [0, CHUNK, 99]


def test_a_worker_that_dies_is_said_to_have():
    source = open_source({"path": "tests.data.deadly:Deadly", "length": 40})
    with pytest.raises(UserError, match=r"shades: a worker process died at items .* try --workers 0"):
        list(ordered(_index, source, range(40), 1))


def test_workers_die_with_their_parent():
    command = [sys.executable, "-m", "tests.data.deadly", "2"]
    parent = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    assert len(set(workers)) == 2
    assert parent.stdout.read() == ""  # it ends when the last process that holds it has ended
    parent.wait()


def _index(source, index):
    return source[index].id


def test_convert_keeps_order_and_lists_what_it_skips(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["data", "convert", str(folder), str(out), "--shards", "3", "--workers", "0"]) == 0
    assert "4 items in 3 files; 3 skipped, listed in" in capsys.readouterr().out
    skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert {s["index"]: s["reason"] for s in skipped} == REASONS
    description = json.loads((out / "dataset.json").read_text())
    assert [s["items"] for s in description["shards"]] == [2, 2, 0]
    assert sorted(p.name for p in out.iterdir() if p.suffix == ".array_record") == [
        s["file"] for s in description["shards"]
    ]
    source = open_source(out)
    assert [source.id(i) for i in range(len(source))] == ["a.png", "b.png", "c.png", "d.png"]
    assert source.captions(1) == ("a green square",)
    assert not (tmp_path / "out.partial").exists()


def test_convert_by_workers_is_the_same(tmp_path):
    source = open_source({"path": SHADES, "length": 2 * CHUNK + 9, "bad": (5,)})
    for workers in (0, 2):
        convert_module.convert(source, tmp_path / str(workers) / "out", 2, workers)
    files = [{p.name: p.read_bytes() for p in (tmp_path / w / "out").iterdir()} for w in ("0", "2")]
    assert files[0] == files[1] and len(files[0]) == 4


def test_a_failed_conversion_leaves_nothing(tmp_path, monkeypatch):
    source = open_source({"path": SHADES, "length": 9})
    monkeypatch.setattr(convert_module, "DESCRIPTION", "no/such/folder")
    with pytest.raises(OSError):
        convert_module.convert(source, tmp_path / "out", workers=0)
    assert os.listdir(tmp_path) == []


def test_a_killed_conversion_is_begun_anew(tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "old.array_record").write_bytes(b"half")
    convert_module.convert(open_source({"path": SHADES, "length": 9}), tmp_path / "out", workers=0)
    assert "old.array_record" not in os.listdir(tmp_path / "out")


def test_nothing_good_is_no_data_set(tmp_path):
    source = open_source({"path": SHADES, "length": 2, "bad": (0, 1)})
    with pytest.raises(UserError, match="none of its 2 items is good"):
        convert_module.convert(source, tmp_path / "out", workers=0)
    assert os.listdir(tmp_path) == []


def test_describe(folder, tmp_path, capsys):
    sheet, numbers = tmp_path / "new" / "sheet.png", tmp_path / "x.json"
    arguments = ["--workers", "0", "--out", str(sheet), "--json", str(numbers)]
    assert main(["data", "describe", str(folder), *arguments]) == 0
    result = json.loads(numbers.read_text())
    lengths = [len(c) for _, captions, _ in made.PAIRS for c in captions]
    assert (result["items"], result["broken"], result["captions"], result["captions_left_out"]) == (7, 3, 7, 1)
    assert result["characters"] == {"min": min(lengths), "median": np.median(lengths), "max": max(lengths)}
    assert result["width"] == {"min": 12, "median": 12, "max": 12} and result["height"]["max"] == 9
    assert result["captions_per_item"] == {"min": 1, "median": 1.5, "max": 3}
    printed = capsys.readouterr().out
    assert f"contact sheet: {sheet}" in printed and "no such file: gone.png" in printed
    pixels = np.asarray(Image.open(sheet))
    corner = pixels[8 + 20, 8 : 8 + PICTURE]  # the first row of the sheet shows the first picture
    assert (corner[5] == made.pixels("a")[0, 0]).all()


def test_describe_where_nothing_is_good(tmp_path, capsys):
    arguments = ["--option", "length=2", "--option", "bad=(0, 1)", "--workers", "0", "--out", str(tmp_path / "x.png")]
    assert main(["data", "describe", SHADES, *arguments]) == 0
    assert "no contact sheet: no item is good" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_tokenizer(folder, tmp_path, capsys):
    assert main(["data", "tokenizer", str(folder), str(tmp_path / "out"), "--size", "400"]) == 0
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    assert "tokenizer.json" in capsys.readouterr().out


ENGLISH, CHINESE = "A child in a pink dress is climbing up the stairs", "穿着连衣裙的小女孩在水中奔跑"


@pytest.fixture
def font(tmp_path):
    path = chinese_font.write(tmp_path / "made.ttf", f"{ENGLISH}{CHINESE}一。…")
    return ImageFont.truetype(str(path), 12)


@pytest.mark.parametrize("text, count", [(ENGLISH, 2), (CHINESE, 2), (CHINESE * 9, 4), ("x" * 500, 1)])
def test_captions_are_wrapped_to_the_width_of_a_picture(font, text, count):
    lines = wrap(text, font)
    assert len(lines) == count
    assert all(font.getlength(line) <= PICTURE for line in lines)
    joined = "".join(lines).rstrip("…").replace(" ", "")
    assert text.replace(" ", "").startswith(joined)
    assert ("…" in lines[-1]) == (len(joined) < len(text.replace(" ", "")))


def test_no_punctuation_begins_a_line(font):
    lines = [wrap("一" * n + "。", font) for n in range(8, 30)]
    assert any(len(text) > 1 for text in lines)
    assert not any(line.startswith("。") for text in lines for line in text)


def test_characters_without_a_font_are_told(monkeypatch):
    """With matplotlib's own fonts alone Chinese would be boxes, and the caller learns which characters."""
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    _, missing = contact_sheet([np.zeros((9, 9, 3), np.uint8)], ["a 猫"])
    assert missing == "猫"


def test_chinese_is_drawn_where_a_font_has_it(monkeypatch, tmp_path):
    """The font that has every character of a caption is taken, though likelier ones stand before it."""
    path = chinese_font.write(tmp_path / "zz.ttf", "a红色的方块")
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [str(path)])
    font, missing = fonts.font_for("a 红色的方块", 12)
    assert (font.path, missing) == (str(path), "")
    drawn = {bytes(font.getmask(c)) for c in "红色的方块"}
    assert len(drawn) == 5 and bytes(font.getmask("\U0010ffff")) not in drawn
    sheet, missing = contact_sheet([np.full((9, 9, 3), 255, np.uint8)], ["红色"])
    assert missing == "" and (np.asarray(sheet) < 128).any()


def test_flickr8k_as_a_user_would(data_root, tmp_path, capsys):
    tar = tmp_path / "flickr.tar"
    shutil.copyfile(data_root / "flickr8k_1k" / "flickr8k_1k.tar", tar)
    options = ["--caption", "captions_en", "--where", "split=val", "--workers", "0"]
    assert main(["data", "convert", str(tar), str(tmp_path / "val"), "--shards", "2", *options]) == 0
    english = open_source({"path": str(tar), "caption": "captions_en", "where": {"split": "val"}})
    converted = open_source(tmp_path / "val")
    assert len(converted) == len(english) == 113
    assert all(converted[i].streams == english[i].streams for i in range(113))
    chinese = open_source({"path": str(tmp_path / "val"), "caption": "captions_zh"})
    assert chinese.captions(0) == tuple(english.truth(0)["captions_zh"])
