"""Losses, gradients and parameters do not depend on how many devices compute them, nor along which axes.

Parameters are compared after SGD: a key's bias has zero true gradient under softmax attention, and Adam would turn its
rounding noise into steps.
"""

import jax
import numpy as np
import pytest

from mmjax.config import build
from mmjax.losses import LOSSES
from mmjax.mesh import MeshShape, make_mesh, put_batch
from mmjax.tasks import Align
from mmjax.training.assemble import abstract_batch, assemble
from mmjax.training.optimizer import Optimizer
from mmjax.training.sharding import shardings
from mmjax.training.state import abstract_state, create_state, initializer
from mmjax.training.step import gradients, make_step
from mmjax.training.tree import names
from tests.training import toy

MESHES = {
    "one": MeshShape(1, 1, 1),
    "data 8": MeshShape(8, 1, 1),
    "data 2 fsdp 4": MeshShape(2, 4, 1),
    "data 2 fsdp 2 tensor 2": MeshShape(2, 2, 2),
}
STEPS = 5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = toy.get_config()
    config.optimizer = {"name": "sgd", "learning_rate": 0.05, "b1": 0.0, "warmup": 0.0, "clip": 0.0}
    return assemble(config, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def batches(run):
    with run.loader.batches(0) as loaded:
        return [next(loaded).batch for _ in range(STEPS)]


def first_state(run, task, options, mesh):
    init = initializer(task, options, abstract_batch(run))
    return create_state(init, abstract_state(init, mesh), seed=0)


def train(run, batches, shape, task=None):
    """Losses, the first gradients and the last parameters on a mesh."""
    task, options = task or run.task, run.experiment.optimizer
    mesh = make_mesh(shape, jax.devices()[: abs(shape.data * shape.fsdp * shape.tensor)])
    with jax.set_mesh(mesh), jax.default_matmul_precision("highest"):
        state = first_state(run, task, options, mesh)
        key = jax.random.key(0)
        first = put_batch(batches[0], mesh)
        grad_fn = jax.jit(lambda p, b: gradients(task, options, p, b, key)[2])
        grads = jax.device_get(grad_fn(state.params, first))
        step, losses = jax.jit(make_step(task, options, STEPS)), []
        for batch in batches:
            state, metrics = step(state, put_batch(batch, mesh), key)
            losses.append(float(metrics["loss"]))
        return losses, grads, jax.device_get(state.params)


@pytest.fixture(scope="module")
def single(run, batches):
    return train(run, batches, MESHES["one"])


def assert_close(actual, expected, rtol=2e-5):
    """Relative to each leaf's scale, with a floor of 1e-3 of the tree's largest entry: 2e-8 of that, half a rounding.

    A key's bias shifts all logits of a query alike: its true gradient is 0, and what is there is rounding.
    """
    largest = max(np.abs(x).max() for x in jax.tree.leaves(expected))
    for name, a, b in zip(names(expected), jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = 0.1 * largest if name.endswith("key/bias") else max(np.abs(b).max(), 1e-3 * largest)
        assert np.abs(a - b).max() <= rtol * scale, name


# Of three axes at once, the others are parts.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if "tensor" in name else [pytest.mark.slow]) for name in list(MESHES)[1:]],
)
def test_equal_to_one_device(run, batches, single, name):
    losses, grads, params = train(run, batches, MESHES[name])
    np.testing.assert_allclose(losses, single[0], rtol=1e-5)
    assert_close(grads, single[1])
    assert_close(params, single[2])


@pytest.mark.slow  # the losses themselves are compared on one and eight devices in tests/losses
@pytest.mark.parametrize("loss", ["sigmoid", "triplet", "margin_contrastive"])
def test_every_loss_is_equal_to_one_device(run, batches, loss):
    task = Align(run.task.model, build(loss, LOSSES, "loss"), run.task.pairs)
    expected = train(run, batches[:1], MESHES["one"], task)
    losses, grads, _ = train(run, batches[:1], MESHES["data 2 fsdp 2 tensor 2"], task)
    np.testing.assert_allclose(losses, expected[0], rtol=1e-5)
    assert_close(grads, expected[1])


@pytest.mark.slow
def test_a_loss_of_each_shard_alone_is_rejected(run, batches, single):
    """The mutant of trap 8: the mean of the shards' own losses."""
    parts = [jax.tree.map(lambda x, i=i: x[i * 8 : i * 8 + 8], batches[0]) for i in range(2)]
    options = run.experiment.optimizer
    params = jax.jit(initializer(run.task, options, batches[0]))(jax.random.key(0)).params
    with jax.default_matmul_precision("highest"):
        results = [gradients(run.task, options, params, part, jax.random.key(0)) for part in parts]
    losses, _, grads = zip(*results, strict=True)
    assert abs(float(sum(losses)) / 2 - single[0][0]) > 1e-3
    with pytest.raises(AssertionError):
        assert_close(jax.tree.map(lambda *g: sum(g) / 2, *grads), single[1])


def test_parameters_are_really_split(run):
    options = Optimizer(learning_rate=0.1)
    mesh = make_mesh(MESHES["data 2 fsdp 2 tensor 2"])
    state = first_state(run, run.task, options, mesh)
    whole = sum(x.size for x in jax.tree.leaves(state.params))
    mine = sum(x.addressable_shards[0].data.size for x in jax.tree.leaves(state.params))
    assert mine < 0.45 * whole  # of four ways to split, some leaves go two, biases none
    moments = [x for x in jax.tree.leaves(state.opt_state) if x.ndim == 2]
    assert all(x.addressable_shards[0].data.size <= x.size / 2 for x in moments)


def test_an_unsplit_tree_is_the_data_parallel_default(run):
    mesh = make_mesh(MESHES["data 8"])
    params = jax.eval_shape(lambda: run.task.init(jax.random.key(0), abstract_batch(run)))
    assert all(s.is_fully_replicated for s in jax.tree.leaves(shardings(params, mesh)))
