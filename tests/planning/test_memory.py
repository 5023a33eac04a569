"""Bytes of a device: of the state by its shardings, of what the backward pass keeps by the traced program."""

import jax
import jax.numpy as jnp
import pytest

from mmjax.mesh import MeshShape, make_mesh
from mmjax.planning.memory import kept_bytes, shard_bytes


def test_a_shard_is_counted_and_not_the_whole():
    mesh = make_mesh(MeshShape(2, 4, 1))
    split, whole = (jax.NamedSharding(mesh, jax.P(*axes)) for axes in (("fsdp",), ()))
    tree = {
        "a": jax.ShapeDtypeStruct((8, 6), jnp.float32, sharding=split),
        "b": jax.ShapeDtypeStruct((8, 6), jnp.bfloat16, sharding=whole),
        "key": jax.ShapeDtypeStruct((), jax.random.key(0).dtype, sharding=whole),
    }
    assert shard_bytes(tree) == 2 * 6 * 4 + 8 * 6 * 2 + 8


def loss(remat):
    def block(x, w):
        return jnp.sin(x @ w)

    block = jax.checkpoint(block) if remat else block
    return lambda weights, x: jnp.sum(jax.lax.scan(lambda x, w: (block(x, w), None), x, weights)[0])


@pytest.mark.parametrize(("remat", "kept"), [(True, 1), (False, 2)])
def test_what_the_backward_pass_keeps(remat, kept):
    """Of every block its input; without recomputation also what the sine's gradient needs. Never the parameters."""
    weights, x = jnp.ones((3, 16, 16)), jnp.ones((128, 16))
    assert kept_bytes(loss(remat), weights, x) == pytest.approx(kept * 3 * x.nbytes, rel=0.01)
