"""One token after the other on the device: greedily, or drawn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.decoding.logits import pick, processed
from mmjax.decoding.options import Decoding

Step = Callable[[Int[Array, " b"], Any], tuple[Float[Array, "b v"], Any]]


class Generated(NamedTuple):
    """What came out.

    Attributes:
      ids: new tokens; padding behind the one that ends a row.
      mask: which of them are real, the end included.
      logprobs: of each under the model's own distribution, before any rule or temperature; 0 for padding.
    """

    ids: Int[Array, "b n"]
    mask: Bool[Array, "b n"]
    logprobs: Float[Array, "b n"]


class _State(NamedTuple):
    turn: Int[Array, ""]
    logits: Float[Array, "b v"]
    cache: Any
    held: Int[Array, "b m"]
    real: Bool[Array, "b m"]
    logprobs: Float[Array, "b n"]
    done: Bool[Array, " b"]


def generate(
    step: Step,
    logits: Float[Array, "b v"],
    cache: Any,
    prompt: Int[Array, "b p"],
    mask: Bool[Array, "b p"],
    options: Decoding,
    eos: tuple[int, ...],
    pad: int,
    key: jax.Array,
) -> Generated:
    """Goes on from a prompt until every row has ended or holds `options.length` new tokens.

    Args:
      step: one more token of each row to the logits behind it, see `Decoder.step`.
      logits, cache: after the prompt, see `Decoder.prefill`.
      prompt, mask: what the rules that look back see; prompts may differ in length.
      eos: ids that end a row.
      pad: id behind it.
    """
    rows, first = prompt.shape
    ends = jnp.asarray(eos, jnp.int32)

    def going(state: _State) -> jax.Array:
        return (state.turn < options.length) & ~state.done.all()

    def more(state: _State) -> _State:
        at = first + state.turn
        chosen = pick(processed(state.logits, state.held, state.real, options), options, jax.random.fold_in(key, at))
        chosen = jnp.where(state.done, pad, chosen)
        logprob = jnp.take_along_axis(jax.nn.log_softmax(state.logits, axis=-1), chosen[:, None], axis=1)[:, 0]
        done = state.done | (chosen[:, None] == ends).any(axis=1)
        logits, cache = step(chosen, state.cache)
        return _State(
            state.turn + 1,
            logits,
            cache,
            state.held.at[:, at].set(chosen),
            state.real.at[:, at].set(~state.done),
            state.logprobs.at[:, state.turn].set(jnp.where(state.done, 0.0, logprob)),
            done,
        )

    held = jnp.concatenate([prompt, jnp.full((rows, options.length), pad, prompt.dtype)], axis=1)
    real = jnp.concatenate([mask, jnp.zeros((rows, options.length), bool)], axis=1)
    start = _State(jnp.int32(0), logits, cache, held, real, jnp.zeros((rows, options.length)), jnp.zeros(rows, bool))
    end = jax.lax.while_loop(going, more, start)
    return Generated(end.held[:, first:], end.real[:, first:], end.logprobs)
