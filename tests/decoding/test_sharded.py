"""Rows over a mesh of eight devices: the same tokens, each device holding the cache of its own rows alone."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoding import Decoding, Prompt, decode
from mmjax.mesh import MeshShape, make_mesh
from mmjax.models.cache import Cache
from tests.models.language_peers import VOCABULARY, peer

NAME, NEW = "gpt2 reading a context", 12
EOS = (5, 9, 11, 13, 17, 19, 23)
RNG = np.random.default_rng(2)
IDS = RNG.integers(24, VOCABULARY, (8, 7)).astype(np.int32)
MASK = np.arange(7) < RNG.integers(1, 8, (8, 1))
PICTURES = RNG.normal(size=(8, 5, 32)).astype(np.float32)
GIVEN = tuple(map(jnp.asarray, (IDS, MASK, PICTURES)))


def program(options):
    decoder = peer(NAME)[1]

    def run(params, ids, mask, pictures):
        across = {"context": pictures, "context_mask": pictures[..., 0] > -1}
        logits, cache = decoder.apply({"params": params}, ids, mask, 7 + NEW, **across, method="prefill")
        step = lambda ids, cache: decoder.apply({"params": params}, ids, cache, method="step")  # noqa: E731
        return decode(step, Cache.take, Prompt(logits, cache, ids, mask), options, EOS, 1, jax.random.key(0))

    return run


def compiled(options):
    """For rows that lie whole on every device: what splits them is the model."""
    mesh = make_mesh(MeshShape(data=4, fsdp=2))
    with jax.set_mesh(mesh):
        rows = jax.device_put(GIVEN, jax.NamedSharding(mesh, jax.P()))
        params = jax.tree.map(lambda p: jax.device_put(p, split(p, mesh)), peer(NAME)[2])
        return jax.jit(program(options)).lower(params, *rows).compile(), (params, *rows)


def rows_of_keys(program, options):
    """How many rows of a block's keys a device holds."""
    slots = 7 + options.beams * options.length
    return set(re.findall(rf"f32\[(\d+),\d+,{slots},8\]", program.as_text()))


@pytest.mark.parametrize("beams", [1, 3])
def test_equal_to_one_device(beams):
    options = Decoding(length=NEW, beams=beams)
    expected = jax.jit(program(options))(peer(NAME)[2], *GIVEN)
    run, given = compiled(options)
    found = run(*given)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-4)
    assert rows_of_keys(run, options) == {"1"}


def test_without_pins_every_device_would_hold_all(monkeypatch):
    monkeypatch.setattr("mmjax.models.decoder_stack.pin", lambda x: x)
    options = Decoding(length=NEW)
    assert rows_of_keys(compiled(options)[0], options) == {"8"}


def split(parameter, mesh):
    """Over `fsdp` along the first axis that divides."""
    axes = [axis for axis, size in enumerate(parameter.shape) if size % 2 == 0]
    spec = [None] * parameter.ndim
    if axes:
        spec[axes[0]] = "fsdp"
    return jax.NamedSharding(mesh, jax.P(*spec))
