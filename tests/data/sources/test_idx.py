"""Labelled pictures: captions from class names, damage refused at once."""

import gzip
import pickle
import struct

import numpy as np
import pytest

from mmjax.data.sources import open_source
from mmjax.data.sources.idx import read_idx
from mmjax.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def section(tmp_path):
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(PIXELS)))
    (tmp_path / "labels").write_bytes(idx(np.array([1, 0, 1], np.uint8)))
    (tmp_path / "names.txt").write_text("T-shirt/top\nAnkle boot\n")
    files = {"images": "images.gz", "labels": "labels", "names": "names.txt"}
    return {"name": "idx", "templates": ("a {}", "{}!"), **{key: str(tmp_path / f) for key, f in files.items()}}


def test_captions_are_class_names_in_templates(section):
    source = pickle.loads(pickle.dumps(open_source(section)))
    assert source.class_names == ("T-shirt/top", "Ankle boot")
    example = source[2]
    assert example.streams["caption"] == source.captions(2) == ("a Ankle boot", "Ankle boot!")
    assert example.truth == source.truth(2) == {"captions": source.captions(2), "label": 1}
    assert (example.streams["image"] == PIXELS[2][:, :, None]).all()
    assert example.streams["image"].shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("one",)}, "label 1, but only 1 class names"),
        ({"names": "gone.txt"}, "gone.txt: cannot read class names: No such file"),
        ({"templates": ("a photo",)}, "must each hold {}"),
        ({"labels": "gone"}, "gone: cannot be read: No such file"),
    ],
)
def test_wrong_use(section, change, message):
    with pytest.raises(UserError, match=message):
        open_source({**section, **change})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (idx(PIXELS)[:-1], r"header says 3x4x5, it holds 59 bytes"),
        (gzip.compress(idx(PIXELS))[:-9], "cannot be read"),
        (idx(PIXELS[0]), "not an idx file of bytes in 3 dimensions"),
        (b"", "not an idx file"),
        (b"\0\0\x08\x03\0\0", "header says"),
    ],
)
def test_damage_is_refused(tmp_path, data, message):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_idx(str(tmp_path / "x"), 3)


def test_fashion_mnist(data_root):
    folder = data_root / "fashion_mnist"
    files = {"images": "t10k-images-idx3-ubyte.gz", "labels": "t10k-labels-idx1-ubyte.gz", "names": "class_names.txt"}
    source = open_source({"name": "idx", **{key: str(folder / name) for key, name in files.items()}})
    assert len(source) == 10_000
    labels = [source.truth(i)["label"] for i in range(len(source))]
    assert np.bincount(labels).tolist() == [1000] * 10
    assert source.captions(0) == ("a photo of a Ankle boot",)
