"""Folders and tables: grouping, bad lines, missing files."""

import pytest

from mmjax.data.sources import open_source
from mmjax.data.sources.table import Folder, Table
from mmjax.errors import BadItem, UserError

from . import made


def reasons(source) -> list[str | None]:
    out: list[str | None] = []
    for index in range(len(source)):
        try:
            source[index]
            out.append(None)
        except BadItem as error:
            out.append(str(error))
    return out


def test_bad_lines_stay_rows(tmp_path):
    folder = made.images(tmp_path / "x")
    lines = [
        b'{"file": "a.png", "caption": "one"}',
        b'{"file": "b.png", "caption": "tw',
        b"",
        b"[1, 2]",
        b'{"file": "c.png", "caption": "caf\xe9"}',
        b'{"caption": "no file"}',
        b'{"file": "gone.png", "caption": "gone"}',
        b'{"file": "../x/d.png", "caption": "last"}',
    ]
    (folder / "captions.jsonl").write_bytes(b"\n".join(lines))
    source = open_source(folder)
    assert reasons(source) == [
        None,
        "line 2 is not JSON",
        "line 4 is not a JSON object",
        "caption is not UTF-8",
        "no image: field 'file' is None",
        "no such file: gone.png",
        None,
    ]
    assert [source.id(i) for i in range(7)] == ["a.png", "row 1", "row 2", "c.png", "row 4", "gone.png", "../x/d.png"]


def test_csv_with_too_many_columns_and_too_few(tmp_path):
    folder = made.images(tmp_path / "x")
    (folder / "captions.csv").write_bytes(b"image,caption\na.png,one,more\nb.png\nc.png,\xff\nd.png,good\n")
    assert reasons(Folder(str(folder))) == [
        "line 2 has more columns than the first line names",
        "caption is null",
        "caption is not UTF-8",
        None,
    ]


def test_one_bad_caption_among_good_ones_is_left_out(tmp_path):
    folder = made.images(tmp_path / "x")
    made.jsonl(folder / "captions.jsonl", [{"file": "a.png", "captions": ["  one ", "", None, 3, "two"]}])
    source = open_source(folder)
    assert source[0].streams["caption"] == ("one", "two")
    assert source.caption_faults(0) == ("caption is empty", "caption is null", "caption is int, not text")


def test_a_quote_in_tsv_is_a_character(tmp_path):
    folder = made.images(tmp_path / "x")
    (folder / "x.tsv").write_text('image\tcaption\na.png\t"half\nb.png\tquoted" too\n')
    assert [Table(str(folder / "x.tsv")).captions(i) for i in (0, 1)] == [('"half',), ('quoted" too',)]


def test_images_without_sidecar_are_bad_and_subfolders_are_walked(tmp_path):
    folder = made.images(tmp_path / "x")
    made.images(folder / "sub")
    (folder / "a.txt").write_text("one\n\n")
    (folder / "sub" / "b.txt").write_text("")
    (folder / "README.txt").write_text("no caption of anything")
    source = open_source(folder)
    assert len(source) == 8
    assert source.captions(0) == ("one",)
    assert reasons(source)[1:] == ["no caption"] * 4 + ["caption is empty"] + ["no caption"] * 2


def test_which_table_counts_must_be_clear(tmp_path):
    folder = made.images(tmp_path / "x")
    for name in ("captions.jsonl", "captions.csv"):
        (folder / name).touch()
    with pytest.raises(UserError, match="has captions.jsonl and captions.csv"):
        open_source(folder)


def test_an_empty_folder_and_an_empty_table(tmp_path):
    with pytest.raises(UserError, match="neither captions.jsonl"):
        open_source(tmp_path)
    (tmp_path / "x.csv").touch()
    with pytest.raises(UserError, match="x.csv: no row has any text"):
        open_source(tmp_path / "x.csv")


def test_a_field_within_a_field(tmp_path):
    folder = made.images(tmp_path / "x")
    rows = [{"file": "a.png", "annotations": [{"text": "one"}, {"text": "two"}], "meta": {"split": "train"}}]
    made.jsonl(folder / "captions.jsonl", rows)
    section = {"path": str(folder), "caption": "annotations.text", "where": {"meta.split": "train"}}
    assert open_source(section).captions(0) == ("one", "two")
