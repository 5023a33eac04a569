"""CoCa's loss is one number however its batch is cut; it embeds, scores and writes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.batch import Batch
from mmjax.config import build
from mmjax.decoding import Decoding
from mmjax.errors import UserError
from mmjax.mesh import MeshShape, make_mesh, put_batch
from mmjax.tasks import TASKS
from mmjax.training.optimizer import Optimizer
from mmjax.training.step import gradients
from tests.models.batches import EOS, images, texts
from tests.models.references import draw_params

BEGIN, VOCABULARY, ROWS, LENGTH = 1, 20, 8, 9
SIZE = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 24}
TEXT = {"vocabulary": VOCABULARY, "length": LENGTH, "pooling": "class", "causal": True, "begin": BEGIN, "eos": EOS}
SECTION = {
    "name": "coca",
    "towers": {
        "image": {"name": "vit", "patch": 8, "pooling": "class", "final_norm": False, **SIZE},
        "text": {"name": "text", **SIZE, **TEXT},
    },
    "streams": {"image": "image", "caption": "text"},
    "decoder": {"depth": 1, "heads": 4, "mlp_dim": 24},
    "pooler": {"queries": 4, "heads": 2},
    "dim": 8,
}


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def make_batch():
    """Texts of unequal lengths, a row that is not valid, one without its picture and one without a text."""
    index = jnp.arange(ROWS, dtype=jnp.int32)
    image, caption = images(ROWS), texts([2 + i % 6 for i in range(ROWS)], 7, VOCABULARY)
    streams = {
        "image": dataclasses.replace(image, present=index != 3),
        "caption": dataclasses.replace(caption, data=caption.data.at[:, 0].set(BEGIN), present=index != 4),
    }
    return Batch(streams, index != 5, index, index)


TASK, BATCH = build(SECTION, TASKS, "task"), make_batch()
PARAMS = draw_params(TASK.model, BATCH)


@functools.cache
def features():
    return jax.jit(lambda params, batch: TASK.encode(params, batch, None))(PARAMS, BATCH)


# --- one loss, however the batch is cut


def step(batch=BATCH, **options):
    """Loss, metrics and gradients as a training step has them."""
    run = jax.jit(lambda p, b: gradients(TASK, Optimizer(1e-3, **options), p, b, jax.random.key(0)))
    return run(PARAMS, batch)


@pytest.fixture(scope="module")
def whole():
    return step()


def assert_same(actual, wanted, tolerance=1e-5):
    """A key's bias has no true gradient, only rounding."""
    floor = 1e-3 * max(float(jnp.abs(x).max()) for x in jax.tree.leaves(wanted))
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(wanted), strict=True):
        scale = 100 * floor if "'key'" in str(path) and "bias" in str(path) else max(float(jnp.abs(y).max()), floor)
        assert float(jnp.abs(x - y).max()) <= tolerance * scale, path


def test_micro_batches_meet_in_the_same_loss(whole):
    """Of 8 rows in 4 micro-batches each has other lengths: a mean of their means would be another loss."""
    value, metrics, grads = step(accumulate=4)
    assert value == pytest.approx(float(whole[0]), rel=1e-6)
    assert_same(metrics, whole[1])
    assert_same(grads, whole[2])
    sums, counts = (np.asarray(features()[name]).reshape(2, 4).sum(axis=0) for name in ("surprise", "tokens"))
    mean = (sums / np.maximum(counts, 1)).mean()
    assert abs(float(mean / metrics["caption"]) - 1) > 1e-2  # mutant: micro-batches average what each of them has


def test_eight_devices_have_the_same_loss(whole):
    mesh = make_mesh(MeshShape())
    with jax.set_mesh(mesh):
        value, metrics, grads = step(put_batch(jax.device_get(BATCH), mesh))
    assert value == pytest.approx(float(whole[0]), rel=1e-6)
    assert_same(metrics, whole[1])
    assert_same(grads, whole[2])


def test_what_a_micro_batch_hands_on_is_small():
    """Logits of all rows would be what accumulation is there to avoid."""
    assert {name: x.shape for name, x in features().items()} == {
        **dict.fromkeys(("image", "caption"), (ROWS, 8)),
        **dict.fromkeys(("surprise", "tokens", "right"), (ROWS,)),
        "scale": (),
    }


def test_a_text_counts_where_it_and_its_picture_are_there():
    lengths = np.array([2 + i % 6 for i in range(ROWS)])
    expected = np.where([i not in (3, 4, 5) for i in range(ROWS)], lengths - 1, 0)  # the first token is given
    np.testing.assert_array_equal(features()["tokens"], expected)
    assert not features()["surprise"][3:6].any()
    out = TASK.loss(PARAMS, features(), BATCH, None)
    assert float(out.weight) == ROWS - 1
    caption = float(features()["surprise"].sum() / expected.sum())
    assert float(out.metrics["caption"]) == pytest.approx(caption, rel=1e-6)


def test_without_a_single_token_the_loss_is_the_contrastive_one():
    short = dataclasses.replace(BATCH["caption"], mask=jnp.zeros_like(BATCH["caption"].mask).at[:, 0].set(True))
    batch = dataclasses.replace(BATCH, streams={**BATCH.streams, "caption": short})
    nothing = {name: jnp.zeros(ROWS) for name in ("surprise", "tokens", "right")}
    np.testing.assert_array_equal(TASK._by_row(jnp.ones((ROWS, 6, VOCABULARY)), batch)["tokens"], 0)
    out = TASK.loss(PARAMS, {**features(), **nothing}, batch, None)
    assert float(out.total / out.weight) == pytest.approx(float(out.metrics["contrastive"]), rel=1e-6)


# --- predictors


def test_embed_gives_the_streams_that_are_there():
    alone = dataclasses.replace(BATCH, streams={"caption": BATCH["caption"]})
    found = TASK.embed(PARAMS, alone)
    assert found.keys() == {"caption"}
    np.testing.assert_allclose(found["caption"], features()["caption"], atol=1e-6)


def test_it_writes_what_it_finds_likeliest_and_scores_it_so():
    decoding = Decoding(length=6)
    written = jax.jit(lambda params, batch: TASK.generate(params, batch, decoding=decoding))(PARAMS, BATCH)
    ids = jnp.concatenate([jnp.full((ROWS, 1), BEGIN, jnp.int32), written.ids], axis=1)
    mask = jnp.concatenate([jnp.ones((ROWS, 1), bool), written.mask], axis=1)
    caption = dataclasses.replace(BATCH["caption"], data=ids, mask=mask, present=jnp.ones(ROWS, bool))
    batch = dataclasses.replace(BATCH, streams={**BATCH.streams, "caption": caption})
    both = lambda params, batch: (TASK.model.apply({"params": params}, batch)["next"], TASK.score(params, batch))  # noqa: E731
    logits, score = jax.jit(both)(PARAMS, batch)
    there = np.array([row not in (3, 5) for row in range(ROWS)])
    real = np.asarray(written.mask) & there[:, None]
    np.testing.assert_array_equal(np.where(real, logits.argmax(axis=-1), 0), np.where(real, written.ids, 0))
    np.testing.assert_allclose(score["logprob"][there], written.score[there], rtol=1e-4)
    np.testing.assert_array_equal(score["tokens"][there], written.mask.sum(axis=1)[there])
    assert (np.asarray(written.ids)[~np.asarray(written.mask)] == EOS).all()
    assert len({tuple(row) for row in np.asarray(written.ids)[there].tolist()}) > 1  # pictures differ


def test_beams_find_what_is_at_least_as_likely():
    run = lambda k: TASK.generate(PARAMS, BATCH, decoding=Decoding(length=3, beams=k, length_penalty=0.0))  # noqa: E731
    greedy, beams = (jax.jit(run, static_argnums=0)(k) for k in (1, 3))
    assert (np.asarray(beams.score) >= np.asarray(greedy.score) - 1e-5).all()


# --- mistakes


def section(**changes):
    return SECTION | changes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"towers": {"image": SECTION["towers"]["image"]}}, "task.towers.text.name is missing"),
        ({"streams": {"image": "image", "caption": "image"}}, "each reads one stream"),
        ({"decoder": {"depth": 1, "heads": 4}}, "task.decoder.mlp_dim is missing"),
        ({"decoder": {"depth": 1, "heads": 3, "mlp_dim": 4}}, "task.decoder: .* 16 wide.* 3 heads"),
        ({"decoder": {**SECTION["decoder"], "width": 8}}, "unknown config key task.decoder.width"),
        ({"pooler": {"queries": 1, "heads": 2}}, "task.pooler: .*at least 2 queries"),
        ({"caption_weight": -1.0}, "task: weights cannot be negative"),
        ({"pooler": None}, "task: without a pooler"),
    ],
)
def test_mistakes(change, message):
    narrow = {**SECTION["towers"], "image": {**SECTION["towers"]["image"], "width": 32}}
    with pytest.raises(UserError, match=message):
        build(section(towers=narrow) | change, TASKS, "task")


def test_a_text_that_does_not_know_how_it_begins_is_not_written():
    towers = {**SECTION["towers"], "text": {**SECTION["towers"]["text"], "begin": None}}
    task = build(section(towers=towers), TASKS, "task")
    with pytest.raises(UserError, match="config.task.towers.text.begin"):
        task.generate(PARAMS, BATCH, decoding=Decoding(length=3))
