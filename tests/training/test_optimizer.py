"""Every update rule learns; decay, factors, freezing, clamps and schedules do what they say and refuse mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.errors import UserError
from mmjax.training import optimizer as opt
from mmjax.training import tree
from mmjax.training.schedule import schedule


@pytest.fixture
def params():
    key = jax.random.key(0)
    return {
        "image": {
            "kernel": jax.random.normal(key, (6, 4)),
            "bias": jnp.zeros(4),
            "blocks": {"scale": jnp.ones((2, 4))},
        },
        "text": {"embedding": jax.random.normal(key, (5, 4))},
        "scale": jnp.asarray(2.0),
    }


def run(options, params, steps=60, gradient=None):
    tx = opt.transformation(options, params)
    state = tx.init(opt.trained(options, params))
    # Towards 3, so that there is always something to learn.
    gradient = gradient or jax.grad(lambda p: sum(jnp.sum((x - 3.0) ** 2) for x in jax.tree.leaves(p)))
    for step in range(steps):
        learning, gradients = (opt.trained(options, x) for x in (params, gradient(params)))
        updates, state = tx.update(gradients, state, learning)
        updates = jax.tree.map(lambda u: -options.rate(steps)(step) * u, updates)  # noqa: B023
        params = tree.overlay(params, opt.clamp(options, optax.apply_updates(learning, updates)))
    return params


def distance(params):
    return float(sum(jnp.sum((x - 3.0) ** 2) for x in jax.tree.leaves(params)))


@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor", "muon", "sgd"])
def test_every_rule_learns(params, name):
    rate = {"sgd": 0.02, "muon": 1.0}.get(name, 0.2)
    after = run(opt.Optimizer(name=name, learning_rate=rate, clip=0.0), params)
    assert distance(after) < 0.2 * distance(params)


def test_adamw_equals_optax(params):
    options = opt.Optimizer(learning_rate=0.1, schedule="constant", warmup=0.0, weight_decay=0.1, decay=("",), clip=0.0)
    tx = optax.adamw(0.1, 0.9, 0.98, weight_decay=0.1)
    state, expected = tx.init(params), params
    grads = jax.tree.map(lambda p: p - 3.0, params)
    for _ in range(3):
        updates, state = tx.update(grads, state, expected)
        expected = optax.apply_updates(expected, updates)
    actual = run(options, params, 3, gradient=lambda _: grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), actual, expected)


def test_only_matrices_decay(params):
    options = opt.Optimizer(learning_rate=0.1, weight_decay=0.5, clip=0.0, clamp=())
    after = run(options, params, 10, gradient=lambda p: jax.tree.map(jnp.zeros_like, p))
    leaves = zip(tree.names(params), jax.tree.leaves(params), jax.tree.leaves(after), strict=True)
    assert {name for name, old, new in leaves if (old != new).any()} == {"image/kernel", "text/embedding"}


def test_frozen_parameters_stay_and_cost_no_moments(params):
    options = opt.Optimizer(learning_rate=0.1, freeze=("^image/",), weight_decay=0.1)
    after = run(options, params)
    jax.tree.map(np.testing.assert_array_equal, after["image"], params["image"])
    assert (after["text"]["embedding"] != params["text"]["embedding"]).all()
    state = opt.transformation(options, params).init(opt.trained(options, params))
    assert [x for x in jax.tree.leaves(state) if x.shape == (6, 4)] == []


def test_groups_multiply_the_learning_rate(params):
    common = {"learning_rate": 1e-3, "schedule": "constant", "warmup": 0.0, "clip": 0.0, "clamp": ()}
    whole = run(opt.Optimizer(**common), params, 1)
    tenth = run(opt.Optimizer(**common, groups=(("^image/", 0.1), ("", 1.0))), params, 1)
    step = lambda a: a["image"]["kernel"] - params["image"]["kernel"]  # noqa: E731
    np.testing.assert_allclose(step(tenth), 0.1 * step(whole), rtol=1e-3)
    np.testing.assert_array_equal(tenth["text"]["embedding"], whole["text"]["embedding"])


def test_the_scale_is_clamped_after_the_update(params):
    upwards = lambda p: jax.tree.map(lambda x: -jnp.ones_like(x), p)  # noqa: E731
    after = run(opt.Optimizer(learning_rate=1.0), params, 20, gradient=upwards)
    assert float(after["scale"]) == pytest.approx(np.log(100), abs=1e-4)
    assert float(jnp.max(after["image"]["blocks"]["scale"])) > 5  # a norm's scale is another parameter


@pytest.mark.parametrize(
    "rules",
    [{"freeze": ("imgae",)}, {"groups": (("imgae", 0.1),)}, {"decay": ("kernl",)}, {"clamp": (("tau", 0.0, 1.0),)}],
)
def test_a_rule_that_chooses_nothing_is_refused(params, rules):
    with pytest.raises(UserError, match="matches no parameter"):
        opt.transformation(opt.Optimizer(learning_rate=1.0, **rules), params)


def test_a_broken_pattern_is_refused(params):
    with pytest.raises(UserError, match="no regular expression"):
        opt.transformation(opt.Optimizer(learning_rate=1.0, freeze=("(",)), params)


def test_an_optimizer_that_freezes_everything_is_refused(params):
    with pytest.raises(UserError, match=r"optimizer.freeze: '\.\*' freezes every parameter, so nothing would train"):
        opt.transformation(opt.Optimizer(learning_rate=1.0, freeze=(".*",)), params)


def test_cosine_warms_up_and_falls():
    fn = schedule("cosine", 1.0, 100, 10.0, 0.0, 0.1)
    values = [float(fn(s)) for s in range(100)]
    assert values[0] == pytest.approx(0.1) and values[9] == pytest.approx(1.0)
    assert max(values) == pytest.approx(1.0) and values[99] == pytest.approx(0.1, abs=1e-2)


def test_rsqrt_and_constant_cool_down_to_the_floor():
    for kind in ("rsqrt", "constant"):
        fn = schedule(kind, 1.0, 100, 0.1, 0.2, 0.0)
        assert float(fn(80)) > 0.3
        assert float(fn(90)) == pytest.approx(float(fn(80)) / 2, rel=0.1)
        assert float(fn(100)) == pytest.approx(0.0, abs=1e-6)
    rsqrt = schedule("rsqrt", 1.0, 1000, 10.0, 0.0, 0.0)
    assert float(rsqrt(10 + 30)) == pytest.approx(0.5)  # sqrt(10 / (30 + 10))


def test_warmup_longer_than_the_run_is_refused():
    with pytest.raises(UserError, match="longer than the run"):
        schedule("cosine", 1.0, 10, 20.0, 0.0, 0.0)
