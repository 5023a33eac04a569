"""Losses by tiles, gathered or in a ring equal a dense float64 reference in value and gradients, at any logit scale."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.losses import info_nce, sigmoid
from mmjax.losses.contrastive import blockwise, meeting
from mmjax.losses.contrastive.choose import choose, compute
from mmjax.losses.contrastive.info_nce import InfoNce, Met
from mmjax.losses.contrastive.sigmoid import Sigmoid
from mmjax.losses.contrastive.tiles import join, split, tile_size
from mmjax.mesh import MeshShape, make_mesh

N, M, WIDTH = 48, 64, 16
LOSSES = {"info_nce": info_nce, "sigmoid": sigmoid}
WAYS = {
    "tiled": ("tiled", None, 1),
    "tiled, tiles that do not divide": ("tiled", 7, 1),
    "gather 2": ("gather", None, 2),
    "gather 8": ("gather", 5, 8),
    "ring 2": ("ring", None, 2),
    "ring 8": ("ring", 4, 8),
}
KINDS = ("random", "aligned", "opposite", "identical")
SCALES = {1.0: 1e-5, 20.0: 1e-5, 100.0: 1e-5, 1000.0: 1e-4}
BIAS = -3.0


def unit_rows(rows, seed):
    x = np.random.default_rng(seed).normal(size=(rows, WIDTH))
    return np.float32(x / np.linalg.norm(x, axis=1, keepdims=True))


def features(kind):
    a, b = unit_rows(N, 0), unit_rows(M, 1)
    if kind == "identical":
        a, b = np.broadcast_to(a[:1], a.shape), np.broadcast_to(a[:1], b.shape)
    elif kind != "random":
        b = np.concatenate([a if kind == "aligned" else -a, b[N:]])
    return a, b


def marks():
    rng = np.random.default_rng(2)
    groups = np.arange(N) // 2
    return {
        "valid_a": rng.random(N) < 0.9,
        "valid_b": rng.random(M) < 0.9,
        "group_a": groups,
        "group_b": np.r_[groups, np.full(M - N, -1)],
    }


def mesh_of(devices):
    shape = {1: MeshShape(1, 1, 1), 2: MeshShape(2, 1, 1), 8: MeshShape(2, 4, 1)}[devices]
    return make_mesh(shape, jax.devices()[:devices])


def reference(name, a, b, scale, bias, valid_a, valid_b, group_a, group_b):
    """In float64, dense, differentiated by JAX."""

    def loss(a, b, scale, bias):
        both = valid_a[:, None] & valid_b[None]
        positive = both & (group_a[:, None] == group_b[None])
        z = scale * a @ b.T
        if name == "sigmoid":
            cost = jnp.where(both, jnp.logaddexp(0.0, jnp.where(positive, -1, 1) * (z + bias)), 0).sum(1)
            return cost[positive.any(1)].mean()
        halves = []
        for z, both, positive in ((z, both, positive), (z.T, both.T, positive.T)):  # noqa: B020
            log_p = z - jax.nn.logsumexp(jnp.where(both, z, -jnp.inf), axis=1, keepdims=True)
            rows = -(jnp.where(positive, log_p, 0).sum(1) / np.maximum(positive.sum(1), 1))
            halves.append(rows[positive.any(1)].mean())
        return sum(halves) / 2

    with jax.enable_x64(True):
        return jax.device_get(
            jax.value_and_grad(loss, argnums=(0, 1, 2, 3))(*(jnp.asarray(x, jnp.float64) for x in (a, b, scale, bias)))
        )


@functools.cache
def expected(name, kind, scale):
    return reference(name, *features(kind), scale, BIAS, **marks())


def compiled(loss, devices):
    """A jitted f(a, b, scale, bias) -> value and gradients."""
    rest = {key: jnp.asarray(x) for key, x in marks().items()}
    run = jax.jit(jax.value_and_grad(lambda *x: loss(*x, **rest), argnums=(0, 1, 2, 3)))
    mesh = mesh_of(devices)

    def call(a, b, scale, bias):
        with jax.set_mesh(mesh):
            return run(a, b, jnp.float32(scale), jnp.float32(bias))

    return call


def check(name, loss, devices, kinds=KINDS, scales=tuple(SCALES)):
    """Within the tolerance of the largest entry, with a floor of 1e-6 x scale."""
    run = compiled(loss, devices)
    for kind in kinds:
        for scale in scales:
            ours = jax.tree.leaves(run(*features(kind), scale, BIAS))
            wanted = jax.tree.leaves(expected(name, kind, scale))
            for part, x, y in zip(("loss", "a", "b", "scale", "bias"), ours, wanted, strict=True):
                error, size = np.abs(np.float64(x) - y).max(), np.abs(y).max()
                assert error <= max(SCALES[scale] * size, 1e-6 * scale), (kind, scale, part, error, size)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LOSSES)
def test_equals_a_dense_float64_reference(name, way):
    impl, tile, devices = WAYS[way]
    check(name, functools.partial(LOSSES[name], impl=impl, tile=tile), devices)


def test_a_sum_without_its_largest_term_taken_off_is_rejected():
    """Mutant: exp overflows at CLIP's scale of 100."""

    class Naive(InfoNce):
        def statistics(self, tile):
            return tuple(
                Met(
                    jnp.zeros(tile.logit.shape[1 - axis]),
                    jnp.sum(jnp.where(tile.both, jnp.exp(tile.logit), 0.0), axis=axis),
                    jnp.sum(jnp.where(tile.positive, tile.logit, 0.0), axis=axis),
                    jnp.sum(tile.positive, axis=axis, dtype=jnp.float32),
                )
                for axis in (1, 0)
            )

        def merge(self, one, other):
            return Met(jnp.maximum(one.top, other.top), *(x + y for x, y in zip(one[1:], other[1:], strict=True)))

    check("info_nce", by_rule(Naive()), 1, ["random"], [1.0, 20.0])
    with pytest.raises(AssertionError):
        check("info_nce", by_rule(Naive()), 1, ["aligned"], [100.0])


def by_rule(rule, impl="tiled"):
    """A loss of another rule."""

    def loss(a, b, scale, bias, **rest):
        chosen = choose(impl, a, b, None, "mutant")
        return compute(rule, chosen, a, b, scale, bias, *rest.values(), tile=None)

    return loss


def test_the_rules_themselves_pass_where_mutants_are_tried():
    check("info_nce", by_rule(InfoNce()), 1, ["random", "aligned"], [1.0, 100.0])
    check("sigmoid", by_rule(Sigmoid()), 1, ["random"], [20.0])


@pytest.mark.parametrize("impl", ["gather", "ring"])
@pytest.mark.parametrize("wrong", ["lost", "scaled"])
def test_gradients_that_devices_do_not_share_or_share_twice_are_rejected(monkeypatch, impl, wrong):
    """Mutants: what other devices' rows pull at a column is lost, or added up as often as there are devices."""
    real = meeting.meet_gradients

    def meet_gradients(way, axes, rule, a, b, logits, rows, columns, tile):
        grads = real(way, axes, rule, a, b, logits, rows, columns, tile)
        if wrong == "scaled":
            return grads._replace(b=8 * grads.b)
        return grads._replace(b=real("tiled", axes, rule, a, b, logits, rows, columns, tile).b)

    check("info_nce", functools.partial(info_nce, impl=impl), 8, ["random"], [20.0])
    monkeypatch.setattr(blockwise, "meet_gradients", meet_gradients)
    with pytest.raises(AssertionError):
        check("info_nce", functools.partial(info_nce, impl=impl), 8, ["random"], [20.0])


def scratch(loss, rows=2048):
    """Bytes that value and gradients need beside their inputs and outputs."""
    rows = jax.ShapeDtypeStruct((rows, 32), jnp.float32)
    number = jax.ShapeDtypeStruct((), jnp.float32)
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
    return step.lower(rows, rows, number, number).compile().memory_analysis().temp_size_in_bytes


def keeps_its_tiles(a, b, scale, bias):
    """Mutant: InfoNCE in one direction, looped over tiles in the forward pass alone; autodiff keeps every tile."""

    def step(sums, item):
        logits = scale * jnp.matmul(a, item.T, precision="highest") + bias
        top = jnp.maximum(sums[0], logits.max(1))
        return (top, sums[1] * jnp.exp(sums[0] - top) + jnp.exp(logits - top[:, None]).sum(1)), None

    (top, total), _ = jax.lax.scan(step, (jnp.full(len(a), -1e30), jnp.zeros(len(a))), split(b, 256))
    return jnp.mean(top + jnp.log(total) - scale * jnp.sum(a * b, axis=1))


@pytest.mark.parametrize("name", LOSSES)
def test_memory_is_that_of_tiles(name):
    dense = scratch(functools.partial(LOSSES[name], impl="dense"))
    tiled = functools.partial(LOSSES[name], impl="tiled", tile=256)
    assert dense > 2048 * 2048 * 4
    assert scratch(tiled) < dense / 8
    # Four times the rows: four times the memory, where all pairs would take sixteen times as much.
    assert scratch(tiled, 8192) < 5 * scratch(tiled)


def test_a_loop_that_keeps_its_tiles_is_rejected():
    assert scratch(keeps_its_tiles) > scratch(functools.partial(info_nce, impl="dense")) / 8


@pytest.mark.parametrize("name", LOSSES)
def test_16_bit_features_are_summed_in_float32(name):
    a, b = (jnp.asarray(x, jnp.bfloat16) for x in features("random"))
    rounded = (np.float64(jnp.float32(x)) for x in (a, b))
    value, grads = compiled(functools.partial(LOSSES[name], impl="ring"), 8)(a, b, 20.0, BIAS)
    wanted, wanted_grads = reference(name, *rounded, 20.0, BIAS, **marks())
    assert value == pytest.approx(wanted, rel=1e-5)
    for x, y in zip(grads[:2], wanted_grads[:2], strict=True):
        assert x.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float64(jnp.float32(x)), y, rtol=4e-3, atol=1e-6 * np.abs(y).max())
    np.testing.assert_allclose(grads[2], wanted_grads[2], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("impl", ["tiled", "gather", "ring"])
def test_what_invalid_rows_hold_changes_nothing(impl):
    a, b = features("random")
    rest = marks()
    spoiled = [np.where(rest[f"valid_{side}"][:, None], x, np.nan) for side, x in (("a", a), ("b", b))]
    run = compiled(functools.partial(info_nce, impl=impl), 1 if impl == "tiled" else 8)
    jax.tree.map(np.testing.assert_array_equal, run(*spoiled, 20.0, BIAS), run(a, b, 20.0, BIAS))


@pytest.mark.parametrize("impl", ["tiled", "gather", "ring"])
@pytest.mark.parametrize("name", LOSSES)
def test_rows_without_any_positive_cost_nothing(name, impl):
    loss = lambda *x: LOSSES[name](*x, group_a=jnp.arange(N), group_b=-1 - jnp.arange(M), impl=impl)  # noqa: E731
    with jax.set_mesh(mesh_of(1 if impl == "tiled" else 8)):
        a, b = (jnp.asarray(x) for x in features("random"))
        value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(a, b, jnp.float32(20.0), jnp.float32(0.0))
    assert value == 0 and not any(np.asarray(g).any() for g in grads)


def test_rows_that_do_not_divide_among_the_devices():
    a, b = unit_rows(13, 0), unit_rows(18, 1)
    value = jax.jit(functools.partial(info_nce, impl="ring", mesh=mesh_of(8)))(a, b, 20.0)
    assert value == pytest.approx(float(info_nce(jnp.asarray(a), jnp.asarray(b), 20.0, impl="dense")), rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "devices", "wanted"),
    [
        (4096, 1, "dense"),
        (4097, 1, "tiled"),
        (4096, 8, "dense"),
        (8192, 8, "gather"),
        (32_768, 8, "gather"),
        (262_144, 8, "ring"),
    ],
)
def test_the_way_is_chosen_by_size(rows, devices, wanted, caplog):
    """64 MiB of logits a device are no trouble; nor, of float32 with 512 features, are 131,072 rows gathered."""
    x = jax.ShapeDtypeStruct((rows, 512), jnp.float32)
    with jax.set_mesh(mesh_of(devices)), caplog.at_level(logging.INFO):
        jax.eval_shape(info_nce, x, x, 1.0)
    assert f"info_nce of {rows} x {rows} pairs on {devices} devices: {wanted}" in caplog.text


def test_tiles_of_one_device_are_refused_on_several():
    with jax.set_mesh(mesh_of(8)), pytest.raises(ValueError, match="split over 8; take 'gather' or 'ring'"):
        info_nce(jnp.ones((8, 4)), jnp.ones((8, 4)), 1.0, impl="tiled")


def test_a_target_is_refused_where_no_matrix_of_its_size_exists():
    with pytest.raises(ValueError, match="take 'dense'"):
        info_nce(jnp.ones((8, 4)), jnp.ones((8, 4)), 1.0, target=jnp.ones((8, 8)), impl="ring")


@pytest.mark.parametrize(
    ("rows", "wanted", "size"),
    [(16_384, None, 1024), (1500, None, 750), (1021, None, 1021), (2027, None, 1024), (10, 4, 4), (10, 40, 10)],
)
def test_tiles_divide_the_rows_where_that_costs_little(rows, wanted, size):
    assert tile_size(rows, wanted) == size


def test_splitting_and_joining_is_the_identity():
    x = jnp.arange(22).reshape(11, 2)
    assert split(x, 4).shape == (3, 4, 2)
    np.testing.assert_array_equal(join(split(x, 4), 11), x)


def test_a_ring_counts_each_pair_once():
    """Every device's rows meet every column exactly once, and columns come home."""
    rows = jnp.ones((16, 1)) * 0.5
    loss = jax.jit(functools.partial(sigmoid, impl="ring", mesh=mesh_of(8)))(rows, rows, 0.0, 0.0)
    assert loss == pytest.approx(16 * np.log(2), rel=1e-6)
