"""Words and scores of captions against the COCO caption tools: stored here, made again with Java by the slow tests."""

import json
import os
import subprocess
import sys

import pytest

from mmjax.errors import UserError
from mmjax.evaluation.scorers import captions, treebank
from mmjax.evaluation.scorers.captions import caption_scores
from mmjax.evaluation.scorers.words import VERSIONS, characters, jieba_words
from tests.evaluation.scorers import coco_tools

STORED = json.loads(coco_tools.CASES.read_text("utf-8"))
CANDIDATES = [item[0] for item in coco_tools.NASTY]
REFERENCES = [item[1:] for item in coco_tools.NASTY]


def blank_words(caption):
    """What is often taken for these words: lower case, cut at spaces, signs off the ends."""
    return [word for word in (word.strip(".,!?;:'\"()") for word in caption.lower().split()) if word]


def words_without_brackets(caption):
    """As the tools mean it: their list of punctuation has -LRB-, which never comes."""
    return [word for word in treebank.words(caption) if not word.startswith("-") or not word.endswith("b-")]


def test_words_are_those_of_the_java_tokenizer():
    assert {caption: treebank.words(caption) for caption in STORED["words"]} == STORED["words"]
    assert len(STORED["words"]) >= 40


def test_scores_are_those_of_the_coco_tools():
    assert caption_scores(CANDIDATES, REFERENCES) == pytest.approx(STORED["scores"], rel=1e-9)


@pytest.mark.parametrize("mutant", [blank_words, words_without_brackets, lambda caption: list(caption)])
def test_other_words_give_other_scores(mutant, monkeypatch):
    monkeypatch.setattr(captions, "cutter", lambda cut: mutant)
    scores = caption_scores(CANDIDATES, REFERENCES)
    assert any(abs(scores[name] - value) > 1e-3 for name, value in STORED["scores"].items())


def test_a_perfect_caption():
    texts = ["a red dog runs fast", "two old cats sleep here", "this big bird flies away"]
    scores = caption_scores(texts, [[text] for text in texts])
    assert scores == pytest.approx(dict(STORED["scores"] | dict.fromkeys(scores, 1.0), **{"CIDEr-D": 10.0}), abs=1e-6)


def test_cider_is_clipped_and_punishes_length():
    """What makes it CIDEr-D: repeating words gains nothing. Under plain CIDEr the cosine of the second is 1 as well."""
    other = "two old cats sleep here"
    once, twice = (caption_scores([text, other], [["red dog"], [other]])["CIDEr-D"] for text in ("red", "red red red"))
    assert once > twice


def test_one_item_has_no_cider(caplog):
    scores = caption_scores(["a dog"], [["a dog"]])
    assert "CIDEr-D" not in scores and scores["BLEU-1"] == pytest.approx(1)
    assert "CIDEr-D is left out" in caplog.text


def test_nothing_said_scores_nothing():
    assert max(caption_scores(["", "..."], [["a dog"], ["two cats"]]).values()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([], [], "no caption to score"),
        (["a"], [["a"], ["b"]], "1 captions, but references of 2 items"),
        (["a", "b"], [["a"], []], "item 1 has no list of reference captions"),
        (["a"], ["a"], "item 0 has no list of reference captions"),
    ],
)
def test_what_cannot_be_scored_is_refused(candidates, references, message):
    with pytest.raises(UserError, match=message):
        caption_scores(candidates, references)


@pytest.mark.parametrize(("library", "cut"), [("pycocoevalcap.bleu.bleu", "words"), ("jieba", "jieba")])
def test_a_missing_library_is_named_with_its_cure(library, cut, monkeypatch):
    from mmjax.evaluation.scorers import words

    words._jieba.cache_clear()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=r"pip install 'mmjax\[scores\]'"):
        caption_scores(["狗"], [["狗"]], cut)


def test_chinese_captions_by_characters_and_by_words():
    assert characters("2只dog在跑。“好！”") == ["2", "只", "dog", "在", "跑", "好"]
    assert jieba_words("小男孩穿红色T恤，在草地上奔跑。") == ["小男孩", "穿", "红色", "t恤", "在", "草地", "上", "奔跑"]
    found, true = ["小男孩在奔跑", "两只狗"], [["小男孩奔跑"], ["两只黑狗"]]
    scores = [caption_scores(found, true, cut) for cut in ("characters", "jieba", "words")]
    assert scores[0]["BLEU-1"] == pytest.approx(8 / 9) and scores[0] != scores[1] and scores[2]["BLEU-1"] < 1e-6
    assert set(VERSIONS) == {"words", "characters", "jieba"}


def test_jieba_is_silent_and_leaves_no_file(tmp_path):
    code = "from mmjax.evaluation.scorers.words import jieba_words; print(len(jieba_words('两只狗')))"
    run = subprocess.run(
        [sys.executable, "-W", "always::UserWarning", "-c", code],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "2\n" and run.stderr == "" and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_stored_cases_are_those_that_java_makes_now():
    coco_tools.java_or_skip()
    assert coco_tools.make() == STORED


@pytest.mark.slow
def test_words_of_flickr8k_are_those_of_java(data_root):
    coco_tools.java_or_skip()
    with open(data_root / "flickr8k_1k/captions.jsonl", encoding="utf-8") as lines:
        found = [caption for line in lines for caption in json.loads(line)["captions_en"]]
    equal = sum(treebank.words(a) == b for a, b in zip(found, coco_tools.tokenize(found), strict=True))
    print(f"{equal} of {len(found)} captions have the same words")
    assert equal == len(found)
