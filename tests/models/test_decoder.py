"""The decoder is GPT-2, Llama and Gemma by its options; its cache changes no number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.errors import UserError
from tests.models.language_peers import OPTIONS, VOCABULARY, WIDTH, peer

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, VOCABULARY, (3, 9)).astype(np.int32)
MASK = np.arange(9) < np.array([[9], [6], [1]])
CONTEXT = RNG.normal(size=(3, 5, WIDTH)).astype(np.float32)
CONTEXT_MASK = np.arange(5) < np.array([[5], [2], [4]])
PREFIX = RNG.normal(size=(3, 4, WIDTH)).astype(np.float32)


def inputs(name):
    across = {"context": jnp.asarray(CONTEXT), "context_mask": jnp.asarray(CONTEXT_MASK)} if "context" in name else {}
    return {"mask": jnp.asarray(MASK)} | across


def ours(name, **changes):
    _, decoder, params = peer(name)
    return np.asarray(
        dataclasses.replace(decoder, **changes).apply({"params": params}, jnp.asarray(IDS), **inputs(name))
    )


def theirs(name):
    import torch

    model = peer(name)[0]
    across = {}
    if "context" in name:
        across = {"encoder_hidden_states": torch.tensor(CONTEXT), "encoder_attention_mask": torch.tensor(CONTEXT_MASK)}
    with torch.no_grad():
        return model(torch.tensor(IDS).long(), attention_mask=torch.tensor(MASK).long(), **across).logits.numpy()


@pytest.mark.parametrize("name", OPTIONS)
def test_equal_to_transformers(name):
    expected = theirs(name)
    assert np.abs(ours(name) - expected)[MASK].max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("gpt2", {"activation": "gelu"}),
        ("gpt2", {"epsilon": 1e-6}),
        ("gpt2 reading a context", {"cross": False}),
        ("llama", {"rotary_base": 500_000.0}),
        ("llama", {"activation": "geglu"}),
        ("gemma", {"embed_scale": False}),
        ("gemma", {"activation": "swiglu"}),
    ],
)
def test_wrong_variants_are_rejected(name, mutant):
    expected = theirs(name)
    changed = inputs(name) if "cross" not in mutant else {"mask": jnp.asarray(MASK)}
    _, decoder, params = peer(name)
    out = dataclasses.replace(decoder, **mutant).apply({"params": params}, jnp.asarray(IDS), **changed)
    assert np.abs(out - expected)[MASK].max() > 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["gpt2 reading a context", "llama"])
def test_token_by_token_is_all_at_once(name):
    """Rows of different lengths, after a prefix that all tokens read."""
    _, decoder, params = peer(name)
    first, given = 4, inputs(name) | {"prefix": jnp.asarray(PREFIX)}
    mask = jnp.asarray(MASK | (np.arange(9) >= first))  # gaps behind short prompts, and then all rows go on
    whole = decoder.apply({"params": params}, jnp.asarray(IDS), **given | {"mask": mask})
    given["mask"] = mask[:, :first]
    logits, cache = decoder.apply({"params": params}, jnp.asarray(IDS[:, :first]), slots=16, method="prefill", **given)
    step = jax.jit(lambda ids, cache: decoder.apply({"params": params}, ids, cache, method="step"))
    ends = np.array([3, 3, 0])  # the last real token of each prompt
    found, expected = [logits], [whole[np.arange(3), ends]]
    for place in range(first, 9):
        logits, cache = step(jnp.asarray(IDS[:, place]), cache)
        found.append(logits)
        expected.append(whole[:, place])
    np.testing.assert_allclose(jnp.stack(found), jnp.stack(expected), atol=1e-5)
    assert int(cache.filled) == PREFIX.shape[1] + 9


def test_a_prefix_is_read_both_ways_and_text_one_way():
    _, decoder, params = peer("llama")

    def run(ids=IDS, prefix=PREFIX):
        return decoder.apply({"params": params}, jnp.asarray(ids), prefix=jnp.asarray(prefix))

    changed = PREFIX.copy()
    changed[:, -1] += 1
    later = IDS.copy()
    later[:, 5] = (later[:, 5] + 1) % VOCABULARY
    moved = np.abs(run(ids=later) - run()).max(axis=(0, 2))
    assert (moved[:5] == 0).all() and (moved[5:] > 0).all()
    # The first vector of the prefix alone is shown to depend on the last one: text reads only the first.
    alone = np.zeros((3, 4), bool)
    alone[:, [0, 3]] = True
    out = [
        decoder.apply({"params": params}, jnp.asarray(IDS), prefix=jnp.asarray(p), prefix_mask=jnp.asarray(alone))
        for p in (PREFIX, changed)
    ]
    assert np.abs(out[0] - out[1]).max() > 1e-4


@pytest.mark.parametrize("given", [{}, {"prefix": jnp.asarray(PREFIX)}], ids=["", "prefix"])
def test_free_ids_are_read_by_all(given):
    """The first three ids of each row read each other both ways, and the rest follows them one way."""
    _, decoder, params = peer("llama")
    free = jnp.tile(jnp.arange(9) < 3, (3, 1))

    def run(place, **options):
        ids = IDS.copy()
        ids[:, place] = (ids[:, place] + 1) % VOCABULARY
        out = [decoder.apply({"params": params}, jnp.asarray(i), **given, **options) for i in (IDS, ids)]
        return np.abs(out[0] - out[1]).max(axis=(0, 2)) > 0

    assert run(2, free_ids=free).all() and run(2).tolist() == [False] * 2 + [True] * 7
    assert run(5, free_ids=free).tolist() == [False] * 5 + [True] * 4


def test_free_ids_of_a_prompt_are_those_of_the_whole():
    _, decoder, params = peer("llama")
    free = MASK & (np.arange(9) < 4)
    whole = decoder.apply({"params": params}, jnp.asarray(IDS), free_ids=jnp.asarray(free))
    given = dict(mask=None, slots=9, free_ids=jnp.asarray(free[:, :4]), method="prefill")
    logits, cache = decoder.apply({"params": params}, jnp.asarray(IDS[:, :4]), **given)
    after, _ = decoder.apply({"params": params}, jnp.asarray(IDS[:, 4]), cache, method="step")
    np.testing.assert_allclose(jnp.stack([logits, after]), whole[:, 3:5].swapaxes(0, 1), atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_logits_are_of_what_is_hidden(name):
    _, decoder, params = peer(name)
    run = lambda *given, **options: decoder.apply({"params": params}, *given, **options)  # noqa: E731
    hidden = run(jnp.asarray(IDS), prefix=jnp.asarray(PREFIX), method="hidden")
    assert hidden.shape == (3, 9, WIDTH)
    expected = run(jnp.asarray(IDS), prefix=jnp.asarray(PREFIX))
    np.testing.assert_allclose(run(hidden[:, 4:], method="logits"), expected[:, 4:], atol=1e-6)


def test_a_full_cache_takes_no_more():
    _, decoder, params = peer("llama")
    _, cache = decoder.apply({"params": params}, jnp.asarray(IDS), None, 10, method="prefill")
    step = jax.jit(lambda ids, cache: decoder.apply({"params": params}, ids, cache, method="step"))
    logits, cache = step(jnp.asarray(IDS[:, 0]), cache)
    assert np.isfinite(logits).all()
    assert np.isnan(step(jnp.asarray(IDS[:, 0]), cache)[0]).all()


def test_more_tokens_than_positions_are_refused():
    """A lookup behind the table would give NaN."""
    _, decoder, params = peer("gpt2")
    with pytest.raises(UserError, match="72 tokens, but the decoder has 64 positions"):
        decoder.apply({"params": params}, jnp.tile(jnp.asarray(IDS), (1, 8)))
    for slots in (8, 65):
        with pytest.raises(UserError, match=f"a cache of {slots} slots for 9 tokens"):
            decoder.apply({"params": params}, jnp.asarray(IDS), None, slots, method="prefill")


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_padding_is_nothing(name):
    _, decoder, params = peer(name)
    other = np.where(MASK, IDS, (IDS + 7) % VOCABULARY)
    run = lambda ids: decoder.apply({"params": params}, jnp.asarray(ids), mask=jnp.asarray(MASK))  # noqa: E731
    np.testing.assert_array_equal(np.asarray(run(IDS))[MASK], np.asarray(run(other))[MASK])
