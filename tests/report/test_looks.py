"""Words of a text and their maps: whole words, and each map that of the tokens which spell its word."""

import dataclasses

import numpy as np
import pytest

from mmjax.data.tokenizers.bytes import Bytes
from mmjax.errors import UserError
from mmjax.report.looks import WORDS, looks, words_of
from tests.report.tellers import answerer, captioner
from tests.tasks.towers import make_params, make_task


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["a", " r", "ed", " ball", "."], {"a": [0], "red": [1, 2], "ball": [3]}),
        (["a well", "-kept", " dog's", ",", " 2"], {"a": [0], "well-kept": [0, 1], "dog's": [2], "2": [4]}),
        (["caf", "", "é", "s"], {"cafés": [0, 1, 2, 3]}),
        (["", "", "红", "色的", "，圆", "。"], {"红": [0, 1, 2], "色的": [3], "圆": [4]}),
        (["红", " big", "圆"], {"红": [0], "big": [1], "圆": [2]}),
        (["!", " ", "", "..."], {}),
        ([], {}),
    ],
)  # fmt: skip
def test_words_are_joined_from_tokens(pieces, words):
    assert dict(words_of(pieces)) == words


def model_of(name, written, **options):
    """A small model of random parameters that reads and writes bytes; about it the pictures and the set."""
    text = {"vocabulary": Bytes.size, "length": 400, "begin": Bytes.begin, "eos": Bytes.eos, "pad": Bytes.pad}
    task = make_task(name, text=text, **options)
    maker = captioner if name == "caption" else answerer
    model, data = maker([""], [(text,) for text in written], task=task, params={})
    model.params = make_params(task, next(data.item_batches(tuple(model.streams))))
    return model, data


@pytest.mark.parametrize("name", ["caption", "answer"])
@pytest.mark.parametrize("reads", ["cross", "prefix"])
def test_a_map_is_of_what_is_read_before_each_token_of_its_word(name, reads):
    """So the last letter of a text moves no map, the one before it that of the last word, and no other."""
    model, data = model_of(name, ["x"], connection={"reads": reads})
    told = ["red cat", "red cab", "red cut", "rid cat"]
    found = [looks(model, data.source, model.task.text, {0: text})[0] for text in told]
    assert [look.words for look in found] == [tuple(text.split()) for text in told]
    (first, last), (b_first, b_last), (u_first, u_last), (i_first, _) = (look.maps for look in found)
    assert first.shape == (2, 2) and first.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose([first, last], [b_first, b_last], atol=1e-6)
    np.testing.assert_allclose(first, u_first, atol=1e-6)
    assert abs(last - u_last).max() > 1e-4 and abs(first - i_first).max() > 1e-4


def test_several_texts_at_once_keep_their_maps_and_long_ones_their_first_words():
    model, data = model_of("caption", ["x"] * 3)
    told = {2: "a red ball", 0: " ".join("abcdefghijklmn"), 1: "蓝色"}
    found = looks(model, data.source, "caption", told)
    assert found[0].words == tuple("abcdefghijklmn"[:WORDS]) and len(found[0].maps) == WORDS
    assert found[2].words == ("a", "red", "ball") and found[1].words == ("蓝", "色")
    for item, text in told.items():
        np.testing.assert_allclose(
            looks(model, data.source, "caption", {item: text})[item].maps, found[item].maps, atol=1e-5
        )


def test_where_nothing_is_looked_at_it_is_said():
    model, data = model_of("caption", ["x"])
    model.task = dataclasses.replace(model.task, blind=True)
    with pytest.raises(UserError, match="shown no pictures"):
        looks(model, data.source, "caption", {0: "a"})
    model.task = object()
    with pytest.raises(UserError, match="object does not tell"):
        looks(model, data.source, "caption", {0: "a"})
