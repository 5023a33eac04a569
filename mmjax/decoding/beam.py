"""Beam search on the device, with the rules of `transformers`: a row's beams compete, those that end leave the race."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.decoding.logits import processed
from mmjax.decoding.loop import Generated, Step
from mmjax.decoding.options import Decoding

Take = Callable[[Any, Int[Array, " k"]], Any]
OUT = -1.0e9  # score of what is out of the race


class _Beams(NamedTuple):
    """Continuations of every row: new tokens, log-probabilities of each, and their score."""

    ids: Int[Array, "b k n"]
    logprobs: Float[Array, "b k n"]
    score: Float[Array, "b k"]

    def take(self, index: Int[Array, "b j"]) -> "_Beams":
        return jax.tree.map(
            lambda a: jnp.take_along_axis(a, index.reshape(*index.shape, *(1,) * (a.ndim - 2)), 1), self
        )

    def beside(self, other: "_Beams") -> "_Beams":
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), self, other)


class _State(NamedTuple):
    turn: Int[Array, ""]
    logits: Float[Array, "bk v"]
    cache: Any
    running: _Beams
    ended: _Beams
    has_ended: Bool[Array, "b k"]
    open: Bool[Array, " b"]  # whether something that still runs could beat what has ended


def beam_search(
    step: Step,
    take: Take,
    logits: Float[Array, "b v"],
    cache: Any,
    prompt: Int[Array, "b p"],
    mask: Bool[Array, "b p"],
    options: Decoding,
    eos: tuple[int, ...],
    pad: int,
) -> tuple[Generated, Float[Array, " b"]]:
    """The best continuation of every row, and its score; arguments as of `loop.generate`.

    Args:
      take: rows of a cache, see `Cache.take`.
    """
    rows, beams, length = len(prompt), options.beams, options.length
    ends = jnp.asarray(eos, jnp.int32)
    wide = max(2, 1 + len(eos)) * beams  # so many that some go on, even if the best of every beam end

    def going(state: _State) -> jax.Array:
        return (state.turn < length) & state.open.any()

    def more(state: _State) -> _State:
        logprobs, scores = _scores(state, prompt, mask, options)
        vocabulary = scores.shape[-1]
        best, flat = jax.lax.top_k((state.running.score[..., None] + scores).reshape(rows, -1), wide)
        parent, token = flat // vocabulary, (flat % vocabulary).astype(jnp.int32)
        found = state.running.take(parent)._replace(score=best)
        own = jnp.take_along_axis(logprobs.reshape(rows, -1), flat, axis=1)
        found = found._replace(
            ids=found.ids.at[:, :, state.turn].set(token), logprobs=found.logprobs.at[:, :, state.turn].set(own)
        )
        stops = (token[..., None] == ends).any(axis=-1) | (state.turn + 1 == length)
        ended, has_ended = _ended(state, found, stops, options)
        after, index = jax.lax.top_k(best + stops * OUT, beams)
        running = found.take(index)._replace(score=after)
        parents = jnp.take_along_axis(parent, index, axis=1) + jnp.arange(rows)[:, None] * beams
        cache = take(state.cache, parents.reshape(-1))
        logits, cache = step(running.ids[:, :, state.turn].reshape(-1), cache)
        worst = jnp.where(has_ended, ended.score.min(axis=1, keepdims=True), OUT)
        possible = after[:, :1] / (state.turn + 1) ** options.length_penalty
        still = state.open & (possible > worst).any(axis=1)
        return _State(state.turn + 1, logits, cache, running, ended, has_ended, still)

    every = jnp.repeat(jnp.arange(rows), beams)
    blank = _Beams(
        jnp.full((rows, beams, length), pad, jnp.int32), jnp.zeros((rows, beams, length)), jnp.full((rows, beams), OUT)
    )
    first = blank._replace(score=blank.score.at[:, 0].set(0.0))  # the beams are alike yet: one of them runs
    none = jnp.zeros((rows, beams), bool)
    start = _State(jnp.int32(0), logits[every], take(cache, every), first, blank, none, jnp.ones(rows, bool))
    ended = jax.lax.while_loop(going, more, start).ended
    ids, score = ended.ids[:, 0], ended.score[:, 0]
    stops = (ids[..., None] == ends).any(axis=-1)
    real = jnp.cumsum(stops, axis=1) - stops == 0  # none before it
    return Generated(jnp.where(real, ids, pad), real, jnp.where(real, ended.logprobs[:, 0], 0.0)), score


def _scores(
    state: _State, prompt: Int[Array, "b p"], mask: Bool[Array, "b p"], options: Decoding
) -> tuple[Float[Array, "b k v"], Float[Array, "b k v"]]:
    """Log-probabilities of the next token: the model's, and after the rules that look back."""
    rows, beams, length = state.running.ids.shape
    logprobs = jax.nn.log_softmax(state.logits, axis=-1)
    every = jnp.repeat(jnp.arange(rows), beams)
    held = jnp.concatenate([prompt[every], state.running.ids.reshape(-1, length)], axis=1)
    new = jnp.broadcast_to(jnp.arange(length) < state.turn, (rows * beams, length))
    scores = processed(logprobs, held, jnp.concatenate([mask[every], new], axis=1), options)
    return logprobs.reshape(rows, beams, -1), scores.reshape(rows, beams, -1)


def _ended(
    state: _State, found: _Beams, stops: Bool[Array, "b w"], options: Decoding
) -> tuple[_Beams, Bool[Array, "b k"]]:
    """The best that have ended so far; of the candidates of this step only the first `beams` may join."""
    joins = stops & (jnp.arange(stops.shape[1]) < options.beams)
    score = found.score / (state.turn + 1) ** options.length_penalty
    score = score + ~joins * OUT + ~state.open[:, None] * OUT
    both, has = state.ended.beside(found._replace(score=score)), jnp.concatenate([state.has_ended, joins], axis=1)
    _, index = jax.lax.top_k(both.score, options.beams)
    return both.take(index), jnp.take_along_axis(has, index, axis=1)
