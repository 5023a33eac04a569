"""Captions are learnt token by token, and written as they were learnt."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoding import Decoding
from mmjax.errors import UserError
from tests.tasks.towers import BEGIN, EOS, PAD, TEXT, make_batch, make_params, make_task

PREFIX = {"connection": {"reads": "prefix", "connector": "mlp"}}
WAYS = {
    "across": {},
    "before": PREFIX,
    "resampled": {"connection": {"connector": "resampler", "queries": 3}},
    "rotary": {"text": {"positions": "rotary", "norm": "rms", "kv_heads": 1}},
}


@functools.partial(jax.jit, static_argnums=0)
def loss_of(task, params, batch):
    value = task.loss(params, task.encode(params, batch, None), batch, None)
    return value.total / value.weight


@functools.partial(jax.jit, static_argnums=0)
def surprises(task, params, image, ids, real):
    """-log p of the last real token of each row, told only the tokens before it."""
    count = real.sum(axis=1)
    before = real & (jnp.arange(ids.shape[1]) < count[:, None] - 1)
    x = task.model.apply({"params": params}, image, ids, before)
    logits = task.model.apply({"params": params}, x, method="logits")
    last = jnp.take_along_axis(logits, (count - 2)[:, None, None], axis=1)[:, 0]
    target = jnp.take_along_axis(ids, (count - 1)[:, None], axis=1)
    return -jnp.take_along_axis(jax.nn.log_softmax(last), target, axis=1)[:, 0]


@pytest.mark.parametrize("way", WAYS)
def test_the_loss_is_the_mean_surprise_at_every_token_behind_the_first(way):
    task, batch = make_task(**WAYS[way]), make_batch()
    params, text = make_params(task, batch), batch["caption"]
    pairs = [(row, n) for row, real in enumerate(np.asarray(text.mask)) for n in range(2, real.sum() + 1)]
    rows = np.array([row for row, _ in pairs])
    real = np.arange(8) < np.array([[n] for _, n in pairs])
    each = surprises(task, params, jax.tree.map(lambda x: x[rows], batch["image"]), text.data[rows], jnp.asarray(real))
    assert float(loss_of(task, params, batch)) == pytest.approx(float(each.mean()), rel=2e-5)
    mutant = np.mean([float(each[rows == row].mean()) for row in range(4)])  # a mean of the rows' means
    assert abs(float(loss_of(task, params, batch)) - mutant) > 1e-3


@pytest.mark.parametrize("way", ["across", "before", "resampled"])
def test_what_is_not_there_changes_nothing(way):
    """Padding, rows that are not valid and absent pictures hold what they will, NaN included."""
    task, batch = make_task(**WAYS[way]), make_batch()
    params, text = make_params(task, batch), batch["caption"]
    valid = jnp.asarray([True, True, False, True])
    gone = dataclasses.replace(batch["image"], present=jnp.asarray([True, False, True, True]))
    batch = dataclasses.replace(batch, valid=valid, streams={**batch.streams, "image": gone})
    grad = jax.jit(jax.value_and_grad(functools.partial(loss_of, task)))
    value, gradient = grad(params, batch)
    pixels = gone.data.at[1].set(255 - gone.data[1]).at[2].set(7)
    data = jnp.where(text.mask & valid[:, None], text.data, 5)
    other = {
        **batch.streams,
        "image": dataclasses.replace(gone, data=pixels),
        "caption": dataclasses.replace(text, data=data),
    }
    changed, changed_gradient = grad(params, dataclasses.replace(batch, streams=other))
    assert value == changed
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), gradient, changed_gradient))
    seen = dataclasses.replace(gone, present=jnp.ones(4, bool), data=pixels)  # the mutant: a picture that is there
    assert grad(params, dataclasses.replace(batch, streams={**other, "image": seen}))[0] != value


@pytest.mark.parametrize(("way", "beams"), [("across", 1), ("across", 3), ("before", 3), ("rotary", 1)])
def test_what_is_written_has_the_probability_that_it_was_learnt_with(way, beams):
    task, batch = make_task(**WAYS[way]), make_batch()
    params = make_params(task, batch)
    out = jax.jit(lambda p, b: task.generate(p, b, decoding=Decoding(6, beams=beams)))(params, batch)
    begun = jnp.full((4, 1), BEGIN)
    ids, mask = jnp.concatenate([begun, out.ids], axis=1), jnp.concatenate([begun > 0, out.mask], axis=1)
    told = dataclasses.replace(batch["caption"], data=ids, mask=mask)
    score = jax.jit(task.score)
    again = score(params, dataclasses.replace(batch, streams={**batch.streams, "caption": told}))
    np.testing.assert_allclose(again["logprob"], out.logprobs.sum(axis=1), rtol=2e-5)
    np.testing.assert_array_equal(again["tokens"], out.mask.sum(axis=1))
    assert ((out.ids == PAD) | out.mask).all() and (jnp.where(out.mask, out.ids, 0) == EOS).sum(axis=1).max() <= 1


def test_a_parallel_row_reads_none_of_its_own_text():
    """CapPa: with `parallel` 1 the logits are the same whatever the text, and not so with 0."""
    batch, key = make_batch(), jax.random.key(3)
    other = make_batch(seed=1)["caption"]
    told = dataclasses.replace(batch["caption"], data=other.data)
    changed = dataclasses.replace(batch, streams={**batch.streams, "caption": told})
    for parallel, same in ((1.0, True), (0.0, False)):
        task = make_task(parallel=parallel)
        params = make_params(task, batch)
        encode = jax.jit(task.encode)
        a, b = (encode(params, one, key)["logits"] for one in (batch, changed))
        assert bool(jnp.allclose(a, b, atol=1e-5)) == same
        assert not jnp.allclose(a[:, 0], a[:, 1], atol=1e-3)  # places differ all the same
        a, b = (encode(params, one, None)["logits"] for one in (batch, changed))
        assert not jnp.allclose(a, b, atol=1e-3)  # evaluation is causal


def test_a_blind_task_sees_no_picture():
    batch, other = make_batch(), make_batch(seed=1)
    changed = dataclasses.replace(batch, streams={**batch.streams, "image": other["image"]})
    for blind in (True, False):
        task = make_task(blind=blind)
        params = make_params(task, batch)
        assert (float(loss_of(task, params, batch)) == float(loss_of(task, params, changed))) == blind


def test_a_stack_of_micro_batches_adds_up():
    """Σtotal / Σweight of halves of unequal length is that of the whole; the mean of their means is not."""
    task, batch = make_task(), make_batch(rows=4)
    params = make_params(task, batch)
    halves = [jax.tree.map(lambda x, i=i: x[i : i + 2], batch) for i in (0, 2)]
    run = jax.jit(lambda params, half: task.loss(params, task.encode(params, half, None), half, None))
    parts = [run(params, half) for half in halves]
    whole = float(loss_of(task, params, batch))
    assert float(sum(p.total for p in parts) / sum(p.weight for p in parts)) == pytest.approx(whole, rel=1e-6)
    assert abs(np.mean([float(p.total / p.weight) for p in parts]) - whole) > 1e-4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"smoothing": 1.0}, "shares"),
        ({"connection": {"reads": "both"}}, "connection.reads must be one of 'cross', 'prefix'"),
        ({"connection": {"connector": "resampler", "queries": 0}}, "queries and depth must be at least 1"),
        ({"image_": 1}, "unknown config key config.task.image_"),
    ],
)
def test_a_wrong_section_is_refused_in_one_line(options, says):
    with pytest.raises(UserError, match=says):
        make_task(**options)


def test_a_prompt_and_its_text_must_fit_the_decoder():
    task = make_task(text={"length": 6})
    batch = make_batch(length=6)
    params = make_params(task, batch)
    with pytest.raises(UserError, match="positions"):
        jax.eval_shape(functools.partial(task.generate, decoding=Decoding(6)), params, batch)
    fits = jax.eval_shape(functools.partial(task.generate, decoding=Decoding(5)), params, batch)
    assert fits.ids.shape == (4, 5)


def test_an_encoder_of_another_width_needs_a_connector():
    task = make_task(image={"width": 16}, connection={"connector": "none"})
    with pytest.raises(ValueError, match="16 wide and a decoder 32"):
        jax.eval_shape(task.init, jax.random.key(0), make_batch())


def test_towers_are_named_and_streams_read_them():
    assert make_task().model.decoder.vocabulary == TEXT["vocabulary"]
    with pytest.raises(UserError, match="streams.caption must name the tower 'text', got 'image'"):
        make_task(streams={"image": "image", "caption": "image"})


def test_a_text_that_nothing_begins_is_refused():
    task, batch = make_task(text={"begin": None}), make_batch()
    params = jax.eval_shape(task.init, jax.random.key(0), batch)
    with pytest.raises(UserError, match="towers.text.begin: a text begins with a token of its own"):
        jax.eval_shape(functools.partial(task.generate, decoding=Decoding(3)), params, batch)
