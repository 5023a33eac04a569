"""VQA v2 and GQA as published, written small."""

import json

import pytest

from mmjax.data.sources import open_source
from mmjax.errors import BadItem, UserError

from . import made

QUESTIONS = {
    "info": {}, "data_type": "mscoco", "data_subtype": "val2014", "task_type": "Open-Ended",
    "questions": [
        {"image_id": 42, "question": "What color is it?", "question_id": 42000},
        {"image_id": 42, "question": "Is it?", "question_id": 42001},
        {"image_id": 73, "question": "How many?", "question_id": 73000},
    ],
}  # fmt: skip


def note(number, answers, kind="other"):
    given = [{"answer": a, "answer_confidence": "yes", "answer_id": i + 1} for i, a in enumerate(answers)]
    return {
        "question_id": number, "image_id": number // 1000, "question_type": "what color is the", "answer_type": kind,
        "multiple_choice_answer": answers[0], "answers": given,
    }  # fmt: skip


RED = ["red"] * 7 + ["dark red", "", "maroon"]
NOTES = {"annotations": [note(73000, ["2"] * 10, "number"), note(42000, RED), note(42001, ["yes"] * 10, "yes/no")]}


def write(tmp, questions=QUESTIONS, notes=NOTES, pattern="COCO_val2014_{:012d}.jpg"):
    folder = tmp / "val2014"
    folder.mkdir()
    (folder / pattern.format(42)).write_bytes(made.png("a"))
    section = {"name": "vqa", "questions": str(tmp / "q.json"), "images": str(folder)}
    (tmp / "q.json").write_text(json.dumps(questions))
    if notes is not None:
        (tmp / "a.json").write_text(json.dumps(notes))
        section["annotations"] = str(tmp / "a.json")
    return section


def test_questions_with_ten_answers(tmp_path):
    source = open_source(write(tmp_path))
    example = source[0]
    assert example.id == "42000"
    assert example.streams["question"] == ("What color is it?",)
    assert example.streams["image"] == made.png("a")
    assert example.truth == {
        "question": "What color is it?", "question_id": 42000, "image_id": 42, "question_type": "what color is the",
        "answer_type": "other", "multiple_choice_answer": "red", "answers": tuple(RED),
    }  # fmt: skip
    assert example.streams["answer"] == tuple(answer for answer in RED if answer)
    assert [source.truth(i)["answers"][0] for i in range(3)] == ["red", "yes", "2"]
    with pytest.raises(BadItem, match="no such file: COCO_val2014_000000000073.jpg"):
        source[2]


def test_where_and_questions_alone(tmp_path):
    section = write(tmp_path)
    assert len(open_source({**section, "where": {"answer_type": "number"}})) == 1
    del section["annotations"]
    source = open_source(section)
    assert "answer" not in source[0].streams and source.truth(0)["answers"] == ()


def test_other_names(tmp_path):
    section = write(tmp_path, pattern="{:06d}.png")
    assert open_source({**section, "pattern": "{image_id:06d}.png"})[1].id == "42001"
    for pattern in ("{imageid}.jpg", "{image_id:12x}{0}.jpg", "{question:012d}.jpg"):
        with pytest.raises(UserError, match="names no picture; write it as COCO_val2014_"):
            open_source({**section, "pattern": pattern})


def test_pictures_in_a_tar(tmp_path):
    section = write(tmp_path)
    tar = made.write_tar(tmp_path / "v.tar", [("val2014/COCO_val2014_000000000073.jpg", made.png("b"))])
    assert open_source({**section, "images": tar})[2].streams["image"] == made.png("b")


def test_a_question_without_annotation_is_bad_and_one_without_words(tmp_path):
    questions = {"questions": [*QUESTIONS["questions"], {"image_id": 42, "question": "", "question_id": 5}]}
    notes = {"annotations": [*NOTES["annotations"][1:], note(5, RED)]}
    source = open_source(write(tmp_path, questions, notes))
    with pytest.raises(BadItem, match="no answer: no annotation for question 73000"):
        source[2]
    with pytest.raises(BadItem, match="question is empty"):
        source[3]
    assert len(source) == 4 and source.id(3) == "5"


@pytest.mark.parametrize(
    ("questions", "notes", "message"),
    [
        (
            QUESTIONS,
            {"annotations": [note(9, RED)]},
            r"a.json: 1 annotations are for no question_id of this file, such",
        ),
        (QUESTIONS, {"questions": []}, r"a.json: no list 'annotations' with anything in it; it has questions"),
        (QUESTIONS, {"annotations": [{"question_id": 1}]}, r"a.json: annotations\[0\] has no 'answers'"),
        ({"images": []}, NOTES, r"q.json: no list 'questions' with anything in it; it has images"),
        ({"questions": QUESTIONS["questions"] * 2}, NOTES, r"q.json: question_id 42000 is there twice"),
        ([1], None, r"q.json: no list 'questions' with anything in it; is it"),
    ],
)
def test_files_that_do_not_fit(questions, notes, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        open_source(write(tmp_path, questions, notes))
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    section = write(tmp_path)
    with pytest.raises(UserError, match=r"gone.json: cannot be read: No such file"):
        open_source({**section, "annotations": str(tmp_path / "gone.json")})
    (tmp_path / "q.json").write_text("{")
    with pytest.raises(UserError, match=r"q.json: is not JSON"):
        open_source(section)
    with pytest.raises(UserError, match="answers"):
        open_source({**section, "answers": "x"})


GQA = {
    "02930152": {
        "imageId": "2354786", "question": "Is the sky dark?", "answer": "no", "isBalanced": True,
        "types": {"structural": "verify", "semantic": "attr"}, "fullAnswer": "No, the sky is blue.",
    },
    "07333408": {
        "imageId": "n1", "question": "What is it?", "answer": "dog", "isBalanced": False,
        "types": {"structural": "query", "semantic": "obj"},
    },
    "1": {"imageId": "2354786", "question": "Unanswered?"},
}  # fmt: skip


def gqa(tmp, content=GQA):
    (tmp / "2354786.jpg").write_bytes(made.png("a"))
    (tmp / "g.json").write_text(json.dumps(content))
    return {"name": "gqa", "questions": str(tmp / "g.json"), "images": str(tmp)}


def test_gqa(tmp_path):
    source = open_source(gqa(tmp_path))
    example = source[0]
    assert example.id == "02930152"
    assert example.streams == {"image": made.png("a"), "question": ("Is the sky dark?",), "answer": ("no",)}
    assert example.truth["question_type"] == "verify" and example.truth["fullAnswer"] == "No, the sky is blue."
    assert (example.truth["question_id"], example.truth["image_id"]) == ("02930152", "2354786")
    with pytest.raises(BadItem, match="no such file: n1.jpg"):
        source[1]
    assert source.truth(2)["answers"] == () and "question_type" not in source.truth(2)
    assert len(open_source({**gqa(tmp_path), "where": {"types.semantic": "obj"}})) == 1


@pytest.mark.parametrize("content", [[], {}, QUESTIONS, {"1": {"question": "?"}}])
def test_what_is_not_gqa(content, tmp_path):
    with pytest.raises(UserError, match="g.json: GQA's questions are an object"):
        open_source(gqa(tmp_path, content))
