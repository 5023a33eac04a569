"""Each contrastive loss equals float64 loops in value and gradient, and the loops tell right from wrong."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.losses import LOSSES
from tests.losses import references
from tests.losses.references import features

SCALE, BIAS = 10.0, -2.0
GROUPS = {"group_a": np.array([0, 1, 1, 2, 5, 3]), "group_b": np.array([1, 0, 1, 2, 3, 9, 3, 8])}
VALID = {"valid_a": np.array([1, 1, 1, 0, 1, 1], bool), "valid_b": np.array([1, 1, 1, 1, 0, 1, 1, 1], bool)}
CASES = {
    "square": (6, 6, {}),
    "extra negatives": (6, 8, {}),
    "more rows than columns": (6, 4, {}),
    "padding": (6, 8, VALID),
    "groups, rows without positives": (6, 8, GROUPS),
    "groups and padding": (6, 8, GROUPS | VALID),
}
VARIANTS = [(name, {}) for name in LOSSES] + [("triplet", {"mining": "all"}), ("margin_contrastive", {"margin": 1.5})]


def run(name, a, b, scale=SCALE, bias=BIAS, **rest):
    """Value, and gradients by both features, scale and bias."""
    rest = {key: jnp.asarray(x) if isinstance(x, np.ndarray) else x for key, x in rest.items()}
    inputs = [jnp.float32(x) for x in (a, b, scale, bias)]
    return jax.jit(jax.value_and_grad(functools.partial(LOSSES[name], **rest), argnums=(0, 1, 2, 3)))(*inputs)


def assert_close(actual, expected, rel=1e-5):
    """Relative to each array's largest entry, with a floor of 1e-3 of the largest of all."""
    floor = 1e-3 * max(np.abs(x).max() for x in expected)
    for x, y in zip(actual, expected, strict=True):
        assert np.abs(np.float64(x) - y).max() <= rel * max(np.abs(y).max(), floor)


def along_sphere(grads, a, b):
    """Without the part that would change lengths: of unit vectors, a loss of distances may say it as it likes."""
    by_a, by_b, *rest = (np.float64(g) for g in grads)
    return [by_a - (by_a * a).sum(1, keepdims=True) * a, by_b - (by_b * b).sum(1, keepdims=True) * b, *rest]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_equals_the_definition(name, options, case):
    n, m, rest = CASES[case]
    a, b = features(n, m)
    rest, reference = rest | options, getattr(references, name)
    value, grads = run(name, a, b, **rest)
    assert value.dtype == jnp.float32 and value.shape == ()
    assert value == pytest.approx(reference(a, b, SCALE, BIAS, **rest), rel=1e-5)
    expected = references.gradients(reference, [a, b, SCALE, BIAS], **rest)
    assert_close(along_sphere(grads, a, b), along_sphere(expected, a, b))


MUTANTS = [
    ("info_nce", {"ways": (False,)}),
    ("info_nce", {"inside": True}),
    ("info_nce", {"empty_rows": True}),
    ("sigmoid", {"over": "pairs"}),
    ("sigmoid", {"all_positive": True}),
    ("margin_contrastive", {"negatives": "all"}),
    ("margin_contrastive", {"square": False}),
    ("triplet", {"ways": (False,)}),
    ("triplet", {"choose": max}),
    ("triplet", {"mining": "all"}),
]


@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_the_definition_rejects_wrong_variants(name, mutant):
    n, m, rest = CASES["groups and padding"]
    a, b = features(n, m)
    options = {"margin": 1.5} if name == "margin_contrastive" else {}
    value, _ = run(name, a, b, **rest, **options)
    assert value != pytest.approx(getattr(references, name)(a, b, SCALE, BIAS, **rest, **options, **mutant), rel=1e-3)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("ignored", ["valid_a", "valid_b", "groups"])
def test_the_definition_rejects_what_ignores_an_argument(name, ignored):
    n, m, rest = CASES["groups and padding"]
    a, b = features(n, m)
    fewer = {key: x for key, x in rest.items() if key != ignored and not (ignored == "groups" and "group" in key)}
    value, _ = run(name, a, b, **fewer)
    assert value != pytest.approx(getattr(references, name)(a, b, SCALE, BIAS, **rest), rel=1e-3)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("junk", [-3.0, np.inf, np.nan])
def test_what_padding_holds_changes_nothing(name, junk):
    n, m, rest = CASES["groups and padding"]
    a, b = features(n, m)
    value, grads = run(name, a, b, **rest)
    spoiled = np.where(VALID["valid_a"][:, None], a, junk), np.where(VALID["valid_b"][:, None], b, junk)
    jax.tree.map(np.testing.assert_array_equal, run(name, *spoiled, **rest), (value, grads))
    assert not grads[0][3].any() and not grads[1][4].any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("side", ["valid_a", "valid_b"])
def test_a_batch_of_padding_alone_is_zero_with_finite_gradients(name, side):
    a, b = features(4, 4)
    value, grads = run(name, a, b, **{side: np.zeros(4, bool)})
    assert value == 0 and not any(g.any() for g in grads)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [100.0, 1000.0])
@pytest.mark.parametrize("relation", ["random", "identical", "opposite", "all alike"])
def test_large_scales_stay_exact_and_finite(name, scale, relation):
    a, b = features(8, 8)
    b = {"random": b, "identical": a, "opposite": -a, "all alike": np.broadcast_to(a[:1], a.shape)}[relation]
    a, b = np.float32(a), np.float32(b)
    value, grads = run(name, a, b, scale)
    assert all(np.isfinite(g).all() for g in grads)
    expected = getattr(references, name)(np.float64(a), np.float64(b), scale, BIAS)
    assert value == pytest.approx(expected, rel=1e-5 if scale == 100 else 1e-4, abs=1e-4)


def test_exponentials_without_a_running_maximum_would_not():
    a, b = (np.float32(x) for x in features(8, 8))
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(np.log(np.exp(100 * a @ a.T).sum(1))).all()
    assert np.isfinite(run("info_nce", a, b, 100.0)[0])


@pytest.mark.parametrize(("name", "learns"), [("info_nce", (True, False)), ("sigmoid", (True, True))])
def test_scale_and_bias_learn_where_the_loss_has_them(name, learns):
    _, (_, _, by_scale, by_bias) = run(name, *features(6, 6))
    assert (abs(by_scale) > 1e-3, abs(by_bias) > 1e-3) == learns


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_finite_where_everything_coincides(name):
    a, _ = features(6, 6)
    for same in (a, np.broadcast_to(a[:1], a.shape)):
        assert all(np.isfinite(g).all() for g in run(name, same, same)[1])


def test_soft_targets_take_the_place_of_groups():
    a, b = features(6, 8)
    target = np.random.default_rng(1).random((6, 8)) * (np.random.default_rng(2).random((6, 8)) < 0.5)
    target[4] = 0
    value, grads = run("info_nce", a, b, target=target.astype(np.float32), **VALID)
    arguments = {"target": np.float64(target.astype(np.float32)), **VALID}
    assert value == pytest.approx(references.info_nce(a, b, SCALE, BIAS, **arguments), rel=1e-5)
    assert_close(grads, references.gradients(references.info_nce, [a, b, SCALE, BIAS], **arguments))
    plain, _ = run("info_nce", a, b)
    assert run("info_nce", a, b, target=np.eye(6, 8, dtype=np.float32))[0] == pytest.approx(float(plain), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_features_are_summed_in_float32(name):
    a, b = (jnp.asarray(x, jnp.bfloat16) for x in features(6, 6))
    value = LOSSES[name](a, b, SCALE, BIAS)
    expected = getattr(references, name)(np.float64(a), np.float64(b), SCALE, BIAS)
    if name == "margin_contrastive":  # its distances are those of unit vectors, which rounding leaves by 0.4 %
        assert value == pytest.approx(expected, rel=2e-2)
    else:
        assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_all_losses_are_called_alike(name):
    parameters = inspect.signature(LOSSES[name]).parameters
    assert list(parameters)[:4] == ["a", "b", "scale", "bias"] and parameters["bias"].default is None
    keywords = {"valid_a", "valid_b", "group_a", "group_b"}
    assert keywords <= {key for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY and p.default is None}


@pytest.mark.parametrize("name", LOSSES)
def test_wrong_calls_are_refused(name):
    a, b = (jnp.float32(x) for x in features(4, 4))
    with pytest.raises(ValueError, match="group_a and group_b, or neither"):
        LOSSES[name](a, b, SCALE, group_a=jnp.arange(4))
    with pytest.raises(TypeError, match="valid_a"):
        LOSSES[name](a, b, SCALE, valid_a=jnp.ones(3, bool))
