"""Token for token what transformers generates, greedily and with beams; draws are from its distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoding import Decoding, Prompt, decode
from mmjax.decoding.logits import warped
from mmjax.errors import UserError
from mmjax.models.cache import Cache
from tests.models.language_peers import VOCABULARY, peer

LENGTHS, NEW = np.array([7, 3, 5, 1, 4, 6]), 12
EOS = (5, 9, 11, 13, 17, 19, 23)  # many, so that rows end at different times
RNG = np.random.default_rng(1)
IDS = RNG.integers(24, VOCABULARY, (6, 7)).astype(np.int32)
MASK = np.arange(7) < LENGTHS[:, None]


def left_padded():
    """As transformers wants prompts: padding in front, with an id of its own, as its rules that look back see it."""
    ids, mask = np.ones_like(IDS), np.zeros_like(MASK)
    for row, length in enumerate(LENGTHS):
        ids[row, 7 - length :], mask[row, 7 - length :] = IDS[row, :length], True
    return ids, mask


def theirs(name, new=NEW, **options):
    """New tokens, padding 0, and the score of each row."""
    import torch

    ids, mask = left_padded()
    with torch.no_grad():
        out = peer(name)[0].generate(
            torch.tensor(ids).long(), attention_mask=torch.tensor(mask).long(), max_new_tokens=new, do_sample=False,
            eos_token_id=list(EOS), pad_token_id=1, return_dict_in_generate=True, output_scores=True, **options,
        )  # fmt: skip
    written = out.sequences[:, 7:].numpy()
    return np.pad(written, ((0, 0), (0, new - written.shape[1])), constant_values=1), getattr(
        out, "sequences_scores", None
    )


def ours(name, options, ids=IDS, mask=MASK, eos=EOS):
    _, decoder, params = peer(name)

    @jax.jit
    def run(params, ids, mask):
        slots = ids.shape[1] + options.length
        logits, cache = decoder.apply({"params": params}, ids, mask, slots, method="prefill")
        step = lambda ids, cache: decoder.apply({"params": params}, ids, cache, method="step")  # noqa: E731
        return decode(step, Cache.take, Prompt(logits, cache, ids, mask), options, eos, 1, jax.random.key(0))

    return run(params, jnp.asarray(ids), jnp.asarray(mask))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize(
    ("options", "their"),
    [
        ({}, {}),
        ({"repetition_penalty": 1.5, "no_repeat_ngram": 3}, {"repetition_penalty": 1.5, "no_repeat_ngram_size": 3}),
    ],
    ids=str,
)
def test_greedy_is_token_for_token_theirs(name, options, their):
    expected, _ = theirs(name, **their)
    for ids, mask in ((IDS, MASK), left_padded()):
        found = ours(name, Decoding(length=NEW, **options), ids, mask)
        np.testing.assert_array_equal(found.ids, expected)


@pytest.mark.parametrize(
    ("beams", "penalty", "name"), [(2, 1.0, "gpt2"), (4, 1.0, "llama"), (3, 0.0, "llama"), (4, -1.0, "gpt2")]
)
def test_beams_and_their_scores_are_theirs(beams, penalty, name):
    expected, scores = theirs(name, num_beams=beams, length_penalty=penalty)
    found = ours(name, Decoding(length=NEW, beams=beams, length_penalty=penalty))
    np.testing.assert_array_equal(np.where(found.mask, found.ids, 1), np.where(found.mask, expected, 1))
    np.testing.assert_allclose(found.score, scores.numpy(), atol=1e-4)
    np.testing.assert_allclose(found.logprobs.sum(axis=1) / found.mask.sum(axis=1) ** penalty, found.score, atol=1e-4)
    other, _ = theirs(name, num_beams=1)
    assert (np.asarray(found.ids) != other).any()  # greedy would be told from it


def test_log_probabilities_are_the_models_own():
    found = ours("llama", Decoding(length=NEW, repetition_penalty=1.5))
    _, decoder, params = peer("llama")
    ids = jnp.concatenate([jnp.asarray(IDS), found.ids], axis=1)
    mask = jnp.concatenate([jnp.asarray(MASK), found.mask], axis=1)
    logits = jax.nn.log_softmax(decoder.apply({"params": params}, ids, mask), axis=-1)
    for row, length in enumerate(LENGTHS):
        before = [length - 1, *range(7, 7 + NEW - 1)]
        wanted = [logits[row, at, token] for at, token in zip(before, np.asarray(found.ids[row]), strict=True)]
        np.testing.assert_allclose(found.logprobs[row], np.where(found.mask[row], wanted, 0.0), atol=1e-5)


def test_a_row_ends_where_it_ends():
    found = ours("gpt2", Decoding(length=NEW, temperature=2.0))
    for ids, mask in zip(np.asarray(found.ids), np.asarray(found.mask), strict=True):
        ends = np.flatnonzero(np.isin(ids, EOS))
        assert mask.sum() == (ends[0] + 1 if len(ends) else NEW) and (ids[~mask] == 1).all()
    assert not found.mask.all()


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 5}, {"top_p": 0.7}, {"top_k": 8, "top_p": 0.5}, {"temperature": 0.3, "top_p": 0.9}],
    ids=str,
)
def test_draws_are_from_their_distribution(options):
    torch = pytest.importorskip("torch")
    peer("gpt2")  # which mends torchvision
    from transformers.generation.logits_process import (
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    chosen = Decoding(length=1, **{"temperature": 1.7} | options)
    logits = np.float32(3 * RNG.normal(size=(20, VOCABULARY)))
    expected = TemperatureLogitsWarper(chosen.temperature)(None, torch.tensor(logits))
    expected = TopKLogitsWarper(chosen.top_k)(None, expected) if chosen.top_k else expected
    expected = TopPLogitsWarper(chosen.top_p)(None, expected) if chosen.top_p < 1 else expected
    np.testing.assert_allclose(warped(jnp.asarray(logits), chosen), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"length": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"beams": 0}, {"beams": 2, "temperature": 1.0}],
    ids=str,
)
def test_impossible_options_are_named(wrong):
    with pytest.raises(UserError, match=f"decoding.{next(iter(wrong))}="):
        Decoding(**{"length": 4} | wrong)


def test_more_new_tokens_than_positions_are_refused():
    with pytest.raises(UserError, match="a cache of 65 slots for 7 tokens, and the decoder has 64 positions: shorten"):
        ours("gpt2", Decoding(length=58))
