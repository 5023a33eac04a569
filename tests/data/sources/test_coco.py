"""COCO captions and Karpathy's splits as published, written small."""

import json
import pickle

import pytest

from mmjax.data.sources import open_source
from mmjax.errors import BadItem, UserError

from . import made

COCO = {
    "images": [
        {"id": 9, "file_name": "000000000009.jpg", "height": 4, "width": 4},
        {"id": 25, "file_name": "000000000025.jpg", "height": 4, "width": 4},
        {"id": 30, "file_name": "gone.jpg", "height": 4, "width": 4},
        {"id": 34, "file_name": "none.jpg", "height": 4, "width": 4},
    ],
    "annotations": [
        {"image_id": 25, "id": 1, "caption": "A giraffe."},
        {"image_id": 9, "id": 2, "caption": "A meal.\n"},
        {"image_id": 25, "id": 3, "caption": "Two giraffes."},
        {"image_id": 30, "id": 4, "caption": "Gone."},
        {"image_id": 9, "id": 5, "caption": ""},
    ],
}


def coco(tmp, content=COCO):
    folder = tmp / "val2017"
    folder.mkdir(exist_ok=True)
    for key, name in (("a", "000000000009.jpg"), ("b", "000000000025.jpg")):
        (folder / name).write_bytes(made.png(key))
    (tmp / "captions_val2017.json").write_text(json.dumps(content))
    return {"name": "coco", "annotations": str(tmp / "captions_val2017.json"), "images": str(folder)}


def test_coco(tmp_path):
    source = open_source(coco(tmp_path))
    assert len(source) == 4
    example = pickle.loads(pickle.dumps(source))[1]
    assert example.id == source.id(1) == "000000000025.jpg"
    assert example.streams == {"image": made.png("b"), "caption": ("A giraffe.", "Two giraffes.")}
    assert example.truth["image_id"] == 25 and example.truth["captions"] == source.captions(1)
    assert source.captions(0) == ("A meal.",) and source.caption_faults(0) == ("caption is empty",)
    for index, reason in ((2, "no such file: gone.jpg"), (3, "no caption")):
        with pytest.raises(BadItem, match=reason):
            source[index]
    assert len(open_source({**coco(tmp_path), "where": {"image_id": [9, 25]}})) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**COCO, "images": COCO["images"][1:]}, r"2 annotations|1 annotations are for no image_id of this file.*9"),
        ({"images": COCO["images"], "annotations": []}, "no list 'annotations' with anything in it"),
        ({"images": [{"id": 1}], "annotations": COCO["annotations"]}, r"images\[0\] has no 'file_name'"),
    ],
)
def test_files_that_do_not_fit(content, message, tmp_path):
    with pytest.raises(UserError, match=message):
        open_source(coco(tmp_path, content))


def picture(name, split, *sentences, **more):
    said = [{"raw": text, "tokens": text.split(), "imgid": 0, "sentid": i} for i, text in enumerate(sentences)]
    return {"filename": name, "split": split, "sentences": said, "imgid": 0, **more}


IMAGES = [
    picture("a.jpg", "train", "a dog", "the dog", filepath="train2014", cocoid=1),
    picture("b.jpg", "restval", "a cat", filepath="val2014", cocoid=2),
    picture("c.jpg", "test", "an owl", filepath="val2014", cocoid=3),
]


def karpathy(tmp, images=IMAGES):
    (tmp / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    members = [("train2014/a.jpg", made.png("a")), ("val2014/b.jpg", made.png("b")), ("c.jpg", made.png("c"))]
    tar = made.write_tar(tmp / "coco.tar", members)
    return {"name": "karpathy", "path": str(tmp / "dataset_coco.json"), "images": tar}


def test_karpathy(tmp_path):
    source = open_source(karpathy(tmp_path))
    assert [source.captions(i) for i in range(3)] == [("a dog", "the dog"), ("a cat",), ("an owl",)]
    assert [source[i].streams["image"] for i in range(3)] == [made.png(key) for key in "abc"]
    assert source.id(0) == "train2014/a.jpg" and source.truth(0)["split"] == "train"
    train = open_source({**karpathy(tmp_path), "where": {"split": ["train", "restval"]}})
    assert [train.captions(i)[0] for i in range(len(train))] == ["a dog", "a cat"]
    with pytest.raises(UserError, match="no row has"):
        open_source({**karpathy(tmp_path), "where": {"split": "val"}})


def test_karpathy_of_flickr8k(tmp_path):
    section = karpathy(tmp_path, [picture("a.png", "train", "a dog"), {"filename": "b.png", "sentences": []}])
    source = open_source({**section, "images": str(made.images(tmp_path / "x"))})
    assert source[0].streams["image"] == made.png("a")
    with pytest.raises(BadItem, match="no caption"):
        source[1]
    with pytest.raises(UserError, match=r"images\[0\] has no 'sentences'"):
        open_source(karpathy(tmp_path, [{"filename": "a.png"}]))
