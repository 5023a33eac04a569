"""`mmjax caption` and `mmjax ask`: the model's own texts, streamed or whole, and what cannot be asked."""

import json

import numpy as np
import pytest
from PIL import Image

import mmjax
from mmjax import bundle
from mmjax.cli import main
from mmjax.decoding import Decoding
from mmjax.errors import UserError
from tests.inference.writers import make_writer


@pytest.fixture(scope="module")
def captioner():
    return make_writer("caption")


@pytest.fixture(scope="module")
def answerer():
    return make_writer("answer")


@pytest.fixture(scope="module")
def saved(captioner, answerer, tmp_path_factory):
    """{name: bundle folder}."""
    folder, models = tmp_path_factory.mktemp("writers"), {"caption": captioner, "answer": answerer}
    return {name: str(bundle.save(folder / name, model)) for name, model in models.items()}


def test_captions_do_not_depend_on_the_batch(captioner, photos):
    files = sorted(str(file) for file in photos.glob("*.*"))
    together = captioner.caption(files)
    assert together == [captioner.caption([file])[0] for file in files] == captioner.caption(files, batch_size=2)
    assert len(set(together)) > 1
    drawn = Decoding(8, temperature=2.0)
    assert captioner.caption(files, drawn, seed=1) == captioner.caption(files, drawn, seed=1)
    assert captioner.caption(files, drawn, seed=1) != captioner.caption(files, drawn, seed=2)


def test_a_saved_model_writes_the_same(captioner, saved, photos, capsys):
    files = [str(photos / "a.jpg"), str(photos / "b.png")]
    assert main(["caption", "--model", saved["caption"], *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = captioner.caption(files)
    assert lines == [f"{file}: {' '.join(text.split())}" for file, text in zip(files, expected, strict=True)]


def test_json_holds_the_probability_of_every_token(captioner, saved, photos, capsys):
    file = str(photos / "a.jpg")
    assert main(["caption", "--model", saved["caption"], "--json", "--beams", "2", file]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["text"] == captioner.caption([file], Decoding(11, beams=2))[0]
    assert told["logprob"] == pytest.approx(sum(token["logprob"] for token in told["tokens"]))
    assert "".join(token["text"] for token in told["tokens"]).rstrip() == told["text"]


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_captioned(saved, photos, capsys):
    (photos / "c.jpg").write_bytes(b"junk")
    assert main(["caption", "--model", saved["caption"], str(photos), str(photos / "gone.jpg")]) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 4 and len(printed.err.splitlines()) == 2
    assert all(line.startswith("mmjax caption: ") for line in printed.err.splitlines())


def test_an_answer_comes_in_pieces_and_is_the_same(answerer, saved, photos, capsys):
    file, question = str(photos / "a.jpg"), "what colour is it?"
    assert main(["ask", "--model", saved["answer"], file, question]) == 0
    streamed = capsys.readouterr().out
    assert main(["ask", "--model", saved["answer"], "--json", file, question]) == 0
    told = json.loads(capsys.readouterr().out)
    (expected,) = answerer.answer([file], [question])
    assert streamed.rstrip() == told["text"] == expected and told["question"] == question
    assert answerer.answer([file, file], [question, "how many?"])[0] == expected


def test_among_a_list_one_of_it_is_given(answerer, saved, photos, capsys):
    file = str(photos / "a.jpg")
    assert main(["ask", "--model", saved["answer"], "--among", "yes, no", file, "is it?"]) == 0
    answer = capsys.readouterr().out.strip()
    assert answer in ("yes", "no") and answerer.answer([file], ["is it?"], among=("yes", "no")) == [answer]


def test_the_attention_of_a_word_is_a_picture(captioner, saved, photos, tmp_path, capsys):
    out, file = tmp_path / "word.png", str(photos / "b.png")
    word = next(c for c in captioner.caption([file])[0] if c.isascii() and not c.isspace())
    assert main(["caption", "--model", saved["caption"], "--word", word, "--out", str(out), file]) == 0
    with Image.open(out) as picture:
        left, right = np.split(np.asarray(picture), 2, axis=1)
    assert left.shape == right.shape and left.shape[0] >= 448
    assert main(["caption", "--model", saved["caption"], "--word", "zebra", "--out", str(out), file]) == 2
    assert "no word 'zebra' in the caption" in capsys.readouterr().err


def test_a_seed_means_the_same_everywhere(captioner, answerer, saved, photos, capsys):
    files = [str(photos / "a.jpg")] * 3
    drawn = ["--temperature", "2", "--seed", "5"]
    texts = captioner.caption(files, Decoding(11, temperature=2.0), batch_size=1, seed=5)
    assert len(set(texts)) > 1, "batches draw anew"
    assert main(["caption", "--model", saved["caption"], *drawn, files[0]]) == 0
    assert capsys.readouterr().out.split() == f"{files[0]}: {texts[0]}".split()
    told = []
    for more in ([], ["--json"]):
        assert main(["ask", "--model", saved["answer"], *drawn, *more, files[0], "why?"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0].rstrip() == json.loads(told[1])["text"]


def test_a_model_that_chooses_answers_from_its_list(photos, tmp_path, capsys):
    (tmp_path / "answers.txt").write_text("yes\nno\n2\n")
    model = make_writer("choose", answers_of=str(tmp_path / "answers.txt"))
    folder = str(bundle.save(tmp_path / "choose", model))
    (tmp_path / "answers.txt").unlink()  # the bundle holds the list
    files, questions = [str(photos / name) for name in ("a.jpg", "b.png", "d.jpg")], ["is it?", "how many?", "what?"]
    answers = mmjax.load(folder).answer(files, questions)
    assert answers == model.answer(files, questions, batch_size=2) and set(answers) <= {"yes", "no", "2"}
    assert main(["ask", "--model", folder, files[0], questions[0]]) == 0
    assert capsys.readouterr().out.strip() == answers[0]
    assert main(["ask", "--model", folder, "--among", "a,b", files[0], questions[0]]) == 2
    assert "chooses among answers of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("which", "arguments", "says"),
    [
        ("answer", ["caption", "a.jpg"], "this model answers questions, and writes nothing unasked: use answer"),
        ("caption", ["ask", "a.jpg", "why?"], "this model answers no questions, it writes captions"),
        ("answer", ["ask", "a.jpg", " "], "the question is empty"),
        ("answer", ["ask", "gone.jpg", "why?"], "gone.jpg"),
        ("answer", ["ask", "--among", "a,a", "a.jpg", "why?"], "the answer 'a' stands there twice"),
        ("answer", ["ask", "--among", ",", "a.jpg", "why?"], "there is no answer in the list"),
        (
            "answer",
            ["ask", "--among", "far too long for it", "a.jpg", "?"],
            "has more tokens than this model has",
        ),
        ("answer", ["ask", "a.jpg", "is this question longer than it can read?"], "the question 'is this question lon"),
        ("caption", ["caption", "--length", "99", "a.jpg"], "--length 99: the model learnt texts of up to 11 tokens"),
        ("caption", ["caption", "--top-k", "5", "a.jpg"], "give --temperature above 0"),
        ("caption", ["caption", "--beams", "0", "a.jpg"], "decoding.beams=0 is out of range"),
        ("caption", ["caption", "--word", "dog", "a.jpg"], "--word and --out go together"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(which, arguments, says, saved, photos, capsys):
    verb, *rest = [str(photos / part) if part.endswith(".jpg") else part for part in arguments]
    assert main([verb, "--model", saved[which], *rest]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_python_refuses_the_same(captioner, answerer, model, photos):
    file = str(photos / "a.jpg")
    with pytest.raises(UserError, match="image is a list of items, not one"):
        captioner.caption(file)
    with pytest.raises(UserError, match="this model writes no texts"):
        model.caption([file])
    with pytest.raises(UserError, match="questions are a list, one for each picture"):
        answerer.answer([file], ["a?", "b?"])
    for among in ((), "yes"):
        with pytest.raises(UserError, match="among is a list of answers with at least one"):
            answerer.answer([file], ["a?"], among=among)
    with pytest.raises(UserError, match="the answer 'a' stands there twice"):
        answerer.answer([file], ["a?"], among=("a", "b", "a"))
    with pytest.raises(UserError, match="images are a list, one for each question"):
        answerer.answer(file, ["a?"])
    assert answerer.answer((name for name in [file]), ["a?"]) == answerer.answer([file], ["a?"])
