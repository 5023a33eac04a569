"""The count of a step's arithmetic, against formulas and against the same program without its loop."""

import jax
import jax.numpy as jnp
import pytest

from mmjax.models.attention import attend
from mmjax.models.transformer import BlockOptions, Transformer
from mmjax.training.flops import flops_of, training_flops

WIDTH, HIDDEN, DEPTH, ROWS, LENGTH = 16, 64, 5, 3, 7


def stack(**options):
    """The forward pass of a small transformer, and its gradient, as functions of parameters and input."""
    model = Transformer(BlockOptions(heads=2, mlp_dim=HIDDEN), DEPTH, **options)
    x = jnp.ones((ROWS, LENGTH, WIDTH))
    params = jax.eval_shape(model.init, jax.random.key(0), x)
    forward = lambda params, x: model.apply(params, x).sum()  # noqa: E731
    return flops_of(forward, params, x), flops_of(jax.grad(forward, argnums=(0, 1)), params, x)


def by_hand() -> int:
    matmuls = 4 * WIDTH * WIDTH + 2 * WIDTH * HIDDEN
    return DEPTH * (2 * ROWS * LENGTH * matmuls + 4 * ROWS * LENGTH * LENGTH * WIDTH)


@pytest.mark.parametrize("scan", [False, True])
def test_a_stack_is_counted_block_by_block(scan):
    assert stack(scan=scan) == (by_hand(), 3 * by_hand())


def test_the_compiler_counts_a_loop_once():
    """The wrong variant: were it right, this module would not be needed."""
    x, weights = jnp.ones((8, 8)), jnp.ones((4, 8, 8))
    loop = lambda x, w: jax.lax.scan(lambda c, w: (c @ w, None), x, w)[0]  # noqa: E731
    compiled = jax.jit(loop).lower(x, weights).compile().cost_analysis()
    assert flops_of(loop, x, weights) == 4 * 2 * 8**3 > 2 * compiled["flops"]


@pytest.mark.parametrize("scan", [False, True])
def test_what_remat_computes_again_is_no_progress(scan):
    forward, backward = stack(scan=scan, remat="full")
    assert backward > 3 * forward
    assert training_flops(forward, backward) == 3 * by_hand()


def test_frozen_parts_are_not_counted_threefold():
    assert training_flops(100, 250) == 250.0


def test_convolutions_by_strides_and_groups():
    x = jnp.ones((2, 8, 8, 6))
    conv = lambda x, k, groups: jax.lax.conv_general_dilated(  # noqa: E731
        x, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )
    assert flops_of(lambda x: conv(x, jnp.ones((3, 3, 6, 4)), 1), x) == 2 * (2 * 4 * 4 * 4) * 9 * 6
    assert flops_of(lambda x: conv(x, jnp.ones((3, 3, 2, 6)), 3), x) == 2 * (2 * 4 * 4 * 6) * 9 * 2


def test_branches_count_as_the_dearest_one():
    x = jnp.ones((4, 4))
    branch = lambda x: jax.lax.cond(x[0, 0] > 0, lambda: x @ x @ x, lambda: x @ x)  # noqa: E731
    assert flops_of(branch, x) == 2 * 2 * 4**3


def test_a_program_per_device_is_counted_on_all_of_them():
    mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    product = lambda x, w: x @ w  # noqa: E731
    rows = jax.P("data")
    split = jax.shard_map(product, mesh=mesh, in_specs=(rows, jax.P()), out_specs=rows, axis_names={"data"})
    assert flops_of(split, jnp.ones((8, 16)), jnp.ones((16, 4))) == flops_of(
        product, jnp.ones((8, 16)), jnp.ones((16, 4))
    )


def test_cudnn_attention_counts_as_the_plain_one(monkeypatch):
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    query, key = jnp.ones((2, 8, 4, 16), jnp.bfloat16), jnp.ones((2, 6, 4, 16), jnp.bfloat16)

    def both(implementation):
        f = lambda q, k, v: attend(q, k, v, implementation=implementation).astype(jnp.float32).sum()  # noqa: E731
        return flops_of(f, query, key, key), flops_of(jax.grad(f, argnums=(0, 1, 2)), query, key, key)

    assert both("cudnn") == both("xla")
