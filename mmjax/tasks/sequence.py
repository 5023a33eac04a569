"""A prompt and the text behind it as one row of tokens, and which token is learnt where."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from mmjax.batch import Stream


class Sequence(NamedTuple):
    """Rows of prompt and text; each is padded on its own, so padding may lie in the middle.

    Attributes:
      ids: token ids, 0 where not real.
      mask: which of them are real.
      free: which are read by all tokens, those before them too.
      learnt: which tokens are to be predicted.
      before: places before the text, the prompt's.
    """

    ids: Int[Array, "b n"]
    mask: Bool[Array, "b n"]
    free: Bool[Array, "b n"]
    learnt: Bool[Array, "b n"]
    before: int


def sequence(
    valid: Bool[Array, " b"], prompt: Stream | None, text: Stream | None, begin: int | None, free_prompt: bool = False
) -> Sequence:
    """Prompt and text of each row.

    Args:
      prompt: None for none.
      text: None for no more of it than the token that begins it.
      begin: the token that begins every text and is not learnt; None where its first token is.
      free_prompt: whether the prompt is read by all tokens.
    """
    nothing = (jnp.zeros((len(valid), 0), jnp.int32), jnp.zeros((len(valid), 0), bool))
    first = nothing if prompt is None else _real(prompt, valid)
    if text is not None:
        second = _real(text, valid)
    elif begin is not None:
        second = (jnp.full((len(valid), 1), begin, jnp.int32), valid[:, None])
    else:
        second = nothing
    ids, mask = (jnp.concatenate(pair, axis=1) for pair in zip(first, second, strict=True))
    before, places = first[0].shape[1], jnp.arange(ids.shape[1])
    learnt = mask & (places >= before + (begin is not None))
    return Sequence(ids, mask, mask & (places < before) & free_prompt, learnt, before)


def shifted(row: Sequence) -> tuple[Int[Array, "b m"], Int[Array, "b m"], Bool[Array, "b m"]]:
    """Places that each token of the text is predicted from, the tokens, and which of them are learnt.

    The place is that of the last real token before. A first token with nothing before it is left out.
    """
    places = jnp.arange(row.ids.shape[1], dtype=jnp.int32)
    last = jax.lax.cummax(jnp.where(row.mask, places, 0), axis=1)
    start = max(row.before, 1)
    return last[:, start - 1 : -1], row.ids[:, start:], row.learnt[:, start:]


def _real(stream: Stream, valid: Bool[Array, " b"]) -> tuple[Int[Array, "b n"], Bool[Array, "b n"]]:
    """Ids of a stream where rows and places are real, zeros elsewhere."""
    there = (jnp.asarray(stream.present) & valid)[:, None]
    mask = jnp.broadcast_to(there if stream.mask is None else there & stream.mask, stream.data.shape)
    return jnp.where(mask, stream.data, 0), mask
