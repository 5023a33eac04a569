"""Tokens handed over as they come: one compiled step, and the loop on the host."""

import dataclasses
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
from jaxtyping import Float, Int

from mmjax.decoding.check import check
from mmjax.decoding.loop import Choice, State
from mmjax.decoding.options import Decoding
from mmjax.decoding.prompt import Prompt
from mmjax.decoding.trie import Trie
from mmjax.errors import UserError

Token = tuple[Int[np.ndarray, " b"], Float[np.ndarray, " b"]]


def stream(
    step: jax.tree_util.Partial,
    prompt: Prompt,
    options: Decoding,
    eos: tuple[int, ...],
    pad: int,
    key: jax.Array,
    answers: Trie | None = None,
) -> Iterator[Token]:
    """The tokens of `decode` one by one, with their log-probabilities; it ends when every row has.

    Args:
      step: see `Step`. Its parameters are arguments of the compiled step, which is compiled once for each function:
        hand in the same one each time.
      prompt: given away: its cache is changed in place.

    Raises:
      UserError: beams, which know their tokens only at the end; or see `decode`.
    """
    if options.beams > 1:
        raise UserError(f"decoding.beams={options.beams}: beams cannot be streamed; set it to 1")
    check(options, prompt, answers)
    return _stream(step, prompt, Choice(key, answers, options, eos, pad))


def _stream(step: jax.tree_util.Partial, prompt: Prompt, choice: Choice) -> Iterator[Token]:
    state = _first(choice, dataclasses.replace(prompt, cache=None))._replace(cache=prompt.cache)
    for turn in range(1, choice.options.length + 1):
        yield np.array(state.chosen), np.array(state.logprob)  # copies, for the next step takes the arrays
        if turn == choice.options.length or bool(state.done.all()):
            return
        state = _advance(choice, step, state)


_first = jax.jit(Choice.first)


@partial(jax.jit, donate_argnums=2)
def _advance(choice: Choice, step: jax.tree_util.Partial, state: State) -> State:
    return choice.advance(step, state)
