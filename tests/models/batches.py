"""Small batches of noise."""

import jax.numpy as jnp
import numpy as np

from mmjax.batch import Batch, Stream

EOS = 2


def images(rows=4, size=16, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, size, size, 3))
    return Stream(jnp.asarray(pixels, jnp.uint8), jnp.ones(rows, bool))


def texts(lengths=(6, 4, 2, 1), longest=6, vocabulary=20, seed=0):
    """Ids above `EOS`, then one `EOS` as the last real token, then zeros."""
    ids = np.random.default_rng(seed).integers(EOS + 1, vocabulary, (len(lengths), longest))
    places, lengths = np.arange(longest), np.array(lengths)[:, None]
    ids = np.where(places < lengths - 1, ids, np.where(places == lengths - 1, EOS, 0))
    return Stream(jnp.asarray(ids, jnp.int32), jnp.ones(len(ids), bool), mask=jnp.asarray(places < lengths))


def pairs(rows=4):
    order = jnp.arange(rows, dtype=jnp.int32)
    return Batch({"image": images(rows), "caption": texts()}, jnp.ones(rows, bool), order, order)
