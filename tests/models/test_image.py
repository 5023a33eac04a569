"""The image encoder from pixels to vector: normalisation, both stems, positions, pooling, patch dropout, sizes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.batch import Stream
from mmjax.models import ViT
from mmjax.models.encoders.image import drop_patches
from mmjax.models.encoders.sizes import SIZES
from mmjax.models.encoders.stems import ConvStem, PatchStem, normalise
from tests.models import references
from tests.models.batches import images
from tests.models.references import draw_params, error

SMALL = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 24, "patch": 8}
POOLS = ("class", "mean", "map")


def start(stream, **options):
    module = ViT(**SMALL | options)
    return module, draw_params(module, stream)


def run(module, params, stream, **arguments):
    return jax.jit(lambda p, s: module.apply({"params": p}, s, **arguments))(params, stream)


def vit_reference(p, pixels, pooling, heads=2, mean=0.5, std=0.5):
    """Patches of 8 x 8 cut by loops; then embedding, positions, one block, norm and pooling in float64."""
    x = (np.float64(pixels) / 255 - mean) / std
    rows, columns = x.shape[1] // 8, x.shape[2] // 8
    cut = [x[:, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8].reshape(len(x), -1) for i, j in np.ndindex(rows, columns)]
    x = references.dense(p["patches"]["embed"], np.stack(cut, axis=1))
    if pooling == "class":
        x = np.concatenate([np.broadcast_to(p["class_token"], (len(x), 1, x.shape[-1])), x], axis=1)
    x = references.block(p["transformer"]["blocks_0"], x + p["position_table"], heads)
    x = references.norm(p["norm_after"], x)
    if pooling != "map":
        return x[:, 0] if pooling == "class" else x.mean(axis=1)
    head = p["attention_pool"]
    probe = np.broadcast_to(head["probe"], (len(x), 1, x.shape[-1]))
    y = references.attention(head["attention"], probe, heads, context=x)
    return (y + references.mlp(head["mlp"], references.norm(head["norm"], y)))[:, 0]


@pytest.mark.parametrize("pooling", POOLS)
def test_equals_the_definition_and_not_another_pooling(pooling):
    stream = images()
    module, params = start(stream, pooling=pooling)
    out = run(module, params, stream)
    assert out.tokens.shape == (4, 4 + (pooling == "class"), 16) and out.mask.shape == out.tokens.shape[:2]
    assert error(out.pooled, vit_reference(params, stream.data, pooling)) < 1e-5
    assert error(out.pooled, vit_reference(params, stream.data, pooling, mean=0.45)) > 1e-3
    if pooling == "mean":
        unnormed = vit_reference(params | {"norm_after": {"scale": 1.0, "bias": 0.0}}, stream.data, pooling)
        assert error(out.pooled, unnormed) > 1e-2


def test_pixels_are_normalised_per_colour_from_uint8_and_from_floats():
    stream, mean, std = images(), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    expected = (np.float64(stream.data) / 255 - mean) / std
    np.testing.assert_allclose(normalise(stream.data, stream.present, mean, std), expected, atol=1e-5)
    floats = jnp.float32(stream.data) / 255
    np.testing.assert_allclose(normalise(floats, stream.present, mean, std), expected, atol=1e-5)


def test_conv_stem_is_a_stack_of_convolutions():
    x = jnp.float32(np.random.default_rng(0).normal(size=(2, 13, 10, 3)))
    stem = ConvStem((4, 5), 6)
    params = draw_params(stem, x)
    expected = x
    for i, width in enumerate((4, 5)):
        kernel = params[f"conv_{i}"]["kernel"].reshape(3, 3, -1, width)
        convolve = jax.lax.conv_general_dilated
        layout = ("NHWC", "HWIO", "NHWC")
        expected = convolve(expected, kernel, (2, 2), [(1, 1), (1, 1)], dimension_numbers=layout)
        expected = references.ACTIVATIONS["gelu_tanh"](references.norm(params[f"norm_{i}"], expected))
        expected = jnp.float32(expected)
    expected = references.dense(params["embed"], expected)
    out = stem.apply({"params": params}, x)
    assert out.shape == (2, 4, 3, 6) and error(out, expected) < 1e-5


def test_conv_stem_takes_sizes_that_do_not_divide():
    stream = images(size=28)
    module, params = start(stream, stem="conv", stem_widths=(4, 4, 4))
    assert run(module, params, stream).tokens.shape == (4, 16, 16)


def test_pixels_beyond_the_last_whole_patch_are_left_out_as_a_convolution_does():
    x = jnp.float32(np.random.default_rng(0).normal(size=(2, 30, 23, 3)))
    stem = PatchStem(14, 6)
    params = draw_params(stem, x)
    kernel = params["embed"]["kernel"].reshape(14, 14, 3, 6)
    layout = ("NHWC", "HWIO", "NHWC")
    out = stem.apply({"params": params}, x)
    expected = jax.lax.conv_general_dilated(x, kernel, (14, 14), "VALID", dimension_numbers=layout)
    assert out.shape == (2, 2, 1, 6) and error(out, np.float64(expected + params["embed"]["bias"])) < 1e-5


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(ValueError, match="image of 7 x 7 is smaller than a patch of 8 x 8"):
        start(images(size=7))


@pytest.mark.parametrize("positions", ["learned", "sincos", "rotary", "none"])
def test_positions_tell_patches_apart(positions):
    stream = images()
    module, params = start(stream, positions=positions, pooling="class")
    assert ("position_table" in params) == (positions == "learned")
    halves = jnp.split(stream.data, 2, axis=2)
    mirrored = dataclasses.replace(stream, data=jnp.concatenate(halves[::-1], axis=2))
    change = error(run(module, params, mirrored).pooled, np.float64(run(module, params, stream).pooled))
    assert change < 1e-5 if positions == "none" else change > 1e-3


@pytest.mark.parametrize("pooling", POOLS)
@pytest.mark.parametrize("junk", [7.0, np.nan])
def test_absent_rows_are_finite_and_pass_nothing_on(pooling, junk):
    stream = images()
    module, params = start(stream, pooling=pooling)
    present = jnp.asarray([True, False, True, False])
    pixels = jnp.where(present[:, None, None, None], jnp.float32(stream.data) / 255, junk)

    def total(params, pixels):
        out = module.apply({"params": params}, Stream(pixels, present))
        return jnp.sum(jnp.sin(out.pooled)), out

    (_, out), grads = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(params, pixels)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((out.tokens, out.pooled, grads)))
    np.testing.assert_array_equal(out.mask, np.broadcast_to(present[:, None], out.mask.shape))
    np.testing.assert_allclose(out.pooled[1], out.pooled[3], rtol=1e-5)
    assert not grads[1][1].any() and grads[1][0].any()


def test_patch_dropout_keeps_the_class_token_and_as_many_patches_of_each_image():
    stream = images(size=32)
    module, params = start(stream, pooling="class", patch_dropout=0.75)
    embed = lambda **rest: module.apply({"params": params}, stream, method="embed", **rest)  # noqa: E731
    whole, half = embed(), embed(train=True, rngs={"dropout": jax.random.key(1)})
    assert whole.tokens.shape[1] == 17 and half.tokens.shape[1] == 5
    np.testing.assert_array_equal(half.tokens[:, 0], whole.tokens[:, 0])
    np.testing.assert_array_equal(half.position[:, 0], 0)
    # Every kept token is the patch that its position names, and no patch is kept twice.
    index = (half.position[..., 0] - 1) * 4 + half.position[..., 1]
    np.testing.assert_array_equal(half.tokens[:, 1:], jnp.take_along_axis(whole.tokens, index[..., None], 1)[:, 1:])
    kept = [set(np.asarray(row[1:]).tolist()) for row in index]
    assert all(len(row) == 4 for row in kept) and len(set(map(frozenset, kept))) > 1


def test_registers_have_no_position_and_stay_when_patches_are_dropped():
    stream = images(size=32)
    module, params = start(stream, pooling="class", registers=2, patch_dropout=0.75)
    assert params["register_tokens"].shape == (2, 16) and params["position_table"].shape == (17, 16)
    for rest in ({}, {"train": True, "rngs": {"dropout": jax.random.key(1)}}):
        out = module.apply({"params": params}, stream, method="embed", **rest)
        assert out.tokens.shape == (4, 3 + (4 if rest else 16), 16) and out.mask.shape == out.tokens.shape[:2]
        np.testing.assert_array_equal(out.tokens[:, 1:3], np.broadcast_to(params["register_tokens"], (4, 2, 16)))
        np.testing.assert_array_equal(out.position[:, :3], 0)
        assert (out.position[:, 3:] > 0).all()


def test_registers_need_a_class_token():
    with pytest.raises(ValueError, match="pooling must be 'class', not 'mean'"):
        ViT(**SMALL, registers=2)


@pytest.mark.parametrize("pooling", POOLS)
def test_a_head_is_a_linear_map_and_a_tanh(pooling):
    stream = images()
    module, params = start(stream, pooling=pooling, head="tanh")
    plain = run(ViT(**SMALL, pooling=pooling), {k: v for k, v in params.items() if k != "head"}, stream).pooled
    assert error(run(module, params, stream).pooled, np.tanh(references.dense(params["head"], plain))) < 1e-5


def test_patch_dropout_is_a_fair_choice():
    tokens, position = jnp.ones((2000, 4, 1)), jnp.broadcast_to(jnp.arange(4)[:, None], (2000, 4, 2))
    _, kept = drop_patches(tokens, position, 0.5, jax.random.key(0))
    np.testing.assert_allclose(np.bincount(kept[..., 0].ravel()) / 4000, 0.25, atol=0.03)


COUNTS = {"Ti": 5.5, "S": 21.7, "B": 85.8, "L": 303.3, "H": 630.8}  # million, patches of 16 (H: 14), class token


@pytest.mark.parametrize("size", COUNTS)
def test_parameter_counts_are_the_published_ones(size):
    pixels, present = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.uint8), jax.ShapeDtypeStruct((1,), bool)
    module = ViT(size=size, pooling="class", patch=14 if size == "H" else 16, scan=True)
    params = jax.eval_shape(module.init, jax.random.key(0), Stream(pixels, present))["params"]
    count = sum(x.size for x in jax.tree.leaves(params))
    assert count / 1e6 == pytest.approx(COUNTS[size], abs=0.05)
    if size == "B":
        assert count == 85_798_656


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give size .* or width and depth"),
        ({"size": "XXL"}, "unknown size 'XXL'; known: Ti, S, M, B, L, So400m, H, g"),
        ({"size": "B", "width": 128}, "size 'B' has a width of its own"),
        ({"width": 10, "depth": 1, "heads": 4}, "width 10 does not divide into 4 heads"),
    ],
)
def test_sizes_that_make_no_sense_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        ViT(**options)


def test_sizes_can_be_named_changed_or_spelt_out():
    assert ViT(size="So400m").dimensions == SIZES["So400m"]
    assert ViT(size="B", depth=3).dimensions == dataclasses.replace(SIZES["B"], depth=3)
    assert ViT(width=128, depth=2).dimensions == type(SIZES["B"])(128, 2, 2, 512)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"norm_first": False}, marks=pytest.mark.slow),
        pytest.param({"layer_scale": 0.3, "registers": 2}, marks=pytest.mark.slow),
        pytest.param({"positions": "rotary"}, marks=pytest.mark.slow),
        {"remat": "dots"},
        pytest.param({"remat": "full"}, marks=pytest.mark.slow),
        {"scan": True},
        pytest.param({"pooling": "mean"}, marks=pytest.mark.slow),
        {"pooling": "map"},
    ],
    ids=str,
)
def test_the_vector_alone_is_the_pooled_vector_with_the_same_gradients(options):
    stream = images()
    module, params = start(stream, **{"pooling": "class", "depth": 3} | options)

    def whole(p):
        return jnp.sum(jnp.sin(module.apply({"params": p}, stream).pooled))

    def alone(p):
        return jnp.sum(jnp.sin(module.apply({"params": p}, stream, method="vector")))

    (expected, wanted), (value, gradients) = (jax.jit(jax.value_and_grad(f))(params) for f in (whole, alone))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(wanted))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=1e-5 * scale), gradients, wanted)


def test_the_vector_alone_computes_only_the_class_token_in_the_last_block():
    """The last of three blocks keeps its keys and values, 1/6 of its products, and nearly nothing else."""
    stream = images(size=64)
    module, params = start(stream, pooling="class", depth=3)

    def products(method):
        run = jax.jit(lambda p: module.apply({"params": p}, stream, method=method))
        return run.lower(params).compile().cost_analysis()["flops"]

    assert products("vector") < 0.85 * products(lambda m, s: m(s).pooled)


def test_watched_intermediates_show_every_token_of_the_last_block():
    stream = images()
    module, params = start(stream, pooling="class")
    _, state = module.apply({"params": params}, stream, method="vector", mutable=["intermediates"])
    weights = state["intermediates"]["transformer"]["blocks_0"]["attention"]["weights"][0]
    assert weights.shape == (4, 2, 5, 5)
