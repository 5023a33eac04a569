"""Images as lists of patches: positions resized as torch does, padding that reaches nothing, and SigLIP 2's tower."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmjax.batch import Stream
from mmjax.models import ViT
from mmjax.models.encoders.naflex import resized_rows
from tests.interop.torch_peers import mend_torchvision
from tests.models import torch_weights
from tests.models.references import draw_params
from tests.models.torch_weights import backward, below, difference, draw_weights, gradients, linear, weights

mend_torchvision()

from transformers import Siglip2VisionConfig, Siglip2VisionModel  # noqa: E402

GRID, WIDTH, PATCH = 4, 16, 2
SMALL = {"width": WIDTH, "depth": 2, "heads": 2, "mlp_dim": 24, "stem": "naflex", "patch": PATCH, "grid": GRID}
SHAPES = ((3, 4), (2, 2), (1, 9))  # rows and columns of each image of the batch
LONGEST = 12


def patches(shapes=SHAPES, longest=LONGEST, junk=0):
    """Squares of noise in reading order; `junk` is what padding holds, in pixels and positions alike."""
    data = np.random.default_rng(0).integers(0, 256, (len(shapes), longest, PATCH * PATCH * 3))
    position, mask = np.full((len(shapes), longest, 2), junk), np.zeros((len(shapes), longest), bool)
    for image, (rows, columns) in enumerate(shapes):
        position[image, : rows * columns] = np.stack(np.divmod(np.arange(rows * columns), columns), axis=-1)
        mask[image, : rows * columns] = True
    data = np.where(mask[..., None], data, junk)
    arrays = jnp.asarray(data, jnp.uint8), jnp.ones(len(shapes), bool), jnp.asarray(mask), jnp.asarray(position)
    return Stream(*arrays)


def interpolate(table, rows, columns, mode="bilinear", antialias=True):
    """`[grid, grid, d]` to `[rows * columns, d]` as `Siglip2VisionEmbeddings` does it.

    Except for one column, where torch 2.13 gives every row the value of the first on a CPU; of one row it does not.
    """
    if columns == 1:
        return interpolate(table.transpose(1, 0, 2), columns, rows, mode, antialias)
    image = torch.tensor(table).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        image, (rows, columns), mode=mode, align_corners=False, antialias=antialias
    )
    return resized[0].permute(1, 2, 0).reshape(rows * columns, -1).numpy()


def resized(table, rows, columns):
    position = np.stack(np.divmod(np.arange(rows * columns), columns), axis=-1)[None]
    return np.asarray(jax.jit(resized_rows)(jnp.asarray(table), jnp.asarray(position))[0])


@pytest.fixture
def table():
    return np.float32(np.random.default_rng(1).normal(size=(16, 16, 8)))


@pytest.mark.parametrize("shape", [(16, 16), (24, 24), (31, 17), (7, 7), (9, 28), (1, 64), (3, 1), (13, 19)])
def test_positions_are_resized_as_torch_does(table, shape):
    assert difference(resized(table, *shape), interpolate(table, *shape)) < 1e-5


def test_the_same_size_is_the_identity(table):
    np.testing.assert_array_equal(resized(table, 16, 16), table.reshape(256, 8))


@pytest.mark.parametrize("shape", [(7, 7), (9, 28)])
@pytest.mark.parametrize("wrong", [{"mode": "bicubic"}, {"antialias": False}])
def test_another_interpolation_is_told_apart(table, shape, wrong):
    assert difference(resized(table, *shape), interpolate(table, *shape, **wrong)) > 1e-2


def test_the_order_of_patches_is_free(table):
    position = np.stack(np.divmod(np.arange(15), 5), axis=-1)
    order = np.random.default_rng(0).permutation(15)
    straight, shuffled = (
        resized_rows(jnp.asarray(table), jnp.asarray(p[None]))[0] for p in (position, position[order])
    )
    np.testing.assert_array_equal(straight[order], shuffled)


def run(module, params, stream):
    return jax.jit(lambda p, s: module.apply({"params": p}, s))(params, stream)


def peer():
    config = Siglip2VisionConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        patch_size=PATCH,
        num_patches=GRID**2,
        attn_implementation="eager",
    )
    module = Siglip2VisionModel(config).eval()
    draw_weights(module)
    return module


def tower(get):
    return {
        "patches": {"embed": linear(get, "embeddings.patch_embedding")},
        "position_table": get("embeddings.position_embedding.weight"),
        "transformer": {f"blocks_{i}": torch_weights.clip_layer(below(get, f"encoder.layers.{i}.")) for i in range(2)},
        "norm_after": torch_weights.norm(get, "post_layernorm"),
        "attention_pool": torch_weights.siglip_head(below(get, "head.")),
    }


def run_peer(module, stream):
    """Tokens before the first block, tokens at the end, and the pooled vector."""
    mask = torch.tensor(np.asarray(stream.mask))
    pixels = torch.tensor((np.float32(stream.data) / 255 - 0.5) / 0.5) * mask[..., None]
    shapes = torch.tensor(SHAPES)
    start = module.embeddings(pixels, shapes)
    out = module(pixels, pixel_attention_mask=mask, spatial_shapes=shapes)
    return start, out.last_hidden_state, out.pooler_output


def test_equals_siglip_2_with_all_gradients():
    module, stream = peer(), patches(junk=77)
    ours, params = ViT(**SMALL, pooling="map", activation="gelu_tanh"), tower(weights(module))
    pooled, grads, noise = backward(lambda p: ours.apply({"params": p}, stream).pooled, params)
    start, tokens, expected = run_peer(module, stream)
    expected.backward(torch.tensor(noise))
    embed = jax.jit(lambda p, s: ours.apply({"params": p}, s, method="embed"))(params, stream).tokens
    for actual, wanted in ((embed, start), (run(ours, params, stream).tokens, tokens), (pooled, expected)):
        assert difference(actual, wanted.detach().numpy()) < 1e-5
    assert difference(grads, tower(gradients(module))) < 1e-5


@pytest.mark.parametrize("change", [{"activation": "gelu"}, {"unmasked": True}, {"moved": True}])
def test_another_tower_is_told_apart(change):
    module, stream = peer(), patches()
    *_, expected = run_peer(module, stream)
    if change.pop("unmasked", False):
        stream = dataclasses.replace(stream, mask=None)
    if change.pop("moved", False):
        stream = dataclasses.replace(stream, position=stream.position[..., ::-1])
    ours = ViT(**SMALL | {"pooling": "map", "activation": "gelu_tanh"} | change)
    out = run(ours, tower(weights(module)), stream).pooled
    assert difference(out, expected.detach().numpy()) > 1e-4


POOLS = ("class", "mean", "map")


@pytest.mark.parametrize("pooling", POOLS)
def test_a_grid_of_patches_is_the_same_image(pooling):
    """A square image as large as the table comes out as it does from the stem that cuts it."""
    size = GRID * PATCH
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    cut = pixels.reshape(2, GRID, PATCH, GRID, PATCH, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, GRID**2, -1)
    position = np.broadcast_to(np.stack(np.divmod(np.arange(GRID**2), GRID), axis=-1), (2, GRID**2, 2))
    whole = Stream(jnp.asarray(pixels), jnp.ones(2, bool))
    listed = Stream(jnp.asarray(cut), jnp.ones(2, bool), position=jnp.asarray(position))
    grid = ViT(**SMALL | {"stem": "patch", "pooling": pooling})
    params = draw_params(grid, whole)
    expected, out = run(grid, params, whole), run(ViT(**SMALL, pooling=pooling), params, listed)
    np.testing.assert_allclose(out.pooled, expected.pooled, atol=1e-5)
    np.testing.assert_array_equal(out.position, expected.position)


@pytest.mark.parametrize("pooling", POOLS)
def test_padding_and_absent_rows_pass_nothing_on(pooling):
    stream = dataclasses.replace(patches(), present=jnp.asarray([True, True, False]))
    module = ViT(**SMALL, pooling=pooling)
    params = draw_params(module, stream)
    real = stream.mask & stream.present[:, None]

    def total(params, junk, place):
        data = jnp.where(real[..., None], jnp.float32(stream.data) / 255, junk)
        position = jnp.where(real[..., None], stream.position, place)
        out = module.apply({"params": params}, dataclasses.replace(stream, data=data, position=position))
        return jnp.sum(jnp.sin(out.pooled)), out

    step = jax.jit(jax.value_and_grad(total, has_aux=True))
    (_, clean), grads = step(params, 0.0, 0)
    (_, spoiled), spoiled_grads = step(params, jnp.nan, -9)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((clean.tokens, clean.pooled, grads)))
    jax.tree.map(np.testing.assert_array_equal, (clean, grads), (spoiled, spoiled_grads))
    extra = int(pooling == "class")
    np.testing.assert_array_equal(clean.mask[:, extra:], real)
    # Neither does the length that a batch is padded to.
    shorter = jax.tree.map(lambda x: x[1:2, :4] if x.ndim > 1 else x[1:2], stream)
    np.testing.assert_allclose(run(module, params, shorter).pooled[0], clean.pooled[1], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": None}, r"stem 'naflex' reads patches \[b, n, 12\] with positions"),
        ({"data": jnp.zeros((3, LONGEST, 48), jnp.uint8)}, r"\[b, n, 12\] with positions, got \(3, 12, 48\)"),
    ],
)
def test_data_that_is_no_list_of_patches_is_refused(change, message):
    stream = dataclasses.replace(patches(), **change)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(ViT(**SMALL).init, jax.random.key(0), stream)


def test_patch_dropout_is_refused():
    with pytest.raises(ValueError, match="patch_dropout has no fixed share"):
        ViT(**SMALL, patch_dropout=0.5)
