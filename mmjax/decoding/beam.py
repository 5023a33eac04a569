"""Beam search on the device, with the rules of `transformers`: a row's beams compete, those that end leave the race."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.decoding.logits import processed
from mmjax.decoding.options import Decoding
from mmjax.decoding.prompt import Generated, Prompt, Step, Take
from mmjax.decoding.trie import Trie

OUT = -1.0e9  # score of what is out of the race


class _Beams(NamedTuple):
    """Continuations of every row: new tokens, log-probabilities of each, their score, and the place among answers."""

    ids: Int[Array, "b k n"]
    logprobs: Float[Array, "b k n"]
    score: Float[Array, "b k"]
    node: Int[Array, "b k"]

    def take(self, index: Int[Array, "b j"]) -> "_Beams":
        return jax.tree.map(
            lambda a: jnp.take_along_axis(a, index.reshape(*index.shape, *(1,) * (a.ndim - 2)), 1), self
        )

    def beside(self, other: "_Beams") -> "_Beams":
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), self, other)


class _State(NamedTuple):
    turn: Int[Array, ""]
    cache: Any
    parents: Int[Array, "b k"]  # whose cache each of the running ones goes on from
    running: _Beams
    ended: _Beams
    has_ended: Bool[Array, "b k"]
    open: Bool[Array, " b"]  # whether something that still runs could beat what has ended


@dataclasses.dataclass(frozen=True)
class Race:
    """The search for the best continuation of every row; attributes as the arguments of `decode`."""

    options: Decoding
    eos: tuple[int, ...]
    pad: int
    answers: Trie | None

    def run(self, step: Step, take: Take, prompt: Prompt) -> Generated:
        """The best continuation of every row, and its score."""

        def going(state: _State) -> jax.Array:
            return (state.turn < self.options.length) & state.open.any()

        def more(state: _State) -> _State:
            last = state.running.ids[:, :, state.turn - 1]
            logits, cache = step(last.reshape(-1), take(state.cache, state.parents))
            return self._choose(state._replace(cache=cache), logits, prompt)

        start = self._start(take, prompt)
        logits = jnp.repeat(prompt.logits, self.options.beams, axis=0)
        return self._best(jax.lax.while_loop(going, more, self._choose(start, logits, prompt)).ended)

    def _start(self, take: Take, prompt: Prompt) -> _State:
        rows, beams, length = len(prompt.ids), self.options.beams, self.options.length
        none = jnp.zeros((rows, beams), jnp.int32)
        out = jnp.full((rows, beams), OUT)
        blank = _Beams(
            jnp.full((rows, beams, length), self.pad, jnp.int32), jnp.zeros((rows, beams, length)), out, none
        )
        first = blank._replace(score=out.at[:, 0].set(0.0))  # the beams are alike yet: one of them runs
        cache = take(prompt.cache, none)
        return _State(jnp.int32(0), cache, none, first, blank, none > 0, jnp.ones(rows, bool))

    def _choose(self, state: _State, logits: Float[Array, "bk v"], prompt: Prompt) -> _State:
        """With one token more in every beam."""
        rows, beams = state.running.score.shape
        wide = max(2, 1 + len(self.eos)) * beams  # so many that some go on, even if the best of every beam end
        logprobs, scores = self._scores(state, logits, prompt)
        vocabulary = scores.shape[-1]
        best, flat = jax.lax.top_k((state.running.score[..., None] + scores).reshape(rows, -1), wide)
        parent, token = flat // vocabulary, (flat % vocabulary).astype(jnp.int32)
        own = jnp.take_along_axis(logprobs.reshape(rows, -1), flat, axis=1)
        found = self._written(state.running.take(parent)._replace(score=best), state.turn, token, own)
        ends = jnp.asarray(self.eos, jnp.int32)
        stops = (token[..., None] == ends).any(axis=-1) | (state.turn + 1 == self.options.length)
        ended, has_ended = self._ended(state, found, stops)
        after, index = jax.lax.top_k(best + stops * OUT, beams)
        worst = jnp.where(has_ended, ended.score.min(axis=1, keepdims=True), OUT)
        possible = after[:, :1] / (state.turn + 1) ** self.options.length_penalty
        still = state.open & (possible > worst).any(axis=1)
        running = found.take(index)._replace(score=after)
        parents = jnp.take_along_axis(parent, index, axis=1)
        return _State(state.turn + 1, state.cache, parents, running, ended, has_ended, still)

    def _scores(
        self, state: _State, logits: Float[Array, "bk v"], prompt: Prompt
    ) -> tuple[Float[Array, "b k v"], Float[Array, "b k v"]]:
        """Log-probabilities of the next token: the model's, and after the rules."""
        rows, beams, length = state.running.ids.shape
        logprobs = jax.nn.log_softmax(logits, axis=-1)
        ids, mask = (jnp.repeat(a, beams, axis=0) for a in (prompt.ids, prompt.mask))
        held = jnp.concatenate([ids, state.running.ids.reshape(-1, length)], axis=1)
        new = jnp.broadcast_to(jnp.arange(length) < state.turn, (rows * beams, length))
        scores = processed(logprobs, held, jnp.concatenate([mask, new], axis=1), self.options)
        if self.answers is not None:
            allowed = self.answers.allowed(state.running.node.reshape(-1), scores.shape[-1])
            scores = jnp.where(allowed, scores, -jnp.inf)
        return logprobs.reshape(rows, beams, -1), scores.reshape(rows, beams, -1)

    def _written(
        self, beams: _Beams, turn: Int[Array, ""], token: Int[Array, "b w"], logprob: Float[Array, "b w"]
    ) -> _Beams:
        """Beams with this token each."""
        node = beams.node
        if self.answers is not None:
            node = self.answers.next(node.reshape(-1), token.reshape(-1)).reshape(node.shape)
        ids, logprobs = beams.ids.at[:, :, turn].set(token), beams.logprobs.at[:, :, turn].set(logprob)
        return _Beams(ids, logprobs, beams.score, node)

    def _ended(self, state: _State, found: _Beams, stops: Bool[Array, "b w"]) -> tuple[_Beams, Bool[Array, "b k"]]:
        """The best that have ended so far; of the candidates of this step only the first `beams` may join."""
        joins = stops & (jnp.arange(stops.shape[1]) < self.options.beams)
        score = found.score / (state.turn + 1) ** self.options.length_penalty
        score = score + ~joins * OUT + ~state.open[:, None] * OUT
        both, has = state.ended.beside(found._replace(score=score)), jnp.concatenate([state.has_ended, joins], axis=1)
        _, index = jax.lax.top_k(both.score, self.options.beams)
        return both.take(index), jnp.take_along_axis(has, index, axis=1)

    def _best(self, ended: _Beams) -> Generated:
        ids, score = ended.ids[:, 0], ended.score[:, 0]
        stops = (ids[..., None] == jnp.asarray(self.eos, jnp.int32)).any(axis=-1)
        real = jnp.cumsum(stops, axis=1) - stops == 0  # none before it
        logprobs = jnp.where(real, ended.logprobs[:, 0], 0.0)
        return Generated(jnp.where(real, ids, self.pad), real, logprobs, score)
