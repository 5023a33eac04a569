"""Every caption of an evaluation set is true of exactly one scene, judged by the independent reader; hard negatives."""

import collections
import itertools
import subprocess
import sys

import pytest

from mmjax.data.world import World
from mmjax.data.world.evaluation_set import evaluation_set
from mmjax.errors import UserError
from tests.data.world.reader import _stands, read, true_of


def truths(world):
    return [world.truth(index) for index in range(len(world))]


def true_elsewhere(world, **mutant):
    """(caption, owner, other) for every caption that is not true of its own scene alone."""
    all_truths = truths(world)
    holders = collections.defaultdict(list)  # a caption can only be true of scenes that hold its first thing's look
    for index, truth in enumerate(all_truths):
        for thing in truth["scene"]["things"]:
            holders[thing["shape"]].append(index)
    wrong = []
    for owner, truth in enumerate(all_truths):
        for caption in truth["captions"]:
            claim = read(caption)
            first = claim.things[0]
            possible = set(holders[first["shape"]])
            found = [i for i in possible if true_of(claim, all_truths[i]["scene"], **mutant)]
            if found != [owner]:
                wrong.append((caption, owner, found))
    return wrong


@pytest.mark.parametrize(
    "world",
    [
        World("test"),
        World("val", language="zh", max_objects=3),
        World("test", seed=5, min_objects=2, length=256),
    ],
    ids=["test", "val-zh", "seed"],
)
def test_a_caption_is_true_of_exactly_one_scene(world):
    assert true_elsewhere(world) == []


@pytest.mark.parametrize("mutant", [{"blind_to": "size"}, {"blind_to": "colour"}, {"turn": True}])
def test_and_only_as_every_word_counts(mutant):
    assert true_elsewhere(World("test", length=128), **mutant)


def differences(a, b):
    """What differs between two scenes of the same things: attributes, place relations of pairs."""
    things = list(zip(a["things"], b["things"], strict=True))
    attributes = [key for x, y in things for key in ("shape", "colour", "size", "texture") if x[key] != y[key]]
    pairs = itertools.combinations(range(len(things)), 2)
    sides = ("left", "right", "above", "below")
    turned = [
        "relation"
        for i, j in pairs
        for side in sides
        if _stands(side, a["things"][i], a["things"][j], False) > _stands(side, b["things"][i], b["things"][j], False)
    ]
    return attributes + turned


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("objects", [3, 4])
def test_a_quarter_are_hard_negatives_of_every_kind(split, objects):
    all_truths = truths(World(split, max_objects=objects))
    hard = [(truth, all_truths[truth["hard_of"]]) for truth in all_truths if truth["hard_of"] is not None]
    assert len(hard) >= len(all_truths) / 4
    kinds = collections.Counter(tuple(differences(a["scene"], b["scene"])) for a, b in hard)
    assert set(kinds) == {("shape",), ("colour",), ("size",), ("texture",), ("relation",)}
    assert min(kinds.values()) >= 25


def test_a_set_is_always_the_same():
    first = truths(World("test", length=128))
    evaluation_set.cache_clear()
    assert first == truths(World("test", length=128))


def test_a_set_is_made_in_two_seconds():
    """In a process of its own, as here every call has its types checked."""
    code = """
import time
from mmjax.data.world import World
world, begin = World("test"), time.process_time()
world.captions(0)
print(time.process_time() - begin)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 2


def test_seeds_and_splits_differ():
    sets = [truths(World(split, seed=seed, length=40)) for split in ("val", "test") for seed in (0, 1)]
    assert all(a != b for a, b in itertools.combinations(sets, 2))


def test_a_shorter_set_is_the_beginning_of_a_longer():
    assert truths(World("test", length=40)) == truths(World("test"))[:40]


def test_too_many_scenes_of_one_thing_are_refused():
    with pytest.raises(UserError, match="smaller length or more objects"):
        World("test", min_objects=1, max_objects=1, length=2000)[0]
