"""The alignment task pairs what belongs together: captions of an item are positives, foils negatives of every item."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.core import FrozenDict

from mmjax.batch import Batch, Stream
from mmjax.config import build
from mmjax.errors import UserError
from mmjax.losses import info_nce
from mmjax.tasks import TASKS, Align
from mmjax.tasks.align import foil_groups

ROWS, DIM = 5, 4


class Given(nn.Module):
    """Features as they come in the batch."""

    @nn.compact
    def __call__(self, batch, train=False):
        return {name: stream.data for name, stream in batch.streams.items()} | {"scale": jnp.asarray(10.0)}


def make_batch(group=None, valid=None, **features):
    index = jnp.arange(ROWS, dtype=jnp.int32)
    streams = {name: Stream(x, jnp.ones(ROWS, bool)) for name, x in features.items()}
    valid = jnp.ones(ROWS, bool) if valid is None else valid
    return Batch(streams, valid, index, index if group is None else group)


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    names = ("image", "caption", "caption_2", "foil")
    unit = lambda x: jnp.float32(x / np.linalg.norm(x, axis=1, keepdims=True))  # noqa: E731
    return {name: unit(rng.normal(size=(ROWS, DIM))) for name in names}


def loss(batch, **options):
    task = Align(Given(), info_nce, (("image", "caption"),), **options)
    value = task.loss({}, task.encode({}, batch, None), batch, None)
    return float(value.total / value.weight)


def test_positives_and_foils_are_further_columns(features):
    options = {"positives": FrozenDict(caption=("caption_2",)), "foils": FrozenDict(caption=("foil",))}
    columns = jnp.concatenate([features["caption"], features["caption_2"], features["foil"]])
    index = jnp.arange(ROWS)
    groups = jnp.concatenate([index, index, 1000 + index])
    expected = info_nce(features["image"], columns, 10.0, group_a=index, group_b=groups)
    batch = make_batch(**features)
    assert loss(batch, **options) == pytest.approx(float(expected), rel=1e-6)
    assert loss(batch) != pytest.approx(float(expected), rel=1e-3)  # the mutants: without either
    assert loss(batch, foils=options["foils"]) != pytest.approx(float(expected), rel=1e-3)


def test_foils_belong_to_no_item():
    """Labels may be negative, and the loader's groups of rows without a caption are: -2 - index."""
    index = jnp.arange(1000, dtype=jnp.int32)
    others = jnp.concatenate([index, -2 - index, jnp.array([-1, 2**31 - 1])])
    assert not jnp.isin(foil_groups(index), others).any()
    assert len(jnp.unique(foil_groups(index))) == 1000


def test_rows_that_are_not_valid_count_nowhere(features):
    valid = jnp.arange(ROWS) < 3
    spoiled = {name: jnp.where(valid[:, None], x, jnp.nan) for name, x in features.items()}
    short = {name: x[:3] for name, x in features.items()}
    index = jnp.arange(3)
    expected = info_nce(short["image"], short["caption"], 10.0, group_a=index, group_b=index)
    batch = make_batch(valid=valid, **spoiled)
    assert loss(batch) == pytest.approx(float(expected), rel=1e-6)


def test_embed_gives_the_streams_that_are_there(features):
    task = Align(Given(), info_nce, (("image", "caption"),))
    assert task.embed({}, make_batch(image=features["image"])).keys() == {"image"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"streams": {"image": "vision", "caption": "text"}}, "names the tower 'vision'"),
        ({"foils": {"caption": ("wrong",)}}, "no tower encodes the stream 'wrong'"),
        ({"dim": "wide"}, "task.dim must be int"),
    ],
)
def test_mistakes(change, message):
    tower = {"name": "vit", "width": 8, "depth": 1, "heads": 1, "patch": 4}
    text = {"name": "text", "width": 8, "depth": 1, "heads": 1, "vocabulary": 9, "length": 4}
    section = {
        "name": "align",
        "towers": {"image": tower, "text": text},
        "streams": {"image": "image", "caption": "text"},
        "pairs": (("image", "caption"),),
    }
    assert jax.tree.leaves(build(section, TASKS, "task").pairs)
    with pytest.raises(UserError, match=message):
        build(section | change, TASKS, "task")
