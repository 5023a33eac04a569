"""Norms keep their epsilon, drop path its mean, and pin its hands off whatever has no mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mmjax.models.layers import drop_path, gather, make_dense, pin
from mmjax.models.norms import Norm
from tests.models import references


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("epsilon", [1e-6, 1e-5])
@pytest.mark.parametrize("deviation", [1.0, 1e-2])
def test_norm_has_the_epsilon_it_is_given(kind, epsilon, deviation):
    x = np.float32(np.random.default_rng(0).normal(size=(4, 64)) * deviation)
    module = Norm(kind, epsilon)
    params = references.draw_params(module, jnp.asarray(x))
    out = module.apply({"params": params}, jnp.asarray(x))
    assert references.error(out, references.norm(params, x, epsilon, kind)) < 1e-5
    mutant = references.norm(params, x, 1.1e-5 - epsilon, kind)
    # Ordinary activations do not tell one epsilon from the other; those of variance 1e-4 do, by about 4 %.
    assert (references.error(out, mutant) > 1e-2) == (deviation < 1)


def test_small_variance_around_a_large_mean_survives():
    x = np.float32(100 + 0.01 * np.random.default_rng(0).normal(size=(4, 64)))
    out = Norm("layer", 1e-6).bind({"params": {"scale": jnp.ones(64), "bias": jnp.zeros(64)}})(jnp.asarray(x))
    expected = references.norm({"scale": 1.0, "bias": 0.0}, np.float64(x))
    assert references.error(out, expected) < 1e-2


def test_norms_answer_in_float32():
    x = jnp.ones((2, 8), jnp.bfloat16)
    assert Norm("layer", 1e-6).init_with_output(jax.random.key(0), x)[0].dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_float32_matmuls_are_asked_for_in_full(dtype):
    x, module = jnp.ones((2, 8)), make_dense(4, dtype)
    params = module.init(jax.random.key(0), x)
    (matmul,) = [o for o in references.list_operations(module.apply, params, x) if o.primitive.name == "dot_general"]
    highest = (jax.lax.Precision.HIGHEST,) * 2
    assert matmul.params["precision"] == (highest if dtype == "float32" else None)
    assert module.apply(params, x).dtype == jnp.dtype(dtype)


def test_no_rows_are_no_matter():
    x, module = jnp.ones((0, 3, 8)), make_dense(5, "float32")
    params = module.init(jax.random.key(0), x)
    assert module.apply(params, x).shape == (0, 3, 5)


def test_drop_path_drops_whole_rows_and_keeps_the_mean():
    out = drop_path(jnp.ones((4000, 2, 3)), 0.25, jax.random.key(0))
    rows = np.asarray(out).reshape(4000, -1)
    assert (rows == rows[:, :1]).all() and set(np.unique(rows)) <= {0.0, np.float32(1 / 0.75)}
    assert rows.mean() == pytest.approx(1.0, abs=0.05)


def mesh_of(types=AxisType.Auto):
    return jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(types,) * 3)


def test_pin_splits_rows_over_the_batch_axes_and_replicates_the_rest():
    mesh = mesh_of()
    x = jnp.zeros((8, 3, 4))
    with jax.set_mesh(mesh):
        start = jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, None, "tensor")))
        out = jax.jit(pin)(start)
    assert out.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(("data", "fsdp"))), 3)


def test_a_gathered_table_is_whole_and_its_gradient_split_again():
    mesh = mesh_of()
    split = NamedSharding(mesh, PartitionSpec("tensor", "fsdp"))
    table, ids = jnp.arange(32.0).reshape(8, 4), jnp.arange(8) % 3
    with jax.set_mesh(mesh):
        parts = jax.device_put(table, split)
        assert jax.jit(gather)(parts).sharding.is_fully_replicated
        grad = jax.jit(jax.grad(lambda t: jnp.take(gather(t), ids, axis=0).sum()), out_shardings=split)(parts)
    np.testing.assert_array_equal(grad[:, 0], [3, 3, 2, 0, 0, 0, 0, 0])
    assert gather(table) is table


def test_pin_leaves_alone_what_has_no_mesh_or_does_not_divide():
    one, eight = jnp.zeros((1, 4)), jnp.zeros((8, 4))
    assert pin(eight) is eight
    with jax.set_mesh(mesh_of()):
        assert pin(one) is one
        rows = PartitionSpec(("data", "fsdp"))
        inside = jax.shard_map(pin, in_specs=rows, out_specs=rows)
        assert jax.jit(inside)(eight).shape == (8, 4)
    with jax.set_mesh(mesh_of(AxisType.Explicit)):
        assert pin(eight) is eight
