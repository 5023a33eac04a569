"""Gradients that are written down here and not derived: those of the formula in float64, from fewer arrays kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.models import activations, attention, norms
from tests.models.references import error

RNG = np.random.default_rng(0)
X = np.float32(RNG.normal(size=(6, 32)) * np.float32([[0.3], [0.5], [1], [1], [2], [3]]) + 0.3)
SCALE, BIAS, WEIGHTS = (np.float32(RNG.normal(size=size)) for size in (32, 32, (6, 32)))


def plain_layer_norm(x, scale, bias):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * scale + bias


def plain_rms_norm(x, scale):
    return x / jnp.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * scale


def plain_gelu(x):
    return x * (0.5 + 0.5 * jax.lax.erf(x / 2**0.5))


def plain_softmax(x):
    return jnp.exp(x) / jnp.exp(x).sum(axis=-1, keepdims=True)


CASES = {
    "layer_norm": (lambda *a: norms.layer_norm(1e-6, *a), plain_layer_norm, (X, SCALE, BIAS)),
    "rms_norm": (lambda *a: norms.rms_norm(1e-6, *a), plain_rms_norm, (X, SCALE)),
    "gelu": (activations.gelu, plain_gelu, (X,)),
    "softmax": (attention.softmax, plain_softmax, (X,)),
}
# What a slip of the pen would give: a term left out, another form.
MUTANTS = {
    "layer_norm": lambda x, s, b: plain_layer_norm(x, s, b) * (1 + x.std() - jax.lax.stop_gradient(x.std())),
    "rms_norm": lambda x, s: x / jax.lax.stop_gradient(jnp.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)) * s,
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "softmax": lambda x: jnp.exp(x) / jax.lax.stop_gradient(jnp.exp(x).sum(axis=-1, keepdims=True)),
}


def gradients(function, inputs, dtype):
    inputs = [jnp.asarray(x, dtype) for x in inputs]
    loss = lambda *a: (function(*a) * jnp.asarray(WEIGHTS, dtype)).sum()  # noqa: E731
    return jax.jit(jax.value_and_grad(loss, argnums=tuple(range(len(inputs)))))(*inputs)


def deviation(function, reference, inputs):
    """The largest of all gradients and of the value."""
    value, ours = gradients(function, inputs, jnp.float32)
    with jax.enable_x64(True):
        expected, theirs = gradients(reference, inputs, jnp.float64)
    pairs = [(np.float64(value), np.float64(expected)), *zip(ours, map(np.float64, theirs), strict=True)]
    return max(error(one, other) for one, other in pairs)


@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_formula_in_float64(name):
    ours, plain, inputs = CASES[name]
    assert deviation(ours, plain, inputs) < 1e-5
    assert deviation(ours, MUTANTS[name], inputs) > 1e-4


@pytest.mark.parametrize("name", CASES)
def test_fewer_arrays_are_kept_than_jax_would(name):
    ours, plain, inputs = CASES[name]
    arrays = [jnp.asarray(x) for x in inputs]
    kept, derived = (sum(x.nbytes for x in jax.tree.leaves(jax.vjp(f, *arrays)[1])) for f in (ours, plain))
    assert kept <= X.nbytes + 2 * X[:, :1].nbytes + SCALE.nbytes < derived


def test_half_precision_is_computed_in_float32():
    """Which the same formulas in bfloat16 are far from."""
    x = jnp.asarray(X, jnp.bfloat16)
    exact = activations.gelu(x.astype(jnp.float32)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(activations.gelu(x), exact)
    half = {name: [jnp.asarray(a, jnp.bfloat16) for a in CASES[name][2]] for name in ("layer_norm", "rms_norm", "gelu")}
    for name, inputs in half.items():
        ours, plain, _ = CASES[name]
        wide, deviations = [a.astype(jnp.float32) for a in inputs], []
        expected = jax.grad(lambda *a, f=plain: (f(*a) * WEIGHTS).sum())(*wide)
        for function in (ours, plain):
            gradient = jax.grad(lambda *a, f=function: (f(*a) * WEIGHTS).sum())(inputs[0], *wide[1:])
            assert gradient.dtype == jnp.bfloat16
            deviations.append(error(gradient, np.float64(expected)))
        assert deviations[0] < 2**-8 and deviations[0] < deviations[1], name
