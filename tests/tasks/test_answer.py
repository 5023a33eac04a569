"""The question is read, the answer alone is learnt, and it is one of a list where a list is given."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoding import Decoding, Trie
from tests.tasks.test_caption import loss_of, surprises
from tests.tasks.towers import BEGIN, EOS, make_batch, make_params, make_task, texts

WAYS = {"across": {}, "before": {"connection": {"reads": "prefix"}}, "rotary": {"text": {"positions": "rotary"}}}


def joined(batch, length=16):
    """Question and answer of each row with no padding between them, and where the answer begins."""
    ids, first, ends = np.zeros((4, length), np.int32), [], []
    for row in range(4):
        parts = [np.asarray(batch[n].data)[row][np.asarray(batch[n].mask)[row]] for n in ("question", "answer")]
        both = np.concatenate(parts)
        ids[row, : len(both)] = both
        first.append(len(parts[0]))
        ends.append(len(both))
    return ids, np.array(first), np.array(ends)


@pytest.mark.parametrize("way", WAYS)
def test_the_loss_is_the_surprise_at_the_answer_alone(way):
    """Padding between question and answer is read by nobody and moves no position."""
    task, batch = make_task("answer", **WAYS[way]), make_batch()
    params = make_params(task, batch)
    ids, first, ends = joined(batch)
    pairs = [(row, n) for row in range(4) for n in range(first[row] + 2, ends[row] + 1)]
    rows = np.array([row for row, _ in pairs])
    real = jnp.asarray(np.arange(16) < np.array([[n] for _, n in pairs]))
    image = jax.tree.map(lambda x: x[rows], batch["image"])
    each = surprises(task, params, image, jnp.asarray(ids[rows]), real)
    assert float(loss_of(task, params, batch)) == pytest.approx(float(each.mean()), rel=2e-5)
    other = texts(np.random.default_rng(5), 4, 6)
    changed = dataclasses.replace(batch, streams={**batch.streams, "question": other})
    assert abs(float(loss_of(task, params, changed)) - float(each.mean())) > 1e-3  # it does read the question


def test_an_answer_that_begins_with_a_word_is_learnt_from_the_question_on():
    """Without a token that begins texts, the first word is predicted behind the last real token of the question."""
    task = make_task("answer", text={"begin": None})
    batch = make_batch()
    params = make_params(task, batch)
    ids, first, ends = joined(batch)
    pairs = [(row, n) for row in range(4) for n in range(first[row] + 1, ends[row] + 1)]
    rows = np.array([row for row, _ in pairs])
    real = jnp.asarray(np.arange(16) < np.array([[n] for _, n in pairs]))
    image = jax.tree.map(lambda x: x[rows], batch["image"])
    each = surprises(task, params, image, jnp.asarray(ids[rows]), real)
    assert float(loss_of(task, params, batch)) == pytest.approx(float(each.mean()), rel=2e-5)


def test_a_free_question_is_read_as_a_whole():
    """Its first token sees its last one; read from left to right it does not."""
    batch = make_batch()
    turned = jnp.asarray(batch["question"].data).at[:, 2].add(1)
    changed = dataclasses.replace(batch["question"], data=turned)
    for free in (True, False):
        task = make_task("answer", free_prompt=free)
        params = make_params(task, batch)
        row, other = (
            task.row(batch),
            task.row(dataclasses.replace(batch, streams={**batch.streams, "question": changed})),
        )
        run = jax.jit(functools.partial(task.model.apply, {"params": params}))
        a, b = (run(batch["image"], one.ids, one.mask, one.free) for one in (row, other))
        assert bool(jnp.allclose(a[:, 0], b[:, 0], atol=1e-6)) != free


@pytest.mark.parametrize("beams", [1, 4])
def test_nothing_but_the_listed_answers_is_written(beams):
    task, batch = make_task("answer"), make_batch()
    params = make_params(task, batch)
    answers = [[5, 6, EOS], [5, EOS], [7, 8, 9, EOS], [6, EOS]]
    decoding = Decoding(4, beams=beams, length_penalty=0.0)
    run = jax.jit(lambda p, b, trie: task.generate(p, b, decoding=decoding, answers=trie))
    out = run(params, batch, Trie.of(answers, (EOS,)))
    written = [ids[mask].tolist() for ids, mask in zip(np.asarray(out.ids), np.asarray(out.mask), strict=True)]
    assert all(answer in answers for answer in written)
    if beams == len(answers):  # then the best of all is found, as scoring each of them finds it
        score = jax.jit(task.score)
        every = np.stack([score(params, given(batch, answer))["logprob"] for answer in answers])
        assert written == [answers[i] for i in every.argmax(axis=0)]


def given(batch, answer):
    """The batch with this answer in every row."""
    ids = np.zeros((4, 8), np.int32)
    ids[:, : len(answer) + 1] = [BEGIN, *answer]
    mask = jnp.asarray(np.broadcast_to(np.arange(8) <= len(answer), (4, 8)))
    told = dataclasses.replace(batch["answer"], data=jnp.asarray(ids), mask=mask)
    return dataclasses.replace(batch, streams={**batch.streams, "answer": told})
