"""What may come next: logits changed by what a row holds already, in the order and the forms of `transformers`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.decoding.options import Decoding

NEVER = float("-inf")


def processed(
    logits: Float[Array, "b v"], held: Int[Array, "b m"], real: Bool[Array, "b m"], options: Decoding
) -> Float[Array, "b v"]:
    """Logits after the rules that look back.

    Args:
      held, real: ids of each row so far, and which of them count.
    """
    if options.repetition_penalty != 1.0:
        logits = penalize(logits, held, real, options.repetition_penalty)
    if options.no_repeat_ngram:
        logits = jnp.where(repeating(held, real, options.no_repeat_ngram, logits.shape[-1]), NEVER, logits)
    return logits


def penalize(
    logits: Float[Array, "b v"], held: Int[Array, "b m"], real: Bool[Array, "b m"], penalty: float
) -> Float[Array, "b v"]:
    """Less of what the row holds."""
    rows = jnp.arange(len(held))[:, None]
    seen = jnp.zeros(logits.shape, bool).at[rows, held].max(real)
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def repeating(held: Int[Array, "b m"], real: Bool[Array, "b m"], size: int, vocabulary: int) -> Bool[Array, "b v"]:
    """Which tokens would end a run of `size` tokens that the row holds already.

    Real tokens of a row need not be neighbours: they are moved together first.
    """
    order = jnp.argsort(~real, axis=1, stable=True)
    ids = jnp.take_along_axis(held, order, axis=1)
    count = real.sum(axis=1)
    places = jnp.arange(ids.shape[1])
    # Where a run of size - 1 tokens like the last ones begins.
    back = jnp.arange(size - 1)
    last = jnp.take_along_axis(ids, jnp.maximum(count[:, None] - (size - 1) + back, 0), axis=1)
    window = jnp.minimum(places[:, None] + back, ids.shape[1] - 1)
    alike = (ids[:, window] == last[:, None]).all(axis=-1)
    after = places + size - 1
    found = alike & (after < count[:, None])
    following = jnp.take(ids, jnp.minimum(after, ids.shape[1] - 1), axis=1)
    rows = jnp.arange(len(ids))[:, None]
    return jnp.zeros((len(ids), vocabulary), bool).at[rows, following].max(found)


def pick(logits: Float[Array, "b v"], options: Decoding, key: jax.Array) -> Int[Array, " b"]:
    """The token that is taken."""
    if options.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return jax.random.categorical(key, warped(logits, options)).astype(jnp.int32)


def warped(logits: Float[Array, "b v"], options: Decoding) -> Float[Array, "b v"]:
    """Logits that are drawn from: temperature, then the likeliest `top_k`, then those within `top_p`."""
    logits = logits / options.temperature
    if options.top_k:
        least = jax.lax.top_k(logits, min(options.top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < least, NEVER, logits)
    if options.top_p < 1:
        falling = jnp.sort(logits, axis=-1, descending=True)
        above = jnp.cumsum(jax.nn.softmax(falling, axis=-1), axis=-1) - jax.nn.softmax(falling, axis=-1)
        least = jnp.min(jnp.where(above < options.top_p, falling, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits < least, NEVER, logits)
    return logits
