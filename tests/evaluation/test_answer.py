"""Answers are scored item by item and by the type of their question; every item is accounted for."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from mmjax.errors import BadItem, UserError
from mmjax.evaluation.answer import Answers, commonest
from tests.evaluation.fakes import FakeSource
from tests.evaluation.writers import Scripted, WrittenSet, script


def asked(*rows):
    return [{"answers": answers, "question_type": kind} for kind, *answers in rows]


TRUTHS = asked(("colour", "red"), ("colour", "blue"), ("count", "2"), ("count", "3"), ("count", "2"))
WRITTEN = ("red", "green", "2", "2", "two")


def run(truths=TRUTHS, written=WRITTEN, corrupt=(), lose=(), **options):
    data = WrittenSet(truths, corrupt, lose)
    return Answers(**options).run(Scripted(), script(written), data)


def test_accuracy_over_all_and_by_type():
    assert run() == {
        "answer/accuracy": pytest.approx(2 / 5),
        "answer/count": 5,
        "answer/type/colour": 0.5,
        "answer/type/colour/count": 2,
        "answer/type/count": pytest.approx(1 / 3),
        "answer/type/count/count": 3,
    }


def test_the_rule_of_vqa_knows_that_two_is_2():
    assert run(rule="vqa")["answer/accuracy"] == pytest.approx(3 / 5)


def test_corrupt_items_are_left_out_and_lost_ones_are_an_error():
    metrics = run(corrupt=(1, 3))
    assert metrics["answer/count"] == 3 and metrics["answer/type/colour"] == 1.0
    with pytest.raises(RuntimeError, match="4 of 5 items came back, 0 are listed"):
        run(lose=(2,))
    with pytest.raises(UserError, match="no item could be read"):
        run(corrupt=(0, 1, 2, 3, 4))


def test_the_baseline_is_the_commonest_training_answer_to_each_type(monkeypatch):
    train = asked(("colour", "blue"), ("colour", "red"), ("colour", "blue"), ("count", "2"), (None, "blue"))
    train.append(BadItem("broken"))
    monkeypatch.setattr("mmjax.evaluation.answer.open_source", lambda section, where: FakeSource(train))
    assert commonest(FakeSource(train)) == {"colour": "blue", "count": "2", "": "blue"}
    # blue for both colours, 2 for the three counts; another type gets the commonest of all.
    assert run(baseline="train")["answer/baseline"] == pytest.approx(3 / 5)
    assert run(asked(("shape", "blue")), ("x",), baseline="train")["answer/baseline"] == 1.0


@dataclasses.dataclass(frozen=True)
class Chooser:
    """Chooses the answer that its parameters say."""

    reads: tuple[str, ...] = ("image",)

    def choose(self, params, batch):
        return params[batch.index], -jnp.ones(len(batch.index))


def test_a_choice_among_a_list_is_an_answer():
    data = WrittenSet(TRUTHS)
    data.streams["answer"] = SimpleNamespace(kind="answers", answers=("red", "blue", "2", "3"))
    metrics = Answers().run(Chooser(), jnp.asarray([0, 0, 2, 3, 1]), data)
    assert metrics["answer/accuracy"] == pytest.approx(3 / 5) and metrics["answer/type/colour"] == 0.5
    assert Answers().notes(data).keys() == {"answers compared by"}


def test_wups_knows_what_is_near():
    pytest.importorskip("wn", reason="the extra [wups] is not installed")
    truths = asked(("object", "chair"), ("object", "table"))
    metrics = run(truths, ("chair", "desk"), wups=True)
    assert metrics["answer/accuracy"] == 0.5 < metrics["answer/WUPS@0.9"] <= metrics["answer/WUPS@0.0"] < 1


def test_what_cannot_be_scored_says_so():
    with pytest.raises(UserError, match="no item of this data has answers"):
        run([{"captions": ("a",)}], ("a",))
    with pytest.raises(UserError, match="object writes no texts"):
        Answers().run(object(), None, WrittenSet(TRUTHS))
    with pytest.raises(UserError, match="no stream 'reply' to be written"):
        run(text="reply")
    with pytest.raises(UserError, match="gone.jsonl: cannot be read"):
        Answers(baseline="gone.jsonl")
    with pytest.raises(UserError, match="decoding.length=0 is out of range"):
        Answers(length=0)
    notes = Answers(rule="vqa", beams=3).notes(WrittenSet(TRUTHS))
    assert notes["answers written with"] == "length 259, beams 3" and "vqa, normaliser" in notes["answers compared by"]
