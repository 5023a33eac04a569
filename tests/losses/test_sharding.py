"""On eight devices, rows split in several ways, loss and gradients are those of the whole batch in float64.

The mutants are the two usual mistakes: each device scores its own rows, and gathered features pass no gradient back.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from mmjax.losses import LOSSES, info_nce
from tests.losses import references
from tests.losses.references import features
from tests.losses.test_contrastive import along_sphere, assert_close

ROWS = P(("data", "fsdp"))
MESHES = {"data 8": (8, 1), "data 2, fsdp 4": (2, 4)}
N, M, SCALE, BIAS = 16, 24, 10.0, -2.0
REST = {
    "group_a": np.arange(N) // 2,
    "group_b": np.r_[np.arange(N) // 2, np.full(M - N, -1)],
    "valid_a": np.arange(N) != 3,
    "valid_b": np.arange(M) != 5,
}


def on_mesh(name, loss, shape, rest=REST, m=M):
    """Value and gradients of `loss` jitted over rows that are split among all devices."""
    mesh = jax.make_mesh(shape, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    put = functools.partial(jax.device_put, device=NamedSharding(mesh, ROWS))
    a, b = (put(np.float32(x)) for x in features(N, m))
    with jax.set_mesh(mesh):
        step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
        value, grads = step(a, b, jnp.float32(SCALE), jnp.float32(BIAS), **{k: put(x) for k, x in rest.items()})
    assert a.sharding.num_devices == 8 and not a.sharding.is_fully_replicated
    return float(value), grads


@functools.cache
def expected(name, plain=False):
    reference, rest = getattr(references, name), {} if plain else REST
    a, b = features(N, N if plain else M)
    return reference(a, b, SCALE, BIAS, **rest), references.gradients(reference, [a, b, SCALE, BIAS], **rest)


@pytest.mark.parametrize("shape", MESHES.values(), ids=MESHES)
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_whole_batch(name, shape):
    value, grads = on_mesh(name, LOSSES[name], shape)
    assert value == pytest.approx(expected(name)[0], rel=1e-5)
    a, b = features(N, M)
    assert_close(along_sphere(grads, a, b), along_sphere(expected(name)[1], a, b))


def shards_alone(a, b, scale, bias):
    """Mutant: the mean of each device's loss over its own rows."""
    local = lambda a, b, scale: jax.lax.pmean(info_nce(a, b, scale), ("data", "fsdp"))  # noqa: E731
    return jax.shard_map(local, in_specs=(ROWS, ROWS, P()), out_specs=P())(a, b, scale)


def gathered_without_gradient(a, b, scale, bias):
    """Mutant: negatives from other devices are gathered, and nothing flows back to them."""

    def local(a, b, scale):
        start = jax.lax.axis_index(("data", "fsdp")) * len(a)
        gather = lambda x: jax.lax.stop_gradient(jax.lax.all_gather(x, ROWS[0], tiled=True))  # noqa: E731
        whole = [jax.lax.dynamic_update_slice(gather(x), x, (start, 0)) for x in (a, b)]
        return info_nce(*whole, scale)[None]

    each = jax.shard_map(local, in_specs=(ROWS, ROWS, P()), out_specs=ROWS, check_vma=False)(a, b, scale)
    return each.mean()


def test_the_same_check_rejects_shards_that_score_alone():
    value, grads = on_mesh("info_nce", shards_alone, (2, 4), {}, N)
    assert value != pytest.approx(expected("info_nce", plain=True)[0], rel=1e-2)
    with pytest.raises(AssertionError):
        assert_close(grads, expected("info_nce", plain=True)[1])


def test_the_same_check_rejects_a_gather_without_gradient():
    value, grads = on_mesh("info_nce", gathered_without_gradient, (2, 4), {}, N)
    assert value == pytest.approx(expected("info_nce", plain=True)[0], rel=1e-5)  # the value hides it
    with pytest.raises(AssertionError):
        assert_close(grads, expected("info_nce", plain=True)[1])


def test_the_check_accepts_the_plain_loss_in_their_place():
    value, grads = on_mesh("info_nce", info_nce, (2, 4), {}, N)
    assert value == pytest.approx(expected("info_nce", plain=True)[0], rel=1e-5)
    assert_close(grads, expected("info_nce", plain=True)[1])
