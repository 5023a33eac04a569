"""A stream gives the tokens of `decode` by one compiled step, in a cache that lies where it lay."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoding import Decoding, Prompt, Trie, decode, stream
from mmjax.decoding.streaming import _advance
from mmjax.errors import UserError
from mmjax.models.cache import Cache
from tests.decoding.test_generate import EOS, IDS, MASK
from tests.models.language_peers import peer

NEW, KEY = 8, jax.random.key(5)
ANSWERS = Trie.of([(30, 5), (30, 31, 5), (33, 34, 35, 5)], EOS)


def one_step(params, ids, cache):
    return peer("llama")[1].apply({"params": params}, ids, cache, method="step")


@jax.jit
def prompt(params):
    ids, mask = jnp.asarray(IDS), jnp.asarray(MASK)
    logits, cache = peer("llama")[1].apply({"params": params}, ids, mask, 7 + NEW, method="prefill")
    return Prompt(logits, cache, ids, mask)


def streamed(given, options, answers=None):
    step = jax.tree_util.Partial(one_step, peer("llama")[2])
    return list(stream(step, given, options, EOS, 1, KEY, answers))


@pytest.mark.parametrize(
    ("chosen", "answers"), [({}, None), ({"temperature": 1.5, "top_k": 20}, ANSWERS)], ids=["greedy", "drawn answers"]
)
def test_the_tokens_are_those_of_decode(chosen, answers):
    options, params = Decoding(length=NEW, **chosen), peer("llama")[2]
    step = partial(one_step, params)
    run = jax.jit(lambda given: decode(step, Cache.take, given, options, EOS, 1, KEY, answers))
    expected, known = run(prompt(params)), _advance._cache_size()
    ids, logprobs = (np.stack(parts, axis=1) for parts in zip(*streamed(prompt(params), options, answers), strict=True))
    length = int(expected.mask.any(axis=0).sum())
    assert ids.shape == (len(IDS), length)  # it ends where the last row does
    np.testing.assert_array_equal(ids, expected.ids[:, :length])
    np.testing.assert_allclose(logprobs, expected.logprobs[:, :length], atol=1e-6)
    streamed(prompt(params), options, answers)
    assert _advance._cache_size() == known + 1


def test_the_cache_is_given_away():
    given = prompt(peer("llama")[2])
    streamed(given, Decoding(length=NEW))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given.cache.blocks))
    assert not given.logits.is_deleted()


def test_beams_are_refused():
    with pytest.raises(UserError, match="decoding.beams=2: beams cannot be streamed"):
        streamed(prompt(peer("llama")[2]), Decoding(length=NEW, beams=2))
