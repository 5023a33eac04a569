"""One token after the other on the device: greedily, or drawn."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from mmjax.decoding.logits import pick, processed
from mmjax.decoding.options import Decoding
from mmjax.decoding.prompt import Generated, Prompt, Step
from mmjax.decoding.trie import Trie


class State(NamedTuple):
    """Between two tokens.

    Attributes:
      turn: how many have been chosen.
      chosen, logprob: the last of them, and its log-probability; padding and 0 in a row that has ended before.
      held, real: prompt and new tokens, and which are real.
      done: rows that have ended.
      node: where each row is among the answers.
    """

    turn: Int[Array, ""]
    chosen: Int[Array, " b"]
    logprob: Float[Array, " b"]
    cache: Any
    held: Int[Array, "b m"]
    real: Bool[Array, "b m"]
    logprobs: Float[Array, "b n"]
    done: Bool[Array, " b"]
    node: Int[Array, " b"]


@struct.dataclass
class Choice:
    """How the next token of each row is chosen; arguments as of `decode`."""

    key: jax.Array
    answers: Trie | None
    options: Decoding = struct.field(pytree_node=False)
    eos: tuple[int, ...] = struct.field(pytree_node=False)
    pad: int = struct.field(pytree_node=False)

    def first(self, prompt: Prompt) -> State:
        """With the first token chosen, which needs no step."""
        rows, length = len(prompt.ids), self.options.length
        none = jnp.zeros(rows, jnp.int32)
        state = State(
            jnp.int32(0),
            none,
            jnp.zeros(rows),
            prompt.cache,
            jnp.concatenate([prompt.ids, jnp.full((rows, length), self.pad, prompt.ids.dtype)], axis=1),
            jnp.concatenate([prompt.mask, jnp.zeros((rows, length), bool)], axis=1),
            jnp.zeros((rows, length)),
            jnp.zeros(rows, bool),
            none,
        )
        return self.next(state, prompt.logits)

    def next(self, state: State, logits: Float[Array, "b v"]) -> State:
        """With one token more."""
        at = state.held.shape[1] - self.options.length + state.turn
        scores = processed(logits, state.held, state.real, self.options)
        if self.answers is not None:
            scores = jnp.where(self.answers.allowed(state.node, scores.shape[-1]), scores, -jnp.inf)
        token = pick(scores, self.options, jax.random.fold_in(self.key, at))
        node = state.node if self.answers is None else self.answers.next(state.node, token)
        chosen = jnp.where(state.done, self.pad, token)
        logprob = jnp.take_along_axis(logits, chosen[:, None], axis=1)[:, 0] - jax.nn.logsumexp(logits, axis=-1)
        logprob = jnp.where(state.done, 0.0, logprob)
        ends = (chosen[:, None] == jnp.asarray(self.eos, jnp.int32)).any(axis=1)
        return State(
            state.turn + 1,
            chosen,
            logprob,
            state.cache,
            state.held.at[:, at].set(chosen),
            state.real.at[:, at].set(~state.done),
            state.logprobs.at[:, state.turn].set(logprob),
            state.done | ends,
            node,
        )

    def advance(self, step: Step, state: State) -> State:
        """One step, and the token that follows from it."""
        logits, cache = step(state.chosen, state.cache)
        return self.next(state._replace(cache=cache), logits)


def generate(step: Step, prompt: Prompt, choice: Choice) -> Generated:
    """Goes on from a prompt until every row has ended or holds `options.length` new tokens."""

    def going(state: State) -> jax.Array:
        return (state.turn < choice.options.length) & ~state.done.all()

    end = jax.lax.while_loop(going, lambda state: choice.advance(step, state), choice.first(prompt))
    before = prompt.ids.shape[1]
    return Generated(end.held[:, before:], end.real[:, before:], end.logprobs, end.logprobs.sum(axis=1))
