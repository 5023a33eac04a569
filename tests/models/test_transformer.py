"""Blocks equal their float64 formula; loops, recomputation and segments change no number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmjax.models import transformer
from mmjax.models.transformer import Block, BlockOptions, Transformer
from tests.models import references
from tests.models.references import draw_params, error

OPTIONS = BlockOptions(heads=2, mlp_dim=24, attention="xla")
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
DEPTH = 3


@pytest.fixture
def x():
    return jnp.float32(np.random.default_rng(0).normal(size=(2, 4, 8)))


VARIANTS = [
    {},
    {"activation": "quick_gelu", "epsilon": 1e-5, "causal": True},
    {"activation": "swiglu", "norm": "rms"},
    {"layer_scale": 0.1},
    {"norm_first": False, "layer_scale": 0.1},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_block_equals_the_definition(x, variant):
    o = dataclasses.replace(OPTIONS, **variant)
    params = draw_params(Block(o), x)
    assert ("scale_mlp" in params) == (o.layer_scale is not None)
    expected = references.block(
        params, x, 2, MASK, o.causal, o.activation, o.epsilon, "pre" if o.norm_first else "post", o.norm
    )
    assert error(Block(o).apply({"params": params}, x, jnp.asarray(MASK)), expected) < 1e-5


@pytest.mark.parametrize(
    ("mutant", "small"),
    [
        ({"order": "post"}, 1.0),
        ({"activation": "gelu_tanh"}, 1.0),
        ({"activation": "quick_gelu"}, 1.0),
        ({"epsilon": 1e-5}, 1e-2),
        ({"mask": None}, 1.0),
    ],
)
def test_the_reference_rejects_wrong_variants(x, mutant, small):
    x = x * small  # an epsilon shows in small activations alone
    params = draw_params(Block(OPTIONS), x)
    out = Block(OPTIONS).apply({"params": params}, x, jnp.asarray(MASK))
    assert error(out, references.block(params, x, 2, MASK)) < 1e-5
    assert error(out, references.block(params, x, 2, **{"mask": MASK} | mutant)) > 2e-5


def make(x, **choices):
    """A stack and its parameters; those of a scanned one are the unrolled ones, stacked."""
    options = dataclasses.replace(OPTIONS, dropout=choices.pop("dropout", 0.0))
    plain = Transformer(options, DEPTH)
    params = draw_params(plain, x)
    stack = Transformer(options, DEPTH, **choices)
    made = jax.eval_shape(stack.init, jax.random.key(0), x)["params"]
    if choices.get("scan"):
        params = {"blocks": jax.tree.map(lambda *p: np.stack(p), *(params[f"blocks_{i}"] for i in range(DEPTH)))}
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, made)
    return stack, params


def value_and_gradient(stack, params, x, **arguments):
    def total(params, x):
        out = stack.apply({"params": params}, x, jnp.asarray(MASK), **arguments)
        return jnp.sum(jnp.sin(out)), out

    (_, out), (by_params, by_x) = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(params, x)
    if "blocks" in by_params:
        by_params = {f"blocks_{i}": jax.tree.map(lambda p, i=i: p[i], by_params["blocks"]) for i in range(DEPTH)}
    return out, by_params, by_x


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("remat", ["none", "full", "dots"])
def test_loops_and_recomputation_change_no_number(x, scan, remat):
    expected = value_and_gradient(*make(x), x)
    actual = value_and_gradient(*make(x, scan=scan, remat=remat), x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), actual, expected)


def test_the_comparison_tells_layers_apart(x):
    stack, params = make(x, scan=True)
    turned = jax.tree.map(lambda p: p[::-1], params)
    assert np.abs(stack.apply({"params": params}, x) - stack.apply({"params": turned}, x)).max() > 1e-2


@pytest.mark.parametrize("scan", [False, True])
def test_segments_add_up_to_the_whole(x, scan):
    stack, params = make(x, scan=scan)
    run = lambda x, first, last: stack.apply({"params": params}, x, first=first, last=last)  # noqa: E731
    np.testing.assert_allclose(run(run(run(x, 0, 1), 1, 1), 1, DEPTH), run(x, 0, DEPTH), rtol=1e-5, atol=1e-6)
    assert np.abs(run(x, 0, 1) - run(x, 1, 2)).max() > 1e-2
    with pytest.raises(ValueError, match="blocks 2 to 9 of a stack of 3"):
        run(x, 2, 9)


@pytest.mark.parametrize("scan", [False, True])
def test_initialising_by_segments_makes_every_block(x, scan):
    def by_segments(stack, x):
        return stack(stack(x, first=0, last=2), first=2)

    stack = Transformer(OPTIONS, DEPTH, scan=scan)
    whole = jax.eval_shape(stack.init, jax.random.key(0), x)
    assert jax.eval_shape(lambda: stack.init(jax.random.key(0), x, method=by_segments)) == whole


@pytest.mark.parametrize("scan", [False, True])
def test_layers_of_a_loop_start_and_drop_differently(x, scan):
    stack = Transformer(dataclasses.replace(OPTIONS, dropout=0.5), DEPTH, drop_path=0.5, scan=scan)
    params = stack.init(jax.random.key(0), x)["params"]
    if scan:
        kernel = params["blocks"]["mlp"]["up"]["kernel"]
        assert np.abs(kernel[0] - kernel[1]).max() > 1e-2
    run = lambda key: stack.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(key)})  # noqa: E731
    assert (run(1) == run(1)).all() and not (run(1) == run(2)).all()
    np.testing.assert_array_equal(stack.apply({"params": params}, x), stack.apply({"params": params}, x))


def test_drop_path_grows_from_none_at_the_first_block(x):
    rows = jnp.repeat(x[:1], 200, axis=0)
    stack = Transformer(OPTIONS, 2, drop_path=0.9)
    params = stack.init(jax.random.key(0), rows)["params"]
    rngs = {"dropout": jax.random.key(0)}
    first = stack.apply({"params": params}, rows, last=1, train=True, rngs=rngs)
    np.testing.assert_allclose(first, stack.apply({"params": params}, rows, last=1), rtol=1e-6)
    both = stack.apply({"params": params}, rows, train=True, rngs=rngs)
    untouched = np.abs(both - first).max(axis=(1, 2)) == 0
    assert 0.7 < untouched.mean() < 0.9  # both branches dropped: 0.81


def test_attention_weights_of_every_layer_can_be_had_from_a_loop(x):
    stack, params = make(x, scan=True)
    _, state = stack.apply({"params": params}, x, mutable=["intermediates"])
    weights = state["intermediates"]["blocks"]["attention"]["weights"][0]
    assert weights.shape == (DEPTH, 2, 2, 4, 4)


def largest_fusion(depth, x):
    """Instructions of the largest loop that XLA makes of the gradients of a stack."""
    stack = Transformer(OPTIONS, depth)
    params = draw_params(stack, x)

    def loss(params, x):
        return (stack.apply({"params": params}, x) ** 2).sum()

    text = jax.jit(jax.grad(loss)).lower(params, x).compile().as_text()
    return max(len(part.splitlines()) for part in text.split("\n\n") if "fused_computation" in part.split("(")[0])


def test_a_cpu_computes_the_sum_of_later_branches_once(x, monkeypatch):
    """And not anew for each that reads it, which grows with the square of the depth: what flax's norm came to."""
    x = jnp.tile(x, (1, 8, 4))
    assert largest_fusion(10, x) <= 1.2 * largest_fusion(5, x)
    flax_norm = lambda kind, epsilon, name: nn.LayerNorm(epsilon, use_fast_variance=False, name=name)  # noqa: E731
    monkeypatch.setattr(transformer, "Norm", flax_norm)
    assert largest_fusion(10, x) > 1.5 * largest_fusion(5, x)
