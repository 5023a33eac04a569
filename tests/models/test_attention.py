"""Attention equals a float64 loop over queries, masks included; what reads nothing is zero, forwards and backwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.mesh import MeshShape, make_mesh
from mmjax.models import attention
from mmjax.models.attention import Attention, attend, attention_weights, choose
from tests.models import references
from tests.models.references import draw_params, error

HEADS = 2
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 0]], bool)


@pytest.fixture
def x():
    return jnp.float32(np.random.default_rng(0).normal(size=(3, 5, 8)))


def run(x, mask=None, context=None, **options):
    module = Attention(HEADS, **options)
    params = draw_params(module, x, context)
    return module.apply({"params": params}, x, context, mask=None if mask is None else jnp.asarray(mask)), params


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_equals_the_definition(x, causal, mask, qk_norm):
    out, params = run(x, mask, causal=causal, qk_norm=qk_norm)
    reference = references.attention(params, x, HEADS, mask, causal, qk_norm=qk_norm)
    assert error(out, reference) < 1e-5


@pytest.mark.parametrize("mutant", [{"causal": True}, {"mask": None}, {"mask": ~MASK}, {"scaled": False}])
def test_the_reference_rejects_wrong_variants(x, mutant):
    out, params = run(x, MASK)
    assert error(out, references.attention(params, x, HEADS, **{"mask": MASK} | mutant)) > 1e-2


def test_cross_attention_reads_the_context(x):
    context = jnp.float32(np.random.default_rng(1).normal(size=(3, 7, 8)))
    mask = np.random.default_rng(2).random((3, 7)) < 0.6
    out, params = run(x, mask, context)
    assert error(out, references.attention(params, x, HEADS, mask, context=context)) < 1e-5


def test_biases_are_a_choice(x):
    _, params = run(x, qkv_bias=False, bias=True)
    assert {name: "bias" in p for name, p in params.items()} == dict(query=False, key=False, value=False, out=True)
    _, params = run(x, qkv_bias=True, bias=False)
    assert {name: "bias" in p for name, p in params.items()} == dict(query=True, key=True, value=True, out=False)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
def test_a_row_that_reads_nothing_is_zero_and_its_gradient_finite(dtype, causal):
    q, k, v = (jax.random.normal(key, (2, 4, 2, 8), dtype) for key in jax.random.split(jax.random.key(0), 3))
    mask = jnp.asarray([[0, 0, 0, 0], [0, 1, 1, 0]], bool)
    grads = jax.grad(lambda *x: attend(*x, mask, causal).astype(jnp.float32).sum(), argnums=(0, 1, 2))(q, k, v)
    out = attend(q, k, v, mask, causal)
    assert np.isfinite(np.float32(out)).all() and not np.float32(out[0]).any()
    assert all(np.isfinite(np.float32(g)).all() and not np.float32(g[0]).any() for g in grads)
    # With a causal mask the second row's first query has only padding before it.
    assert bool(np.float32(out[1, 0]).any()) != causal


def test_masked_keys_pass_nothing_on(x):
    out, params = run(x, MASK)
    spoiled = jnp.where(MASK[..., None], x, 100.0)
    again = Attention(HEADS).apply({"params": params}, spoiled, mask=jnp.asarray(MASK))
    np.testing.assert_allclose(again[MASK], out[MASK], rtol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_sown_weights_are_those_that_attend_uses(causal):
    q, k, v = (jax.random.normal(key, (3, 5, 2, 8)) for key in jax.random.split(jax.random.key(0), 3))
    weights = attention_weights(q, k, jnp.asarray(MASK), causal)
    np.testing.assert_allclose(
        jnp.einsum("bhnm,bmhd->bnhd", weights, v), attend(q, k, v, jnp.asarray(MASK), causal), atol=1e-5
    )


def test_weights_are_sown_only_when_asked_for(x):
    module = Attention(HEADS)
    variables = module.init(jax.random.key(0), x)
    assert set(variables) == {"params"}
    _, state = module.apply(variables, x, mutable=["intermediates"])
    assert state["intermediates"]["weights"][0].shape == (3, HEADS, 5, 5)


def test_auto_takes_a_kernel_only_where_it_runs(monkeypatch):
    def chosen(query, mask=None, implementation="auto"):
        return choose(implementation, query, query, mask)

    half = jnp.zeros((1, 5, 2, 64), jnp.bfloat16)
    odd, even = jnp.ones((1, 5), bool), jnp.ones((1, 6), bool)
    assert chosen(half) == "xla"  # the tests run on a CPU
    monkeypatch.setattr(attention, "platform", lambda: "tpu")
    assert chosen(half) == chosen(half, odd) == "fused"
    assert chosen(half.astype(jnp.float32)) == "xla"
    monkeypatch.setattr(attention, "platform", lambda: "gpu")
    assert chosen(half) == "cudnn"
    assert chosen(half, odd) == "xla"
    assert chosen(jnp.zeros((1, 6, 2, 64), jnp.bfloat16), even) == "cudnn"
    assert chosen(half.astype(jnp.float32)) == "xla"
    assert chosen(jnp.zeros((1, 5, 2, 20), jnp.bfloat16)) == "xla"
    assert chosen(half[:, :1]) == "xla"  # one query has nothing to fuse
    assert chosen(half, None, "xla") == "xla"


def test_heads_must_divide_the_width(x):
    with pytest.raises(ValueError, match="width 8 does not divide into 3 heads"):
        Attention(3).init(jax.random.key(0), x)


def test_norms_of_heads_gather_nothing_over_a_tensor_axis(x):
    """Rows and heads are split over axes of their own; the gradient of a norm's scale sums over both."""
    mesh = make_mesh(MeshShape(data=2, tensor=2), jax.devices()[:4])
    x = jnp.tile(x[:2], (2, 1, 4))
    module = Attention(4, qk_norm=True)
    params = draw_params(module, x)

    def split(name):
        return {"query": (None, "tensor"), "key": (None, "tensor"), "value": (None, "tensor"), "out": ("tensor",)}[name]

    def place(path, leaf):
        kernel = path[-1].key == "kernel"
        return jax.device_put(leaf, jax.NamedSharding(mesh, jax.P(*split(path[0].key)) if kernel else jax.P()))

    params = jax.tree_util.tree_map_with_path(place, params)
    x = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    with jax.set_mesh(mesh):
        grad = jax.jit(jax.grad(lambda p, x: (module.apply({"params": p}, x) ** 2).sum()))
        text = grad.lower(params, x).compile().as_text()
    assert "all-reduce" in text and "all-gather" not in text
