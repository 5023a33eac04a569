"""What a report picks of texts that a model wrote: right and wrong ones, each of its item; it survives the disk."""

import dataclasses

import jax
import numpy as np
import pytest

from mmjax.data.world import World
from mmjax.errors import BadItem, UserError
from mmjax.evaluation.answer import Answers
from mmjax.mesh import MeshShape, make_mesh
from mmjax.report.collect_told import SHOWN, collect_told, judged, shaded
from mmjax.report.told import load, save
from mmjax.writing import Written
from tests.report.tellers import Teller, answerer, captioner


def some_answers(n=40, wrong=5, **options):
    """Every so many answers are wrong."""
    return answerer([f"no {i}" if i % wrong == 0 else f"yes {i}" for i in range(n)], [[f"yes {i}"] for i in range(n)])


def test_right_and_wrong_answers_half_and_half():
    told = collect_told(*some_answers(), (), {})
    assert [text.right for text in told.texts] == [True] * 6 + [False] * 6
    assert told.asked and told.size == 40
    for text in told.texts:
        assert "".join(text.pieces) == f"{'yes' if text.right else 'no'} {text.item}"
        assert text.question == f"what is {text.item}?" and text.references == (f"yes {text.item}",)
        assert text.verdict == ("right" if text.right else "wrong")
        assert text.chances == pytest.approx([0.5] * len(text.pieces))
    assert set(told.pictures) == {text.item for text in told.texts}


def test_photographs_are_neither_right_nor_wrong_and_few_are_written_about():
    told = collect_told(*captioner([f"a {i}" for i in range(900)], [(f"one {i}", "two") for i in range(900)]), (), {})
    items = [text.item for text in told.texts]
    assert items[0] == 0 and items[-1] == 899 and len(items) == SHOWN and max(np.diff(items)) < 100
    assert all("".join(text.pieces) == f"a {text.item}" for text in told.texts)  # chosen items keep their own text
    assert all(text.references == (f"one {text.item}", "two") for text in told.texts)
    assert {(text.right, text.verdict, text.question) for text in told.texts} == {(None, "", "")} and not told.asked


def test_the_evaluator_of_the_run_says_how_long_a_text_is_and_what_is_right():
    model, data = answerer(["two", "three"], [["2"], ["4"]])
    assert [text.right for text in collect_told(model, data, (), {}).texts] == [False, False]
    own = [Answers(rule="vqa", length=3)]
    told = collect_told(model, data, own, {})
    assert [("".join(text.pieces), text.right) for text in told.texts] == [("two", True), ("thr", False)]


def test_soft_scores_are_told():
    given = {"answers": ["red"] * 2 + ["blue"] * 7 + ["green"]}
    verdicts = {text: judged(text, given, True, "vqa") for text in ("blue", "red", "green", "grey")}
    assert verdicts["blue"] == (True, "right") and verdicts["grey"] == (False, "wrong")
    assert verdicts["red"] == (True, "right, 0.60") and verdicts["green"] == (False, "wrong, 0.30")
    assert judged("red", {}, True, "vqa") == (None, "")


def test_captions_of_the_world_are_judged_by_their_scene():
    world = World(split="train")
    index = next(i for i in range(50) if len(world.truth(i)["scene"]["things"]) == 1)
    truth = world.truth(index)
    assert judged(truth["captions"][0], truth, False, "exact") == (True, "true and complete")
    other = next(world.captions(i)[0] for i in range(50) if world.truth(i)["scene"] != truth["scene"])
    assert judged(other, truth, False, "exact") == (False, "false")
    assert judged("a blue idea", truth, False, "exact") == (False, "no sentence of the world")


def test_items_that_cannot_be_read_are_left_out():
    told = collect_told(*captioner(["x"] * 5, [("a",), BadItem("torn"), ("b",), BadItem("torn"), ("c",)]), (), {})
    assert [text.item for text in told.texts] == [0, 2, 4]


def test_a_character_of_several_tokens_is_as_likely_as_all_of_them():
    written = Written("红 a", ("", "", "红", " ", "a", ""), tuple(np.log([0.5, 0.5, 0.8, 1.0, 0.9, 0.1])))
    pieces, chances = shaded(written)
    assert pieces == ("红", " ", "a") and chances == pytest.approx((0.2, 1.0, 0.9))


def test_a_task_that_does_not_tell_where_it_looks_shows_its_texts_all_the_same():
    told = collect_told(*some_answers(), (), {})
    assert not told.maps and "does not tell where it looks" in told.no_maps and len(told.texts) == SHOWN
    assert "no text has a word" in collect_told(*captioner(["", "!"], [("a",), ("b",)]), (), {}).no_maps


def test_the_same_on_eight_devices():
    model, data = some_answers()
    mesh = make_mesh(MeshShape(), jax.devices())
    assert collect_told(model, data, (), {}, mesh).texts == collect_told(model, data, (), {}).texts


def test_saved_and_loaded_is_the_same(tmp_path):
    assert load(tmp_path) is None
    told = collect_told(*some_answers(), (), {"rule": "<b>"})
    maps = {told.texts[0].item: np.random.default_rng(0).random((2, 4, 4)).astype(np.float32)}
    told = dataclasses.replace(told, maps=maps, texts=[dataclasses.replace(told.texts[0], words=("红", "b"))])
    save(tmp_path, told)
    again = load(tmp_path)
    for name in ("size", "texts", "no_maps", "notes"):
        assert getattr(again, name) == getattr(told, name)
    for name in ("pictures", "maps"):
        a, b = getattr(told, name), getattr(again, name)
        assert a.keys() == b.keys() and all((a[item] == b[item]).all() and a[item].dtype == b[item].dtype for item in a)


def test_a_model_without_a_text_to_write_says_so():
    @dataclasses.dataclass(frozen=True)
    class Nameless:
        reads: tuple = ("image", "caption")

    model, data = captioner(["x"], [("a",)])
    model.task = Nameless()
    with pytest.raises(UserError, match="reads no text"):
        collect_told(model, data, (), {})
    model.task = Teller()
    assert len(collect_told(model, data, (), {}).texts) == 1
