"""LoRA: starts as the task it wraps, learns by its factors alone, and merges into a plain model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmjax.batch import Batch, Stream
from mmjax.config import build
from mmjax.errors import UserError
from mmjax.tasks import TASKS
from mmjax.tasks.lora import Lora
from mmjax.training.optimizer import Optimizer, trained
from mmjax.training.tree import names

ROWS = 6


def make_task(scan):
    return build(
        {
            "name": "align",
            "towers": {
                "image": {"name": "vit", "patch": 4, "width": 16, "depth": 2, "heads": 2, "scan": scan},
                "text": {"name": "text", "width": 16, "depth": 1, "heads": 2, "vocabulary": 20, "length": 5},
            },
            "streams": {"image": "image", "caption": "text"},
            "pairs": (("image", "caption"),),
            "dim": 8,
        },
        TASKS,
        "task",
    )


@pytest.fixture(scope="module")
def batch():
    rng, ones, index = np.random.default_rng(0), np.ones(ROWS, bool), np.arange(ROWS, dtype=np.int32)
    pixels = rng.integers(0, 256, (ROWS, 8, 8, 3)).astype(np.uint8)
    ids = rng.integers(0, 20, (ROWS, 5)).astype(np.int32)
    streams = {"image": Stream(pixels, ones), "caption": Stream(ids, ones, mask=np.ones((ROWS, 5), bool))}
    return jax.tree.map(jnp.asarray, Batch(streams, ones, index, index))


def lora(scan, **options):
    return Lora(make_task(scan), **{"kernels": (r"image.*(query|value)/kernel$", r"^project_"), "rank": 3, **options})


def shift(params, amount=0.1):
    """Parameters whose second factors are no longer zero."""
    key = jax.random.key(7)
    move = lambda path, x: x + amount * jax.random.normal(key, x.shape) if "_lora_b" in str(path) else x  # noqa: E731
    return jax.tree_util.tree_map_with_path(move, params)


@pytest.mark.parametrize("scan", [False, True])
def test_the_first_step_is_the_task_itself(batch, scan):
    task = lora(scan)
    params, plain = (t.init(jax.random.key(0), batch) for t in (task, task.task))
    jax.tree.map(np.testing.assert_array_equal, task.merge(params), plain)
    for f in ("encode", "loss"):
        ours, theirs = (run(t, p, batch, f) for t, p in ((task, params), (task.task, plain)))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def run(task, params, batch, what):
    features = task.encode(params, batch, None)
    return features if what == "encode" else task.loss(params, features, batch, None).total


@pytest.mark.parametrize("scan", [False, True])
def test_merged_parameters_are_the_formula(batch, scan):
    task = lora(scan, alpha=6.0)
    params = shift(task.init(jax.random.key(0), batch))
    merged = task.merge(params)
    assert names(merged) == names(task.task.init(jax.random.key(0), batch))
    query = lambda tree: tree["towers_image"]["transformer"]["blocks" if scan else "blocks_0"]["attention"]["query"]  # noqa: E731
    assert query(params)["kernel_lora_a"].shape == ((2, 16, 3) if scan else (16, 3))
    factors = [np.float64(query(params)[name]) for name in ("kernel", "kernel_lora_a", "kernel_lora_b")]
    np.testing.assert_allclose(query(merged)["kernel"], factors[0] + 2.0 * factors[1] @ factors[2], atol=1e-6)
    features = run(task, params, batch, "encode")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), run(task.task, merged, batch, "encode"), features
    )
    moved = float(jnp.abs(features["image"] - run(task, shift(params), batch, "encode")["image"]).max())
    assert moved > 1e-3


def test_a_dense_layer_with_a_branch_is_the_same(batch):
    """x W + alpha / rank (x a) b, as the paper writes it."""
    task = lora(False)
    params = shift(task.init(jax.random.key(0), batch))["project_image"]
    x = jax.random.normal(jax.random.key(1), (4, 16))
    branch = x @ params["kernel"] + task.alpha / task.rank * (x @ params["kernel_lora_a"]) @ params["kernel_lora_b"]
    merged = task.merge({"project_image": params})["project_image"]
    np.testing.assert_allclose(nn.Dense(8, use_bias=False).apply({"params": merged}, x), branch, atol=1e-5)


def test_only_the_factors_and_what_else_is_named_train(batch):
    task = lora(True, also=("^scale$", "norm_after/"))
    params = jax.eval_shape(task.init, jax.random.key(0), batch)
    learning = names(trained(Optimizer(learning_rate=1.0, freeze=(task.frozen,)), params))
    attention = "towers_image/transformer/blocks/attention"
    factors = [f"{attention}/{name}/kernel_lora_{ab}" for name in ("query", "value") for ab in "ab"]
    factors += [f"project_{tower}/kernel_lora_{ab}" for tower in ("image", "text") for ab in "ab"]
    others = [f"towers_{tower}/norm_after/{name}" for tower in ("image", "text") for name in ("bias", "scale")]
    assert set(learning) == {*factors, *others, "scale"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": ("imgae",)}, "'imgae' matches no parameter"),
        ({"also": ("imgae",)}, "'imgae' matches no parameter"),
        ({"kernels": ("image.*query/bias$",)}, "query/bias (2, 16) is no matrix"),
        ({"kernels": ("image.*norm_mlp/scale$",)}, "norm_mlp/scale (2, 16) is no matrix"),
    ],
)
def test_refused_by_shapes(batch, options, message):
    with pytest.raises(UserError) as error:
        jax.eval_shape(lora(True, **options).init, jax.random.key(0), batch)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kernels": ("a",), "rank": 0}, "config.lora: rank must be at least 1"),
        ({"kernels": ()}, "config.lora: rank must be at least 1 and kernels name at least one"),
        ({"kernels": ("(",)}, r"config.lora: '\(' is no regular expression"),
        ({"kernel": ("a",)}, "unknown config key config.lora.kernel; did you mean kernels"),
        ({}, "config.lora.kernels is missing"),
    ],
)
def test_refused_by_the_config(section, message):
    with pytest.raises(UserError, match=message):
        build(section, Lora, "config.lora", task=make_task(False))
