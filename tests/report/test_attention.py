"""Attention maps: the right weights of the right layer, laid out on the grid of patches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.batch import Batch, Stream
from mmjax.errors import UserError
from mmjax.models import ENCODERS
from mmjax.models.dual_encoder import DualEncoder
from mmjax.report.attention import attention_maps, last_weights, over_patches
from tests.report.fakes import Sower, Task


def test_bright_patches_are_found():
    pixels = np.zeros((2, 16, 16, 3), np.uint8)
    pixels[0, 4:8, 8:12] = 255
    pixels[1, 12:, :4] = 255
    maps, kind = attention_maps(Task(Sower()), {}, "image", pixels)
    assert maps.shape == (2, 4, 4) and "last block" in kind
    assert np.unravel_index(maps[0].argmax(), (4, 4)) == (1, 2)
    assert np.unravel_index(maps[1].argmax(), (4, 4)) == (3, 0)
    np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-5)


def test_the_class_token_tells_where_it_looks_and_is_no_patch_itself():
    weights = np.zeros((1, 2, 10, 10), np.float32)
    weights[0, :, 0, 0] = 0.5
    weights[0, :, 0, 6] = 0.5  # the sixth patch of nine: row 1, column 2
    weights[0, :, 1:, 1] = 1
    grid = np.asarray(over_patches(jnp.asarray(weights)))[0]
    assert grid[1, 2] == 1 and grid.sum() == 1


def test_the_last_block_and_attention_pooling_come_first():
    w = {i: jnp.full((1, 1, 4, 4), float(i)) for i in (2, 9, 10)}
    blocks = {f"blocks_{i}": {"attention": {"weights": (w[i],)}} for i in w}
    assert last_weights({"towers_image": blocks})[0][0, 0, 0, 0] == 10
    scanned = {"blocks": {"attention": {"weights": (jnp.stack([w[2], w[9]]),)}}}
    assert last_weights(scanned)[0][0, 0, 0, 0] == 9
    pool = {"attention_pool": {"attention": {"weights": (w[2][:, :, :1],)}}}
    weights, kind = last_weights({"towers_image": blocks | pool})
    assert weights.shape == (1, 1, 1, 4) and "pooling" in kind


@pytest.mark.parametrize("pooling", ["class", "mean", "map"])
def test_the_encoders_of_mmjax_show_theirs(pooling):
    vit = ENCODERS["vit"](width=16, depth=2, heads=2, mlp_dim=32, patch=8, pooling=pooling)
    model = DualEncoder({"image": vit}, {"image": "image"}, dim=8, scale_init=10.0)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    rows = np.arange(2, dtype=np.int32)
    batch = Batch({"image": Stream(pixels, present=rows >= 0)}, rows >= 0, rows, rows)
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]
    maps, _ = attention_maps(Task(model), params, "image", pixels)
    assert maps.shape == (2, 4, 4)
    np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-5)


def test_registers_are_no_patches():
    weights = np.zeros((1, 2, 68, 68), np.float32)  # a class token, three registers, eight by eight patches
    weights[0, :, 0, 1:4] = 0.2
    weights[0, :, 0, 4 + 8 * 2 + 5] = 0.4
    grid = np.asarray(over_patches(jnp.asarray(weights)))[0]
    assert grid.shape == (8, 8) and grid[2, 5] == 1 and grid.sum() == 1


def test_models_without_weights_or_grid_say_so():
    with pytest.raises(UserError, match="sows no attention"):
        last_weights({})
    with pytest.raises(UserError, match="no square grid"):
        over_patches(jnp.zeros((1, 1, 7, 7)))
    with pytest.raises(UserError, match="no grid to lay a map over"):
        attention_maps(Task(Sower()), {}, "image", np.zeros((1, 12, 48), np.uint8))
    with pytest.raises(UserError, match="has no `model`"):
        attention_maps(object(), {}, "image", np.zeros((1, 8, 8, 3), np.uint8))
