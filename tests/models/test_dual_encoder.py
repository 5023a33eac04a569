"""Towers into one space: names, norms, scale and bias; what is not valid stays out; precision is where it should be."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjax.batch import Stream
from mmjax.config import build
from mmjax.errors import UserError
from mmjax.models import DualEncoder, TextTransformer, ViT
from mmjax.models.dual_encoder import unit
from mmjax.tasks import TASKS
from tests.models import references
from tests.models.batches import EOS, pairs
from tests.models.references import draw_params, list_operations

SMALL = {"width": 32, "depth": 2, "heads": 2, "mlp_dim": 48}


def make(bias_init=None, **options):
    image = ViT(**SMALL, patch=8, **options)
    text = TextTransformer(**SMALL, vocabulary=20, length=8, pooling="eos", eos=EOS, **options)
    towers = {"image": image, "text": text}
    streams = {"image": "image", "caption": "text", "caption_2": "text"}
    return DualEncoder(towers, streams, dim=24, scale_init=1 / 0.07, bias_init=bias_init)


@pytest.fixture(scope="module")
def params():
    return draw_params(make(), pairs())


def run(params, batch, **options):
    return jax.jit(lambda p, b: make(**options).apply({"params": p}, b))(params, batch)


def test_parameter_names(params):
    names = {"towers_image", "towers_text", "project_image", "project_text", "scale"}
    assert set(params) == names
    assert set(params["towers_image"]) == {"patches", "position_table", "transformer", "norm_after"}
    assert set(params["towers_text"]) == {"embedding", "position_table", "transformer", "norm_after"}
    assert set(params["project_text"]) == {"kernel"} and params["project_text"]["kernel"].shape == (32, 24)


@pytest.mark.parametrize(("scale", "bias"), [(1 / 0.07, None), (10.0, -10.0)])
def test_scale_and_bias_start_where_they_are_told(scale, bias):
    module = dataclasses.replace(make(bias), scale_init=scale)
    batch = dataclasses.replace(pairs(), streams={})
    out, variables = module.init_with_output(jax.random.key(0), batch)
    assert float(out["scale"]) == pytest.approx(scale, rel=1e-6)
    assert float(variables["params"]["scale"]) == pytest.approx(math.log(scale), rel=1e-6)
    assert set(out) == {"scale"} | ({"bias"} if bias else set())
    assert bias is None or float(out["bias"]) == bias


def test_features_are_float32_unit_vectors_of_the_streams_that_are_there(params):
    batch = pairs()
    out = run(params, batch)
    for name in ("image", "caption"):
        assert out[name].shape == (4, 24) and out[name].dtype == jnp.float32
        np.testing.assert_allclose(jnp.linalg.norm(out[name], axis=1), 1.0, rtol=1e-5)
    alone = dataclasses.replace(batch, streams={"caption": batch["caption"], "unheard": batch["image"]})
    np.testing.assert_allclose(run(params, alone)["caption"], out["caption"], atol=1e-6)
    assert set(run(params, alone)) == {"caption", "scale"}


def test_streams_may_share_a_tower(params):
    batch = pairs()
    both = dataclasses.replace(batch, streams=batch.streams | {"caption_2": batch["caption"]})
    out = run(params, both)
    np.testing.assert_array_equal(out["caption"], out["caption_2"])


@pytest.mark.parametrize("junk", [5.0, np.nan])
def test_rows_that_are_not_valid_pass_nothing_on(params, junk):
    batch = pairs()
    kept = jnp.asarray([True, True, False, True])

    def total(params, pixels, ids):
        streams = {"image": Stream(pixels, batch.valid), "caption": dataclasses.replace(batch["caption"], data=ids)}
        out = make().apply({"params": params}, dataclasses.replace(batch, streams=streams, valid=kept))
        return jnp.sum(jnp.sin(out["image"] + out["caption"])), out

    pixels = jnp.float32(batch["image"].data) / 255
    spoiled = pixels.at[2].set(junk), batch["caption"].data.at[2].set(19)
    (_, clean), clean_grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params, pixels, batch["caption"].data)
    (_, out), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params, *spoiled)
    jax.tree.map(np.testing.assert_array_equal, (out, grads), (clean, clean_grads))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((out, grads)))


@given(st.floats(-30, 18), st.integers(0, 10))
@settings(max_examples=25, deadline=None)
def test_unit_is_finite_at_every_length(exponent, seed):
    x = 10.0**exponent * np.random.default_rng(seed).normal(size=(1, 4))
    value, grad = jax.value_and_grad(lambda x: unit(x)[0, 0])(jnp.float32(x))
    assert np.isfinite(value) and np.isfinite(grad).all()
    if np.linalg.norm(x) > 1e-5:
        np.testing.assert_allclose(unit(jnp.float32(x)), x / np.linalg.norm(x), atol=1e-6)


def test_unit_of_zero_is_zero_with_a_finite_gradient():
    value, grad = jax.value_and_grad(lambda x: unit(x).sum())(jnp.zeros((2, 3)))
    assert value == 0 and np.isfinite(grad).all()


def test_a_tower_may_have_a_bias_or_no_projection():
    module, batch = dataclasses.replace(make(), dim=32, project={"text": "bias", "image": "none"}), pairs()
    params = draw_params(module, batch)
    assert "project_image" not in params and params["project_text"]["bias"].shape == (32,)
    out = jax.jit(lambda p, b: module.apply({"params": p}, b))(params, batch)
    pooled = {
        name: jax.jit(module.towers[name].apply)({"params": params[f"towers_{name}"]}, batch[stream]).pooled
        for name, stream in (("image", "image"), ("text", "caption"))
    }
    np.testing.assert_allclose(out["image"], unit(pooled["image"]), atol=1e-5)
    projected = references.dense(params["project_text"], pooled["text"])
    np.testing.assert_allclose(out["caption"], unit(jnp.float32(projected)), atol=1e-5)


@pytest.mark.parametrize(
    ("project", "message"),
    [
        ({"sound": "none"}, "project names the tower 'sound'; there are: image, text"),
        ({"image": "none"}, "tower 'image' is 32 wide: without projection, dim must be that too"),
    ],
)
def test_projections_that_do_not_fit_are_refused(project, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make(), project=project)


def test_a_config_says_how_towers_are_projected():
    towers = {
        "image": {"name": "vit", "patch": 8} | SMALL,
        "text": {"name": "text", "vocabulary": 20, "length": 8} | SMALL,
    }
    section = {"towers": towers, "streams": {"image": "image", "caption": "text"}, "pairs": (("image", "caption"),)}
    section |= {"name": "align", "dim": 32, "project": {"image": "none", "text": "bias"}}
    model = build(section, TASKS, "task").model
    assert dict(model.project) == section["project"] and hash(model) == hash(build(section, TASKS, "task").model)
    for project, message in (({"image": "cubic"}, "task.project must be"), ({"video": "none"}, "tower 'video'")):
        with pytest.raises(UserError, match=message):
            build(section | {"project": project}, TASKS, "task")


def test_a_stream_without_its_tower_is_refused():
    with pytest.raises(ValueError, match="stream 'sound' wants tower 'audio'; there are: image, text"):
        dataclasses.replace(make(), streams={"sound": "audio"})


OPTIONS = [{}, {"positions": "rotary", "norm": "rms", "activation": "swiglu"}, {"scan": True, "qk_norm": True}]


@pytest.mark.parametrize("options", OPTIONS)
def test_every_parameter_and_gradient_is_float32_whatever_computes(options):
    module, batch = make(dtype="bfloat16", layer_scale=0.1, pre_norm=True, **options), pairs()
    params = jax.eval_shape(module.init, jax.random.key(0), batch)["params"]
    total = lambda p: sum(x.sum() for x in module.apply({"params": p}, batch).values())  # noqa: E731
    grads = jax.eval_shape(jax.grad(total), params)
    assert {x.dtype for x in jax.tree.leaves((params, grads))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("options", OPTIONS[:2])
def test_bfloat16_features_point_the_same_way(options):
    batch = pairs()
    params = draw_params(make(**options), batch)
    full, half = run(params, batch, **options), run(params, batch, dtype="bfloat16", **options)
    for name in ("image", "caption"):
        cosine = (full[name] * half[name]).sum(axis=1)
        assert cosine.min() > 0.999 and not (full[name] == half[name]).all()


def test_matmuls_run_in_the_compute_dtype_and_norms_and_softmax_in_float32():
    batch, module = pairs(), make(dtype="bfloat16", attention="xla")
    params = jax.eval_shape(module.init, jax.random.key(0), batch)["params"]
    tower = lambda p: module.apply({"params": p}, "image", batch["image"], method="embed")  # noqa: E731
    operations = list_operations(tower, params)
    factors = [{v.aval.dtype.name for v in o.invars} for o in operations if o.primitive.name == "dot_general"]
    # Patches, per block four of attention, two inside it, two of the MLP; then the projection, in float32.
    assert len(factors) == 1 + 2 * 8 + 1 and factors.count({"float32"}) == 1 and {"float32"} == factors[-1]
    sensitive = [o for o in operations if o.primitive.name in ("exp", "rsqrt", "reduce_sum")]
    assert sensitive and {o.invars[0].aval.dtype.name for o in sensitive} == {"float32"}
