"""The TPU kernel, run as plain JAX: the values and the gradients of attention by XLA, on one device and on eight."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.mesh import MeshShape, make_mesh
from mmjax.models import fused_attention as fused
from mmjax.models.attention import attend

MASK = np.array([[1, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]], bool)


def draw(queries=5, keys=7, heads=4, dim=8, rows=4, dtype=jnp.float32):
    shapes = [
        (rows, queries, heads, dim),
        (rows, keys, heads, dim),
        (rows, keys, heads, dim),
        (rows, queries, heads, dim),
    ]
    return [
        jax.random.normal(key, s, dtype) for key, s in zip(jax.random.split(jax.random.key(0), 4), shapes, strict=True)
    ]


def value_and_grads(implementation, q, k, v, pull, mask=None, causal=False):
    function = lambda *x: attend(*x, mask=mask, causal=causal, implementation=implementation)  # noqa: E731
    out, back = jax.vjp(function, q, k, v)
    return out, *back(pull)


def largest_difference(ours, theirs):
    """Over all arrays, of the largest value of each."""
    pairs = [(np.float64(a), np.float64(b)) for a, b in zip(ours, theirs, strict=True)]
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("shape", [{}, {"queries": 7}, {"queries": 2, "heads": 1, "dim": 16}, {"heads": 3, "dim": 72}])
def test_values_and_gradients_are_those_of_xla(shape, mask, causal):
    arrays, mask = draw(**shape), None if mask is None else jnp.asarray(mask)
    ours = value_and_grads("fused", *arrays, mask, causal)
    assert largest_difference(ours, value_and_grads("xla", *arrays, mask, causal)) < 2e-6


@pytest.mark.parametrize("mutant", [{"causal": True}, {"mask": None}, {"mask": jnp.asarray(~MASK)}])
def test_another_mask_is_rejected(mutant):
    arrays, right = draw(), {"mask": jnp.asarray(MASK), "causal": False}
    theirs = value_and_grads("xla", *arrays, **right | mutant)
    assert largest_difference(value_and_grads("fused", *arrays, **right), theirs) > 1e-2


@pytest.mark.parametrize("mutant", ["no scale", "no mean taken off"])
def test_a_wrong_kernel_is_rejected(mutant, monkeypatch):
    if mutant == "no scale":
        monkeypatch.setattr(fused, "_weights", lambda options, *x: weights(options._replace(dim=1), *x))
    else:
        monkeypatch.setattr(fused, "_mean", lambda weights, values: 0.0)
    arrays = draw(queries=6)
    ours = value_and_grads("fused", *arrays)
    assert all(np.isfinite(x).all() for x in ours)
    assert largest_difference(ours, value_and_grads("xla", *arrays)) > 1e-2


weights = fused._weights


def test_bfloat16_is_as_near_to_float32_as_xla_is():
    arrays = draw(queries=64, keys=64, dtype=jnp.bfloat16)
    exact = value_and_grads("xla", *(x.astype(jnp.float32) for x in arrays))
    theirs = largest_difference(value_and_grads("xla", *arrays), exact)
    assert largest_difference(value_and_grads("fused", *arrays), exact) < 1.5 * theirs


@pytest.mark.parametrize("shape", [MeshShape(2, 4, 1), MeshShape(2, 2, 2)])
def test_on_eight_devices_it_is_what_it_is_on_one(shape):
    arrays = draw(rows=8)
    mask = jnp.asarray(np.concatenate([MASK, ~MASK]))
    one = value_and_grads("fused", *arrays, mask)
    with jax.set_mesh(make_mesh(shape)):
        many = jax.jit(partial(value_and_grads, "fused"))(*arrays, mask)
    assert largest_difference(many, one) < 1e-6


def test_a_program_takes_as_many_heads_as_its_memory_holds():
    def group(dim, width, tokens, count):
        x = jax.ShapeDtypeStruct((1, tokens, width), jnp.bfloat16)
        return fused._group(fused.Options(dim, False, False), (x,) * count, ())

    assert group(64, 1024, 257, 4) == 1024
    assert group(64, 1024, 577, 7) == 512  # whole tiles of 128 lanes
    assert group(72, 1152, 256, 7) == 1152  # heads of 72 fill tiles only all together


def test_what_fits():
    short, long = (jnp.zeros((1, n, 2, 64), jnp.bfloat16) for n in (257, 1025))
    assert fused.fits(short, short)
    assert not fused.fits(long, long)
    assert not fused.fits(short[:, :1], short)  # one query has nothing to fuse
    assert not fused.fits(short.astype(jnp.float32), short)  # exact products are left to XLA
    wide = jnp.zeros((1, 1000, 16, 72), jnp.bfloat16)
    assert not fused.fits(wide, wide)  # no group of heads is small enough
    middle = jnp.zeros((1, 577, 16, 64), jnp.bfloat16)
    assert fused.fits(middle, middle)  # ViT-L/14 at 336 pixels
