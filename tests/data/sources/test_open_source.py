"""What a path is taken for, and what is said where it is nothing."""

import re
from pathlib import Path

import numpy as np
import pytest

from mmjax.data.sources import SOURCES, open_source, recognise
from mmjax.errors import BadItem, UserError

from . import made


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("tfds:coco_captions/2014:1.1.0/val[:5]", {"name": "tfds", "path": "coco_captions/2014:1.1.0/val[:5]"}),
        ("world:scenes/val", {"name": "world", "split": "val"}),
        ("world:scenes", {"name": "world"}),
        ("world:questions/test", {"name": "world_questions", "split": "test"}),
        ("my_lab.sources:Thing", {"name": "my_lab.sources:Thing"}),
        ("x/captions.tsv", {"name": "table", "path": "x/captions.tsv"}),
        ("x-{000..099}.tar", {"name": "webdataset", "path": "x-{000..099}.tar"}),
        ("x/*.parquet", {"name": "parquet", "path": "x/*.parquet"}),
        ("x/a.array_record*", {"name": "array_record", "path": "x/a.array_record*"}),
    ],
)
def test_a_path_says_what_it_is(path, section):
    assert recognise(path, "data") == section


def test_a_folder_says_what_it_is_by_its_files(tmp_path):
    for name, kind in (("x.tar", "webdataset"), ("x.parquet", "parquet"), ("x.array_record", "array_record")):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / name).touch()
        assert recognise(str(folder), "data")["name"] == kind
    (tmp_path / "parquet" / "captions.csv").touch()
    assert recognise(str(tmp_path / "parquet"), "data")["name"] == "folder"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", r"^data.train: nowhere: no such file or folder; data is a folder, captions.jsonl"),
        ("nowhere-{0..3}.tar", r"^nowhere-0.tar: no such file \(and 3 more of 4\)"),
        ("no*.parquet", r"^no\*.parquet: no file matches"),
        ("nowhere.csv", r"^nowhere.csv: cannot be read: No such file"),
        ("nowhere.tar.gz", r"unpack it"),
        ("world:scenery/train", r"no world 'scenery'; known: scenes, questions"),
        ("tfds:mnist", r"write tfds:NAME/split"),
        ({}, r"^data.train.path is missing"),
        ({"name": "foldr"}, r"unknown name 'foldr'; did you mean folder"),
        ("my_lab.sources:Nothing", r"cannot import my_lab.sources:Nothing"),
    ],
)
def test_nothing_there_is_said_in_one_line(spec, message):
    with pytest.raises(UserError, match=message) as caught:
        open_source(spec, "data.train")
    assert "\n" not in str(caught.value)


def test_a_path_may_be_a_path(tmp_path):
    assert len(open_source(tmp_path / made.folder_jsonl(tmp_path))) == len(made.PAIRS)


def test_a_source_from_outside_takes_its_options():
    source = open_source({"path": "tests.my_lab.sources:Shades", "length": 5})
    assert len(source) == 5


def test_the_source_of_the_page_works(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(# my_lab/sources.py\n.*?)```", page, re.DOTALL)
    (tmp_path / "page_lab.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "1.png").write_bytes(made.png("a"))
    source = open_source({"path": "page_lab:Thing", "folder": str(tmp_path), "size": 3})
    assert source[1].streams == {"image": made.png("a"), "caption": ("thing number 1",)}
    with pytest.raises(BadItem, match="no picture: No such file"):
        source[2]
    with pytest.raises(UserError, match="data.sice; did you mean size"):
        open_source({"path": "page_lab:Thing", "folder": str(tmp_path), "sice": 3})


def test_what_is_no_source_says_what_it_lacks():
    with pytest.raises(UserError, match="mmjax.data.sources.files:Handles is no source: it lacks name, __len__"):
        open_source("mmjax.data.sources.files:Handles")


def test_the_world_takes_its_options():
    source = open_source({"path": "world:scenes/val", "size": 32, "length": 8})
    assert len(source) == 8
    assert source[3].streams["image"].shape == (32, 32, 3)
    assert source[3].streams["image"].dtype == np.uint8


def test_each_source_is_named():
    files = {"folder", "table", "webdataset", "parquet", "tfds", "array_record"}
    published = {"idx", "qa", "vqa", "gqa", "coco", "karpathy"}
    assert set(SOURCES) == files | published | {"world", "world_questions"}
