"""Data on an object store is the data on a disk: each form, item by item, also through a pickle."""

import json
import pathlib
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmjax import storage
from mmjax.data.sources import open_source
from mmjax.errors import UserError

CAPTIONS = ["a red square", "a green one", "a blue one", "nothing at all", "the last"]


@pytest.fixture(scope="module")
def disk(tmp_path_factory) -> pathlib.Path:
    """The same five pairs in each form."""
    folder = tmp_path_factory.mktemp("disk")
    for form in ("table", "sidecars/below", "shards", "parquet"):
        (folder / form).mkdir(parents=True)
    for i, caption in enumerate(CAPTIONS):
        Image.fromarray(np.full((4, 4, 3), 40 * i, np.uint8)).save(folder / "table" / f"{i}.png")
        data = (folder / "table" / f"{i}.png").read_bytes()
        (folder / "sidecars" / "below" / f"{i}.png").write_bytes(data)
        (folder / "sidecars" / "below" / f"{i}.txt").write_text(caption)
    lines = [json.dumps({"file": f"{i}.png", "caption": caption}) for i, caption in enumerate(CAPTIONS)]
    (folder / "table" / "captions.jsonl").write_text("\n".join(lines))
    for shard in range(2):
        with tarfile.open(folder / "shards" / f"{shard:03d}.tar", "w") as tar:
            for file in sorted((folder / "sidecars" / "below").iterdir())[6 * shard : 6 * shard + 6]:
                tar.add(file, file.name)
    images = [(folder / "table" / f"{i}.png").read_bytes() for i in range(5)]
    pq.write_table(pa.table({"image": images, "caption": CAPTIONS}), folder / "parquet" / "a.parquet", row_group_size=2)
    return folder


@pytest.fixture
def bucket(disk, s3):
    """The disk's files on s3://."""
    home = storage.Mirror(f"{s3}/data")
    for file in disk.rglob("*.*"):
        if file.is_file() and not file.name.endswith(".npz"):
            target = home.folder / file.relative_to(disk)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    home.push()
    return f"{s3}/data"


FORMS = ["table", "table/captions.jsonl", "sidecars", "shards", "shards/{000..001}.tar", "shards/*.tar", "parquet"]


@pytest.mark.parametrize("form", [*FORMS, "parquet/*.parquet"])
def test_each_form(disk, bucket, form):
    here, there = open_source(f"{disk}/{form}"), open_source(f"{bucket}/{form}")
    for source in (there, pickle.loads(pickle.dumps(there))):
        assert len(here) == len(source) == len(CAPTIONS)
        for i in range(len(here)):
            assert here[i] == source[i] and here.captions(i) == source.captions(i) and here.id(i) == source.id(i)


def test_the_index_of_a_tar_is_kept_and_renewed_there(bucket):
    open_source(f"{bucket}/shards")
    index, tar = (storage.place(f"{bucket}/shards/000.tar{suffix}") for suffix in (".index.npz", ""))
    before = index.read_bytes()
    tar.write_bytes(storage.place(f"{bucket}/shards/001.tar").read_bytes())
    assert len(open_source(f"{bucket}/shards")) == 4 and index.read_bytes() != before


@pytest.mark.parametrize("form", ["none", "none.tar", "shards/{000..003}.tar", "shards/x*.tar", "none.jsonl"])
def test_what_is_not_there(bucket, form):
    with pytest.raises(UserError, match="s3://bucket/data/"):
        open_source(f"{bucket}/{form}")


def test_a_missing_library_is_named(monkeypatch):
    from etils import epath

    def without(self):
        raise ImportError("no module named gcsfs")

    monkeypatch.setattr(type(epath.Path("gs://b")), "exists", without)
    with pytest.raises(UserError, match=r"gs://b/x: needs gcsfs, pip install 'mmjax\[cloud\]'"):
        storage.place("gs://b/x")


def test_a_path_of_this_machine_stays_one():
    assert storage.place("~/x") == pathlib.Path("~/x").expanduser()
