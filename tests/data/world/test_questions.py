"""Questions of the world: answered alike by a reader of their words alone, and in the contract of a source."""

import collections
import hashlib
import itertools
import json
import pickle

import pytest

from mmjax.data.sources import open_source, recognise
from mmjax.data.world import WORLDS, Questions
from mmjax.data.world.asking import TYPES, possible_answers
from mmjax.data.world.captions_zh import COLOUR_WORDS, SHAPE_WORDS
from mmjax.data.world.splits import ALLOWED, HELD_OUT
from mmjax.errors import UserError
from tests.data.world.bulk import rate, truths
from tests.data.world.question_reader import ANSWERS_ZH, SHAPES, answer


def english(truth):
    return [ANSWERS_ZH.get(word, word) for word in truth["answers"]]


def many(split):
    """Some thousands of questions in either language."""
    return truths(0, 4000 if split == "train" else 2048, split=split, language="both")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_answer_is_the_one_that_the_scene_gives(split):
    for truth in many(split):
        assert english(truth) == [answer(truth["question"], truth["scene"])], truth
        assert truth["question"].endswith({"en": "?", "zh": "？"}[truth["language"]])


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("mutant", [{"turn": True}, {"blind_to": "colour"}, {"blind_to": "size"}, {"off": 1}])
def test_the_reader_tells_right_from_wrong(mutant, language):
    def right(truth):
        try:
            return [answer(truth["question"], truth["scene"], **mutant)] == english(truth)
        except ValueError:
            return False

    assert not all(right(truth) for truth in many("train") if truth["language"] == language)


def test_both_languages_ask_the_same_of_the_same_scene():
    en, zh, both = (Questions(language=language) for language in ("en", "zh", "both"))
    languages = collections.Counter()
    for index in range(60):
        a, b, c = en.truth(index), zh.truth(index), both.truth(index)
        assert a["scene"] == b["scene"] == c["scene"]
        assert list(a["answers"]) == english(b)
        assert c == (a if c["language"] == "en" else b)
        languages[c["language"]] += 1
    assert min(languages.values()) > 15


def test_an_item_depends_on_split_seed_and_index_alone():
    source = Questions("val", size=32)
    copy = pickle.loads(pickle.dumps(source))
    for index in (17, 3, 17, 2047):
        example = source[index]
        assert example.truth == copy[index].truth == source.truth(index)
        assert (example.streams["image"] == copy[index].streams["image"]).all()
        assert example.streams["image"].shape == (32, 32, 3)
        assert example.streams["question"] == (example.truth["question"],)
        assert example.streams["answer"] == example.truth["answers"]
    assert Questions("val", seed=1).truth(3) != source.truth(3)
    assert source.captions(0) == ()
    assert (len(source), len(Questions())) == (2048, 10_000_000)
    with pytest.raises(IndexError, match="2048 items"):
        source[2048]


def test_the_questions_are_fixed():
    """Changing them would make every published number incomparable."""
    for split, digest in GOLDEN.items():
        said = [[truth["question"], truth["answers"]] for truth in many(split)[:200]]
        assert hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest() == digest, split


def test_types_are_equally_frequent_and_can_be_chosen():
    counts = collections.Counter(truth["question_type"] for truth in many("train"))
    assert set(counts) == set(TYPES) and min(counts.values()) > 440
    some = Questions(types=["count", "size"])
    assert {some.truth(index)["question_type"] for index in range(30)} == {"count", "size"}
    assert some.answers == ("0", "1", "2", "3", "4", "small", "medium", "large")


def test_the_list_of_answers_is_whole():
    both, english_alone = Questions(language="both").answers, Questions().answers
    given = {truth["answers"][0] for truth in many("train")}
    assert given == set(both)
    assert len(set(both)) == len(both) == 55
    assert both[:30] == english_alone
    assert possible_answers("count", 2) == ("0", "1", "2")


def looks(scene):
    return {(thing["shape"], thing["colour"]) for thing in scene["things"]}


def test_training_neither_shows_nor_names_a_held_out_combination():
    held = {(shape, colour) for split in ("val", "test") for shape, colour in HELD_OUT[split]}
    for truth in many("train"):
        assert looks(truth["scene"]) <= set(ALLOWED["train"])
        named = truth["question"].replace("crosses", "cross").rstrip("?").split()
        for shape, colour in held:
            assert not any(pair == (colour, shape) for pair in itertools.pairwise(named)), truth
            assert f"{COLOUR_WORDS[colour]}{SHAPE_WORDS[shape]}" not in truth["question"]
        assert not truth["held_out"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_scenes_hold_one_and_half_the_questions_are_about_it(split):
    about = []
    for truth in many(split):
        assert looks(truth["scene"]) & set(HELD_OUT[split])
        assert looks(truth["scene"]) <= set(ALLOWED[split])
        about.append(truth["held_out"])
    assert 0.4 < sum(about) / len(about) < 0.6


def test_whether_one_is_there_is_even():
    counts, own = collections.Counter(), [f" {colour} {shape}?" for shape, colour in HELD_OUT["test"]]
    for truth in truths(0, 8000, ("question", "answers"), split="test", types=["existence"], length=8000):
        counts[truth["answers"][0]] += truth["question"].endswith(tuple(own))
    assert abs(counts["yes"] / counts.total() - 0.5) < 0.03 and counts.total() > 1500


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("least", "most"), [(1, 2), (2, 2), (3, 3)])
def test_numbers_of_objects(split, least, most):
    source = Questions(split, min_objects=least, max_objects=most)
    counts = {len(source.scene(index).things) for index in range(60)}
    assert counts == set(range(least, most + 1))


def test_things_are_in_an_order_that_tells_nothing():
    found = truths(0, 1000, types=["colour"], min_objects=3)
    first = sum(truth["scene"]["things"][0]["colour"] == truth["answers"][0] for truth in found)
    assert first < 500


def test_questions_are_made_quickly_enough_for_training():
    assert rate() > 2000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_objects": 1}, "max_objects of at least 2"),
        ({"types": ("colour", "taste")}, "types must be some of existence"),
        ({"types": ()}, "got none"),
        ({"length": 0}, "at least 1"),
    ],
)
def test_wrong_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Questions(**wrong)


def test_the_room_lists_it_and_its_options_are_known():
    assert WORLDS["questions"] is Questions
    assert recognise("world:questions/val", "data") == {"name": "world_questions", "split": "val"}
    source = open_source({"path": "world:questions/val", "size": 24, "types": ["shape"], "language": "zh"})
    assert source.name == "world:questions/val"
    assert ANSWERS_ZH[source[0].streams["answer"][0]] in SHAPES
    with pytest.raises(UserError, match="captions_per_scene"):
        open_source({"path": "world:questions/val", "captions_per_scene": 3})
    with pytest.raises(UserError, match="types must be some of"):
        open_source({"path": "world:questions/val", "types": ["taste"]})


GOLDEN = {"train": "089e2782c90904eb", "val": "04d64f2a1f1cb8f4", "test": "9f2a88400d1203a1"}
