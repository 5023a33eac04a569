"""Tables of questions: recognised by their fields, kept by `where`, bad rows counted; real ones read as they lie."""

import collections
import pickle

import pytest

from mmjax.data.decode import decode
from mmjax.data.sources import open_source, recognise
from mmjax.data.sources.asked import question_type
from mmjax.data.sources.qa import Qa
from mmjax.errors import BadItem, UserError

from . import made

ROWS = [
    {"question_id": 7, "image": "a.png", "question": " what is it? ", "answer": "dog", "split": "train"},
    {"question_id": 8, "image": "b.png", "question": "how many?", "answer": 2, "split": "train", "answers": ["x", "y"]},
    {"question_id": 9, "image": "a.png", "question": "is it red?", "answer": "no", "split": "test"},
]


def write(folder, rows=ROWS, name="qa.jsonl"):
    made.images(folder)
    made.jsonl(folder / name, rows)
    return str(folder / name)


def test_items(tmp_path):
    source = open_source(write(tmp_path / "x"))
    assert isinstance(source, Qa)
    example = source[0]
    assert example.id == source.id(0) == "7"
    assert example.streams == {"image": made.png("a"), "question": ("what is it?",), "answer": ("dog",)}
    assert example.truth == source.truth(0) == {
        "question_id": 7, "image_id": "a.png", "image": "a.png", "split": "train", "question": "what is it?",
        "answer": "dog", "answers": ("dog",), "question_type": "object",
    }  # fmt: skip
    assert source[1].streams["answer"] == source.truth(1)["answers"] == ("2",)
    assert [source.truth(i)["question_type"] for i in range(3)] == ["object", "number", "yes/no"]
    assert source.captions(0) == source.caption_faults(0) == ()
    assert pickle.loads(pickle.dumps(source))[2].truth == source[2].truth


def test_where_and_fields(tmp_path):
    path = write(tmp_path / "x")
    assert len(open_source({"path": path, "where": {"split": "train"}})) == 2
    assert len(open_source({"path": path, "where": {"split": ["train", "test"], "image": "a.png"}})) == 2
    assert open_source({"path": path, "answer": "answers"}).truth(1)["answers"] == ("x", "y")
    with pytest.raises(UserError, match="no row has"):
        open_source({"path": path, "where": {"split": "trian"}})
    with pytest.raises(UserError, match="no field 'spilt'; did you mean split"):
        open_source({"path": path, "where": {"spilt": "train"}})
    with pytest.raises(UserError, match="no field 'reply' for answer"):
        open_source({"path": path, "answer": "reply"})
    with pytest.raises(UserError, match=r"data.caption; the options|caption"):
        open_source({"path": path, "caption": "answer"})


def test_pictures_elsewhere(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    made.jsonl(folder / "qa.jsonl", ROWS)
    made.write_tar(folder / "pictures.tar", [(f"{key}.png", made.png(key)) for key in "ab"])
    assert open_source(folder / "qa.jsonl")[1].streams["image"] == made.png("b")
    assert recognise(str(folder), "data") == {"name": "qa", "path": str(folder / "qa.jsonl")}
    other = made.images(tmp_path / "y")
    assert open_source({"path": str(folder), "images": str(other)})[0].streams["image"] == made.png("a")
    with pytest.raises(UserError, match=r"qa.jsonl: images: nowhere: no such folder, and no plain tar"):
        open_source({"path": str(folder), "images": "nowhere"})


def test_what_a_jsonl_is_taken_for(tmp_path):
    questions = write(tmp_path / "x", [{"image": "a.png", "question": "?", "answers": ["a"]}], "train.jsonl")
    captions = write(tmp_path / "y", [{"image": "a.png", "caption": "c", "question": "?", "answer": "a"}], "t.jsonl")
    neither = write(tmp_path / "z", [{"image": "a.png", "caption": "c"}], "t.jsonl")
    assert [recognise(path, "data")["name"] for path in (questions, captions, neither)] == ["qa", "table", "table"]
    assert open_source(neither).captions(0) == ("c",)
    assert open_source({"name": "qa", "path": captions}).truth(0)["answers"] == ("a",)
    made.jsonl(tmp_path / "x" / "captions.jsonl", [{"image": "a.png", "caption": "c"}])
    made.jsonl(tmp_path / "x" / "qa.jsonl", ROWS)
    assert recognise(str(tmp_path / "x"), "data")["name"] == "folder"


def test_a_table_of_other_columns_by_name(tmp_path):
    folder = made.images(tmp_path / "x")
    (folder / "q.csv").write_text("img,question,reply\na.png,what?,dog\nb.png,,cat\n")
    source = open_source({"name": "qa", "path": str(folder / "q.csv"), "answer": "reply"})
    assert source[0].streams["answer"] == ("dog",)
    assert open_source({"name": "qa", "path": str(folder / "q.csv")}).truth(0)["answers"] == ()
    assert source.id(0) == "row 0"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"image": "a.png", "answer": "x"}, "question is null"),
        ({"image": "a.png", "question": " ", "answer": "x"}, "question is empty"),
        ({"image": "a.png", "question": 3, "answer": "x"}, "question is int, not text"),
        ({"image": "a.png", "question": "?", "answer": " "}, "answer is empty"),
        ({"image": "a.png", "question": "?", "answer": []}, "no answer"),
        ({"image": "a.png", "question": "?", "answer": True}, "answer is bool, not text"),
        ({"image": "gone.png", "question": "?", "answer": "x"}, "no such file: gone.png"),
        ({"question": "?", "answer": "x"}, "no image: field 'image' is None"),
    ],
)
def test_bad_rows_stay_rows(row, reason, tmp_path):
    source = open_source(write(tmp_path / "x", [*ROWS, row]))
    assert len(source) == 4
    with pytest.raises(BadItem) as caught:
        source[3]
    assert str(caught.value) == reason
    assert source.id(3) == "row 3"
    assert source[2].id == "9"


def test_a_line_that_is_none_and_a_row_that_nobody_answered(tmp_path):
    path = tmp_path / "x" / "qa.jsonl"
    write(tmp_path / "x", [*ROWS, {"question_id": 10, "image": "a.png", "question": "why?"}])
    path.write_bytes(path.read_bytes() + b'{"quest')
    source = open_source(path)
    assert "answer" not in source[3].streams and source.truth(3)["answers"] == ()
    with pytest.raises(BadItem, match="line 5 is not JSON"):
        source[4]


def test_a_question_twice(tmp_path):
    path = write(tmp_path / "x", [*ROWS, {**ROWS[0], "split": "val"}])
    with pytest.raises(UserError, match="qa.jsonl: question_id 7 is there twice"):
        open_source(path)
    assert len(open_source({"path": path, "where": {"split": "train"}})) == 2


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("how many chairs are there ?", "number"),
        ("what color is the rug ?", "colour"),
        ("What is the colour of the rug?", "colour"),
        ("what is on the colored rug near the colour print ?", "object"),
        ("does the image not contain a gray shape?", "yes/no"),
        ("is no blue shape in the image?", "yes/no"),
        ("what shape is in the image?", "shape"),
        ("what is the blue shape?", "shape"),
        ("what is the island made of ?", "object"),
        ("isolated?", "object"),
        (None, "object"),
    ],
)
def test_types_by_words(question, kind):
    assert question_type(question) == kind


@pytest.mark.parametrize(
    ("name", "train", "test", "types"),
    [
        ("daquar", 6795, 5673, {"object", "number", "colour", "shape"}),
        ("easy_vqa", 4943, 4868, {"yes/no", "colour", "shape"}),
    ],
)
def test_real_data(name, train, test, types, data_root):
    path = str(data_root / name / "qa.jsonl")
    sources = {split: open_source({"path": path, "where": {"split": split}}) for split in ("train", "test")}
    assert {split: len(source) for split, source in sources.items()} == {"train": train, "test": test}
    source = sources["train"]
    counts = collections.Counter(source.truth(index)["question_type"] for index in range(0, train, 5))
    assert set(counts) <= types and len(counts) >= 3
    for index in (0, train // 2, train - 1):
        example = source[index]
        assert decode(example.streams["image"]).shape[2] == 3
        assert example.streams["answer"] == (example.truth["answer"],)


def test_an_answer_of_several_parts_stays_one(data_root):
    source = open_source(str(data_root / "daquar"))
    assert source.truth(12)["answers"] == ("book, scissor, papers, tape_dispenser",)
