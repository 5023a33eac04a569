"""Pictures by name, in folders and in tars."""

import pickle

import pytest

from mmjax.data.sources.images import Images, beside
from mmjax.errors import BadItem, UserError

from . import made

DOG, CAT, OWL = made.png("a"), made.png("b"), made.png("c")


def folder(tmp):
    (tmp / "pictures" / "sub").mkdir(parents=True)
    (tmp / "pictures" / "dog.png").write_bytes(DOG)
    (tmp / "pictures" / "sub" / "cat.v2.PNG").write_bytes(CAT)
    return str(tmp / "pictures")


def tar(tmp):
    return made.write_tar(tmp / "pictures.tar", [("dog.png", DOG), ("sub/cat.v2.PNG", CAT), ("sub/owl.png", OWL)])


@pytest.mark.parametrize("make", [folder, tar])
def test_pictures_by_name(make, tmp_path):
    images = Images(make(tmp_path), "x: images")
    for found in (images, pickle.loads(pickle.dumps(images))):
        assert found.read("dog.png") == DOG
        assert found.read("sub/cat.v2.PNG") == CAT
        assert found.read("gone.png", "dog.png") == DOG
        with pytest.raises(BadItem, match=r"^no such file: gone.png$"):
            found.read("gone.png", "sub/gone.png")


def test_the_last_part_of_a_path_will_do_where_one_member_alone_has_it(tmp_path):
    owls = [("x/owl.png", OWL), ("y/owl.png", DOG), ("y/dog.png", DOG), ("cat.png", CAT), ("z/cat.png", DOG)]
    images = Images(made.write_tar(tmp_path / "a.tar", owls), "x: images")
    assert images.read("dog.png") == DOG
    assert images.read("x/owl.png") == OWL
    assert images.read("cat.png") == CAT
    with pytest.raises(BadItem, match="no such file: owl.png"):
        images.read("owl.png")


def test_several_tars(tmp_path):
    made.write_tar(tmp_path / "p-0.tar", [("dog.png", DOG)])
    made.write_tar(tmp_path / "p-1.tar", [("cat.png", CAT)])
    images = Images(str(tmp_path / "p-{0..1}.tar"), "x: images")
    assert (images.read("cat.png"), images.read("dog.png")) == (CAT, DOG)


def test_a_tar_cut_short(tmp_path):
    path = tmp_path / "a.tar"
    made.write_tar(path, [("dog.png", DOG)])
    images = Images(str(path), "x: images")
    images.read("dog.png")
    path.write_bytes(path.read_bytes()[:520])
    with pytest.raises(BadItem, match=r"the tar is truncated within dog.png: 8 of \d+ bytes"):
        images.read("dog.png")


@pytest.mark.parametrize("name", ["nowhere", "a.tar.gz", "nowhere.zip"])
def test_no_place_for_pictures(name, tmp_path):
    with pytest.raises(UserError, match=r"^x: images: .*: no such folder, and no plain tar; say where"):
        Images(str(tmp_path / name), "x: images")
    with pytest.raises(UserError, match=r"nowhere.tar: no such file"):
        Images(str(tmp_path / "nowhere.tar"), "x: images")


def test_where_pictures_lie_if_nobody_says(tmp_path):
    table = tmp_path / "qa.jsonl"
    assert beside(table, ["dog.png"]) == str(tmp_path)
    made.write_tar(tmp_path / "x.tar", [("dog.png", DOG)])
    assert beside(table, ["dog.png"]) == str(tmp_path / "*.tar")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "dog.png").write_bytes(DOG)
    assert beside(table, ["gone.png", "dog.png"]) == str(tmp_path / "images")
    (tmp_path / "dog.png").write_bytes(DOG)
    assert beside(table, ["dog.png"]) == str(tmp_path)
