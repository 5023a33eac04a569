"""A choice among answers: every answer is right to its degree, by the picture and the whole question."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.batch import Stream
from mmjax.config import build
from mmjax.data.streams import AnswerStream
from mmjax.errors import BadItem, UserError
from mmjax.tasks import TASKS
from tests.tasks.towers import IMAGE, TEXT, make_batch, make_params

ANSWERS = 5


def make(**options):
    section = {"towers": {"image": IMAGE, "text": TEXT}, "streams": {"image": "image", "question": "text"}}
    task = build({"name": "choose", "answers": ANSWERS, **section, **options}, TASKS, "config.task")
    rng = np.random.default_rng(1)
    scores = jnp.asarray(np.float32(rng.integers(0, 4, (4, ANSWERS)) / 3))
    batch = make_batch(answer=Stream(scores, jnp.asarray([True, True, False, True])))
    return task, batch, make_params(task, batch)


def test_the_loss_is_that_of_the_definition():
    task, batch, params = make()
    logits = np.float64(task.encode(params, batch, None)["logits"])
    target = np.float64(batch["answer"].data)
    each = -(target * np.log(1 / (1 + np.exp(-logits))) + (1 - target) * np.log(1 - 1 / (1 + np.exp(-logits))))
    rows = np.array([0, 1, 3])  # row 2 has no answer
    value = task.loss(params, {"logits": jnp.float32(logits)}, batch, None)
    assert float(value.total) == pytest.approx(each[rows].sum(), rel=1e-5) and float(value.weight) == 3
    best = target[rows, logits[rows].argmax(axis=1)].mean()
    assert float(value.metrics["accuracy"]) == pytest.approx(best, rel=1e-5)
    assert abs(each.sum() - each[rows].sum()) > 0.1  # the mutant counts all rows


def test_the_answer_hangs_on_the_picture_and_the_last_word_of_the_question():
    task, batch, params = make()
    encode = jax.jit(task.encode)
    logits = encode(params, batch, None)["logits"]
    other = make_batch(seed=1)
    question = batch["question"]
    last = question.mask.sum(axis=1) - 1
    turned = dataclasses.replace(question, data=question.data.at[jnp.arange(4), last - 1].add(1))
    padded = dataclasses.replace(question, data=jnp.where(question.mask, question.data, 7))
    for name, stream, same in (
        ("image", other["image"], False),
        ("question", turned, False),
        ("question", padded, True),
    ):
        changed = dataclasses.replace(batch, streams={**batch.streams, name: stream})
        assert bool(jnp.allclose(encode(params, changed, None)["logits"], logits, atol=1e-6)) == same, name
    blind, _, _ = make(blind=True)
    changed = dataclasses.replace(batch, streams={**batch.streams, "image": other["image"]})
    assert jnp.array_equal(blind.encode(params, changed, None)["logits"], blind.encode(params, batch, None)["logits"])


def test_the_chosen_answer_is_the_likeliest():
    task, batch, params = make()
    logits = task.encode(params, batch, None)["logits"]
    answer, logprob = task.choose(params, batch)
    np.testing.assert_array_equal(answer, logits.argmax(axis=1))
    np.testing.assert_allclose(logprob, jax.nn.log_sigmoid(logits.max(axis=1)), rtol=1e-6)


def test_people_s_answers_become_scores():
    stream = AnswerStream(("yes", "no", "2", "red"))
    score = lambda *texts: stream(texts, None)["data"].tolist()  # noqa: E731
    assert score("no") == [0, 1, 0, 0] and score("no", "yes") == [1, 1, 0, 0] and score("blue") == [0, 0, 0, 0]
    ten = ("yes",) * 6 + ("no",) * 2 + ("2", "blue")
    assert score(*ten) == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert stream("red", None)["data"].tolist() == [0, 0, 0, 1] and stream.blank()["data"].shape == (4,)
    with pytest.raises(BadItem, match="no answer"):
        stream((), None)


def test_a_list_of_answers_is_checked(tmp_path):
    (tmp_path / "answers.txt").write_text("yes\n\n 不是 \n", "utf-8")
    assert AnswerStream("answers.txt", root=tmp_path).answers == ("yes", "不是")
    with pytest.raises(ValueError, match="'yes' stands there twice"):
        AnswerStream(("yes", "no", "yes"))
    with pytest.raises(ValueError, match="the list is empty"):
        AnswerStream(())
    with pytest.raises(UserError, match="gone.txt: No such file"):
        AnswerStream("gone.txt", root=tmp_path)
