"""Scanned and unrolled stacks are the same parameters under two names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from mmjax.models.stacking import is_stacked, stack, stacked_as, unstack
from mmjax.models.transformer import BlockOptions, Transformer

UNROLLED = {
    "t/blocks_0/kernel": np.zeros((2, 3)),
    "t/blocks_1/kernel": np.ones((2, 3)),
    "t/blocks_0/norm/scale": np.zeros(3),
    "t/blocks_1/norm/scale": np.ones(3),
    "t/norm/scale": np.full(3, 7.0),
    "my_blocks_0/kernel": np.zeros(1),
}


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name])


def test_there_and_back():
    stacked = stack(UNROLLED)
    assert {name: x.shape for name, x in stacked.items()} == {
        "t/blocks/kernel": (2, 2, 3),
        "t/blocks/norm/scale": (2, 3),
        "t/norm/scale": (3,),
        "my_blocks_0/kernel": (1,),
    }
    np.testing.assert_array_equal(stacked["t/blocks/norm/scale"][1], np.ones(3))
    assert_same(unstack(stacked), UNROLLED)
    assert [name for name in stacked if is_stacked(name)] == ["t/blocks/kernel", "t/blocks/norm/scale"]


@pytest.mark.parametrize("lost", ["t/blocks_0/kernel", "t/blocks_1/kernel"])
def test_what_a_block_lacks_is_not_stacked(lost):
    partial = {name: x for name, x in UNROLLED.items() if name != lost}
    assert "t/blocks/kernel" not in stack(partial) and "t/blocks/norm/scale" in stack(partial)


def test_more_than_ten_blocks_keep_their_order():
    stacked = stack({f"blocks_{i}/x": np.full(1, i) for i in reversed(range(12))})
    np.testing.assert_array_equal(stacked["blocks/x"][:, 0], np.arange(12))


def test_each_stack_as_it_is_wanted():
    flat = {f"{tower}/{name}": x for tower in "ab" for name, x in UNROLLED.items()}
    mixed = {name: x for name, x in flat.items() if name.startswith("a/")}
    mixed |= stack({name: x for name, x in flat.items() if name.startswith("b/")})
    assert_same(stacked_as(mixed, flat), flat)
    assert_same(stacked_as(flat, stack(flat)), stack(flat))
    assert_same(stacked_as(flat, mixed), mixed)
    assert_same(stacked_as(flat, ["other"]), flat)


def test_a_transformer_computes_the_same():
    x = jax.random.normal(jax.random.key(1), (2, 3, 8))
    unrolled, scanned = (Transformer(BlockOptions(heads=2, mlp_dim=16), 3, scan=scan) for scan in (False, True))
    params = jax.device_get(unrolled.init(jax.random.key(0), x)["params"])
    other = traverse_util.unflatten_dict(stack(traverse_util.flatten_dict(params, sep="/")), sep="/")
    shapes = jax.eval_shape(scanned.init, jax.random.key(0), x)["params"]
    assert jax.tree.map(jnp.shape, other) == jax.tree.map(jnp.shape, shapes)
    expected = unrolled.apply({"params": params}, x)
    np.testing.assert_allclose(scanned.apply({"params": other}, x), expected, atol=1e-6)
