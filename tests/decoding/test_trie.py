"""Constrained to a list of answers, nothing else is written, and the best of them is found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoding import Decoding, Prompt, Trie, decode
from mmjax.errors import UserError
from mmjax.models.cache import Cache
from tests.decoding.test_generate import EOS, IDS, MASK, theirs
from tests.models.language_peers import VOCABULARY, peer

ANSWERS = [
    (30, 5), (30, 31, 5), (30, 31, 32, 9), (30, 31, 40, 41, 5), (33, 5), (34, 24, 5), (34, 25, 11), (35, 36, 36, 5),
]  # fmt: skip
LONGEST = 5
TRIE = Trie.of(ANSWERS, EOS)


def ours(answers=TRIE, **options):
    _, decoder, params = peer("llama")
    chosen = Decoding(**{"length": LONGEST} | options)

    @jax.jit
    def run(params, ids, mask, answers):
        logits, cache = decoder.apply({"params": params}, ids, mask, ids.shape[1] + chosen.length, method="prefill")
        step = lambda ids, cache: decoder.apply({"params": params}, ids, cache, method="step")  # noqa: E731
        return decode(step, Cache.take, Prompt(logits, cache, ids, mask), chosen, EOS, 1, jax.random.key(3), answers)

    return run(params, jnp.asarray(IDS), jnp.asarray(MASK), answers)


def written(found):
    return [tuple(ids[mask].tolist()) for ids, mask in zip(np.asarray(found.ids), np.asarray(found.mask), strict=True)]


def log_probabilities():
    """Of each answer in each row, by teacher forcing."""
    _, decoder, params = peer("llama")
    run = jax.jit(lambda ids, mask: jax.nn.log_softmax(decoder.apply({"params": params}, ids, mask)))
    rows, out = np.arange(len(IDS)), np.zeros((len(IDS), len(ANSWERS)))
    for column, answer in enumerate(ANSWERS):
        padded = np.pad(answer, (0, LONGEST - len(answer)))
        ids = np.concatenate([IDS, np.tile(padded, (len(IDS), 1))], axis=1)
        mask = np.concatenate([MASK, np.tile(np.arange(LONGEST) < len(answer), (len(IDS), 1))], axis=1)
        found = np.asarray(run(jnp.asarray(ids, jnp.int32), jnp.asarray(mask)))
        before = [MASK.sum(axis=1) - 1, *(np.full(len(IDS), 7 + i) for i in range(LONGEST))]
        out[:, column] = sum(found[rows, before[i], token] for i, token in enumerate(answer))
    return out


def follows(_, held):
    """For transformers: what goes on from the new tokens."""
    new = tuple(held[7:].tolist())
    return sorted({answer[len(new)] for answer in ANSWERS if answer[: len(new)] == new and len(answer) > len(new)}) or [
        1
    ]


@pytest.mark.parametrize("options", [{}, {"beams": 3}, {"temperature": 3.0, "top_p": 0.9}], ids=str)
def test_only_answers_are_written(options):
    found = written(ours(**options))
    assert set(found) <= set(ANSWERS) and len(set(found)) > 1


def test_enough_beams_find_the_best_answer():
    scores = log_probabilities() / np.array([len(answer) for answer in ANSWERS]) ** 0.5
    found = ours(beams=len(ANSWERS), length_penalty=0.5)
    assert written(found) == [ANSWERS[best] for best in scores.argmax(axis=1)]
    np.testing.assert_allclose(found.score, scores.max(axis=1), atol=1e-4)
    assert written(ours()) != written(found)  # one beam would miss some


@pytest.mark.parametrize("beams", [1, 3])
def test_equal_to_transformers(beams):
    expected, scores = theirs("llama", new=LONGEST, num_beams=beams, prefix_allowed_tokens_fn=follows)
    found = ours(beams=beams)
    np.testing.assert_array_equal(np.where(found.mask, found.ids, 1), np.where(found.mask, expected, 1))
    if beams > 1:
        np.testing.assert_allclose(found.score, scores.numpy(), atol=1e-4)


def test_without_the_list_other_things_are_written():
    assert not set(written(ours(answers=None))) & set(ANSWERS)


def test_nodes_lead_where_the_answers_do():
    for answer in ANSWERS:
        node = jnp.zeros(1, jnp.int32)
        for place, token in enumerate(answer):
            wanted = {other[place] for other in ANSWERS if other[:place] == answer[:place] and len(other) > place}
            assert set(np.flatnonzero(TRIE.allowed(node, VOCABULARY)[0]).tolist()) == wanted
            node = TRIE.next(node, jnp.array([token], jnp.int32))
        assert not TRIE.allowed(node, VOCABULARY).any()
    astray = TRIE.next(jnp.zeros(1, jnp.int32), jnp.array([49], jnp.int32))
    assert not TRIE.allowed(astray, VOCABULARY).any()
    assert len(TRIE.tokens) == 1 + len({answer[:end] for answer in ANSWERS for end in range(1, len(answer) + 1)})


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], "the list is empty"),
        ([(30, 5), (31, 5), (30, 5)], r"numbers 0 and 2 are the same, \[30, 5\]"),
        ([(30, 5), (30, 31)], r"number 1 is \[30, 31\]; one of \[5, 9, .*\] must end it"),
        ([(30, 5, 31, 5)], "number 0 is"),
        ([()], r"number 0 is \[\]"),
    ],
    ids=str,
)
def test_lists_that_are_none_are_refused(answers, message):
    with pytest.raises(UserError, match=message):
        Trie.of(answers, EOS)


@pytest.mark.parametrize(
    ("options", "answers", "message"),
    [
        ({"length": 4}, ANSWERS, "decoding.length=4 is too short for the answers; the longest has 5 tokens"),
        ({"no_repeat_ngram": 2}, ANSWERS, "decoding.no_repeat_ngram=2 may forbid"),
        ({}, [(VOCABULARY, 5)], "id 50, but the decoder's vocabulary has 50"),
    ],
    ids=str,
)
def test_lists_that_cannot_be_kept_to_are_refused(options, answers, message):
    with pytest.raises(UserError, match=message):
        ours(Trie.of(answers, EOS), **options)
