"""Foil accuracy by hand, per kind, with ties counted as mistakes."""

import numpy as np
import pytest

from mmjax.errors import UserError
from mmjax.evaluation.foils import Foils
from mmjax.evaluation.runner import evaluate, make_evaluators
from tests.evaluation.fakes import FakeSet, Lookup

X, Y = np.eye(2, dtype=np.float32)
TEXTS = {"right": X, "wrong": Y, "same": X}


def scenes(corrupt=()):
    foils = [
        {"colour": "wrong", "relation": "wrong"},
        {"colour": "same", "relation": None},
        {"colour": "wrong", "relation": None},
        {"colour": None, "relation": None},
    ]
    truths = [{"captions": ("right", "unused"), "foils": f} for f in foils]
    truths[2] = truths[2] | {"captions": ("wrong",), "foils": {"colour": "right"}}
    return FakeSet({"image": np.stack([X] * 4)}, {"image": np.arange(4)}, truths, corrupt, texts=TEXTS)


def test_accuracy_per_kind():
    metrics = Foils().run(Lookup(), np.float32(1), scenes())
    assert metrics == {
        "foils/colour": pytest.approx(1 / 3),
        "foils/colour/count": 3,
        "foils/relation": 1,
        "foils/relation/count": 1,
    }


def test_items_that_could_not_be_read_have_no_foils():
    assert Foils().run(Lookup(), np.float32(1), scenes(corrupt=[0]))["foils/colour"] == 0


def test_a_model_without_a_preference_is_always_wrong():
    assert Foils().run(Lookup(), np.float32(0), scenes())["foils/colour"] == 0
    assert Foils().run(Lookup(), np.float32(np.nan), scenes())["foils/relation"] == 0


def test_data_without_foils_is_refused():
    with pytest.raises(UserError, match="no item of this data has foils"):
        Foils().run(Lookup(), np.float32(1), scenes(corrupt=[0, 1, 2]))


def test_evaluators_by_name_and_the_number_of_skipped_items():
    evaluators = make_evaluators({"foils": {"image": "image"}})
    metrics = evaluate(Lookup(), np.float32(1), scenes(corrupt=[1]), evaluators)
    assert metrics["skipped"] == 1 and metrics["foils/relation"] == 1
    with pytest.raises(UserError, match="did you mean foils"):
        make_evaluators(("foil",))
    with pytest.raises(UserError, match=r"evaluate\.on\.retrieval\.att"):
        make_evaluators({"retrieval": {"att": (1,)}})
