"""Written captions are compared with people's, with the scene, and by another model."""

import math

import numpy as np
import pytest

import mmjax
from mmjax.data.world import World
from mmjax.errors import UserError
from mmjax.evaluation.caption import Captions, clip_scores
from mmjax.evaluation.scorers.clip_score import PREFIX
from tests.evaluation.writers import Scripted, WrittenSet, script

CAPTIONS = [("a dog runs", "the dog is running"), ("two red cats", "cats"), ("a blue car", "one car")]


def run(truths, written, corrupt=(), **options):
    return Captions(**options).run(Scripted(), script(written), WrittenSet(truths, corrupt))


def test_captions_that_are_people_s_own_score_highest():
    truths = [{"captions": captions} for captions in CAPTIONS]
    best = run(truths, [captions[0] for captions in CAPTIONS])
    other = run(truths, [CAPTIONS[1][0], CAPTIONS[2][0], CAPTIONS[0][0]])
    assert best["caption/BLEU-1"] == pytest.approx(1.0, abs=1e-6) and best["caption/count"] == 3
    assert all(best[name] > other[name] for name in ("caption/BLEU-1", "caption/ROUGE-L", "caption/CIDEr-D"))
    assert best["caption/perplexity"] == pytest.approx(math.exp(0.5))
    assert "caption/true" not in best


def test_a_corrupt_picture_has_no_caption():
    truths = [{"captions": captions} for captions in CAPTIONS]
    metrics = run(truths, ["a dog runs", "nonsense", "a blue car"], corrupt=(1,))
    assert metrics["caption/count"] == 2 and metrics["caption/BLEU-1"] == pytest.approx(1.0, abs=1e-6)


def test_captions_of_generated_scenes_are_judged_by_the_scene():
    world = World("test", length=8)
    truths = [world.truth(i) for i in range(8)]
    own = [truth["captions"][1] for truth in truths]
    metrics = run(truths, own, overlap=False)
    assert metrics["caption/true"] == 1.0 and "caption/BLEU-1" not in metrics
    wrong = [own[1], own[2], "only a thing", *own[3:]]  # two of other scenes, one that says nothing
    assert run(truths, wrong, overlap=False)["caption/true"] == pytest.approx(5 / 8)


def test_another_model_scores_captions_by_cosine(tiny_bundle):
    world = World("test", length=6, size=32)
    data = WrittenSet([world.truth(i) for i in range(6)])
    data.source = world
    known = {i: data.truths[i] for i in range(6)}
    texts = {i: known[i]["captions"][0] for i in range(6)}
    scores = clip_scores(str(tiny_bundle), texts, known, data, None)
    model = mmjax.load(tiny_bundle)
    images = model.embed(image=[world[i].streams["image"] for i in range(6)])
    words = model.embed(text=[PREFIX + texts[i] for i in range(6)])
    each = 2.5 * np.maximum((images * words).sum(axis=1), 0)
    assert scores["caption/CLIPScore"] == pytest.approx(each.mean(), rel=1e-5)
    # Each caption is one of its references, so the nearest of them is at 1.
    assert scores["caption/RefCLIPScore"] == pytest.approx((2 * each / (1 + each)).mean(), rel=1e-5)
    turned = clip_scores(str(tiny_bundle), {i: texts[5 - i] for i in texts}, known, data, None)
    assert turned["caption/RefCLIPScore"] != scores["caption/RefCLIPScore"]


def test_what_cannot_be_scored_says_so(monkeypatch):
    with pytest.raises(UserError, match="decoding.beams=0 is out of range"):
        Captions(beams=0)
    with pytest.raises(UserError, match="no item of this data has captions"):
        run([{"label": 1}], ["a"], overlap=False)
    with pytest.raises(UserError, match="no stream 'text' to be written; the streams are image, caption, answer"):
        run([{"captions": ("a",)}], ["a"], overlap=False, text="text")
    with pytest.raises(UserError, match="gone: no bundle here"):
        Captions(clip="gone")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install 'mmjax\\[scores\\]'"):
        Captions()
    assert Captions(overlap=False).notes(WrittenSet([]))["captions written with"] == "length 259"
