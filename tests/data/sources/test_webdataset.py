"""Tars: the index beside them, members in any order, damage of every kind."""

import json
import os

import numpy as np
import pytest

from mmjax.data.sources import open_source, tar_index
from mmjax.data.sources.files import OPEN_AT_ONCE, Handles, braces
from mmjax.errors import BadItem, UserError

from . import made
from .test_table import reasons

BLOCK = 512


def tar(path, keys="abcd") -> str:
    captions = {key: captions for key, captions, _ in made.PAIRS}
    members = [(f"{k}.{e}", d) for k in keys for e, d in (("png", made.png(k)), ("txt", captions[k][0].encode()))]
    return made.write_tar(path, members)


def test_index_is_made_once_beside_the_tar(tmp_path, monkeypatch):
    path = tar(tmp_path / "x.tar")
    first = open_source(path)
    assert sorted(os.listdir(tmp_path)) == ["x.tar", "x.tar.index.npz"]
    monkeypatch.setattr(tar_index, "scan", None)  # a second look must not read the headers again
    assert [open_source(path).id(i) for i in range(4)] == [first.id(i) for i in range(4)]


def test_index_is_made_again_when_the_tar_has_changed(tmp_path):
    path = tar(tmp_path / "x.tar", "abcd")
    open_source(path)
    tar(tmp_path / "x.tar", "ba")
    source = open_source(path)
    assert [source.id(i) for i in range(len(source))] == ["b", "a"]


@pytest.mark.parametrize("junk", [b"", b"junk", b"PK\x03\x04"])
def test_a_damaged_index_is_made_again(tmp_path, junk):
    path = tar(tmp_path / "x.tar")
    (tmp_path / "x.tar.index.npz").write_bytes(junk)
    assert len(open_source(path)) == 4
    assert (tmp_path / "x.tar.index.npz").read_bytes()[:2] == b"PK"


def test_a_read_only_place_stays_as_it_is(tmp_path):
    path = tar(tmp_path / "x.tar")
    tmp_path.chmod(0o555)
    try:
        assert len(open_source(path)) == 4
        assert os.listdir(tmp_path) == ["x.tar"]
    finally:
        tmp_path.chmod(0o755)


def test_a_full_place_keeps_the_index_in_memory(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    path = tar(tmp_path / "x.tar")
    monkeypatch.setattr(np, "savez", full)
    assert len(open_source(path)) == 4
    assert os.listdir(tmp_path) == ["x.tar"]


def test_members_of_a_key_need_not_be_neighbours(tmp_path):
    members = [(f"{k}.png", made.png(k)) for k in "abc"] + [(f"{k}.txt", k.encode()) for k in "cab"]
    source = open_source(made.write_tar(tmp_path / "x.tar", members))
    assert [source.captions(i) for i in range(3)] == [("a",), ("b",), ("c",)]
    assert reasons(source) == [None] * 3


def test_long_and_non_ascii_names(tmp_path):
    members = [("深/" + "k" * 200 + ".png", made.png("a")), ("深/" + "k" * 200 + ".txt", b"one")]
    source = open_source(made.write_tar(tmp_path / "x.tar", members))
    assert source.id(0) == "深/" + "k" * 200
    assert reasons(source) == [None]


def test_items_that_lack_something(tmp_path):
    members = [("a.png", made.png("a")), ("b.txt", b"two"), ("c.json", b"{"), ("d.json", b"[]"), ("e.txt", b"\n")]
    members += [("e.png", made.png("e")), ("f.png", made.png("f")), ("f.txt", b"six")]
    assert reasons(open_source(made.write_tar(tmp_path / "x.tar", members))) == [
        "no caption: no field 'txt'",
        "no image beside it in the tar, only .txt",
        "its .json is not JSON",
        "its .json is not an object",
        "caption is empty",
        None,
    ]


def cut(path: str, size: int) -> str:
    os.truncate(path, size)
    return path


def test_truncation_anywhere_is_counted_and_spares_what_is_before(tmp_path):
    """At every 256th byte: as many good items as are whole, and at least one bad row unless the end mark is there."""
    whole = os.path.getsize(tar(tmp_path / "x.tar"))
    index = tar_index.scan(tmp_path / "x.tar")
    ends = [max(o + s for o, s in index.members(i).values()) for i in range(4)]
    end_mark = -(-ends[-1] // BLOCK) * BLOCK + BLOCK
    for size in range(ends[0], whole, 256):
        found = reasons(open_source(cut(tar(tmp_path / "x.tar"), size)))
        good = sum(end <= size for end in ends)
        assert found[:good] == [None] * good, size
        assert all(found[good:]), size
        assert bool(found[good:]) == (size < end_mark), size


def test_a_truncated_member_says_what_is_left(tmp_path):
    path = tar(tmp_path / "x.tar")
    offset, size = tar_index.scan(tmp_path / "x.tar").members(2)["txt"]
    found = reasons(open_source(cut(path, offset + 5)))
    assert found == [None, None, f"the tar is truncated within its .txt: 5 of {size} bytes"]


def test_a_damaged_header_ends_the_tar_with_a_bad_row(tmp_path):
    path = tar(tmp_path / "x.tar")
    offset, _ = tar_index.scan(tmp_path / "x.tar").members(2)["png"]
    with open(path, "r+b") as stream:
        stream.seek(offset - BLOCK)
        stream.write(b"\x07" * BLOCK)
    source = open_source(path)
    assert reasons(source) == [None, None, "the tar breaks off or is damaged here; what followed is lost"]
    assert source.id(2) == "x.tar(end)"


def test_one_ruined_shard_does_not_stop_the_others(tmp_path):
    tar(tmp_path / "x-0.tar", "ab")
    (tmp_path / "x-1.tar").write_bytes(b"")
    tar(tmp_path / "x-2.tar", "cd")
    found = reasons(open_source(str(tmp_path / "x-{0..2}.tar")))
    assert [r is None for r in found] == [True, True, False, True, True]
    with pytest.raises(UserError, match="x-1.tar: no row can be read"):
        open_source(str(tmp_path / "x-1.tar"))


def test_image_by_extension(tmp_path):
    members = [("a.left.png", made.png("a")), ("a.png", made.png("b")), ("a.txt", b"one")]
    path = made.write_tar(tmp_path / "x.tar", members)
    assert open_source(path)[0].streams["image"] == made.png("b")
    assert open_source({"path": path, "image": "left.png"})[0].streams["image"] == made.png("a")


def test_more_files_than_may_be_open(tmp_path):
    files = [tmp_path / str(n) for n in range(OPEN_AT_ONCE + 5)]
    for n, file in enumerate(files):
        file.write_bytes(bytes([n]) * 3)
    handles = Handles()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(2):
        assert [handles.read(f, 1, 9) for f in files] == [bytes([n]) * 2 for n in range(len(files))]
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + OPEN_AT_ONCE


def test_braces():
    assert braces("x-{08..11}.tar") == ["x-08.tar", "x-09.tar", "x-10.tar", "x-11.tar"]
    assert braces("{a,b}/{0..1}") == ["a/0", "a/1", "b/0", "b/1"]
    assert braces("plain") == ["plain"]


def test_flickr8k(data_root):
    section = {"path": str(data_root / "flickr8k_1k" / "flickr8k_1k.tar"), "caption": "captions_en"}
    sizes = {split: len(open_source({**section, "where": {"split": split}})) for split in ("train", "val", "test")}
    assert sizes == {"train": 753, "val": 113, "test": 125}
    lines = (data_root / "flickr8k_1k" / "captions.jsonl").read_text("utf-8").splitlines()
    rows = {row["key"]: row for row in map(json.loads, lines)}
    source = open_source(section)
    assert len(source) == 1000
    assert all(source.captions(i) == tuple(rows[source.id(i)]["captions_en"]) for i in range(1000))
    with pytest.raises(UserError, match="Say caption=FIELD .*captions_en, captions_zh"):
        open_source(section["path"])


def test_a_tar_that_vanished_is_a_bad_item(tmp_path):
    source = open_source(tar(tmp_path / "x.tar"))
    unopened = type(source)(str(tmp_path / "x.tar"))
    unopened._handles = Handles()
    os.remove(tmp_path / "x.tar")
    with pytest.raises(BadItem, match="x.tar: No such file"):
        unopened[0]
