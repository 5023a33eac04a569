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
from mmjax.losses import info_nce, sigmoid
from mmjax.tasks import TASKS, Align
from mmjax.tasks.align import foil_groups, soft_target, words_of

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
        ({"soft": 1.5}, r"task: soft must lie in \[0, 1\], got 1.5"),
        ({"soft": 0.5, "loss": "sigmoid"}, "task: soft needs a loss that takes a target, such as info_nce"),
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


# --- soft targets

LENGTH, VOCABULARY = 6, 9
SOFT = {"positives": FrozenDict(caption=("caption_2",)), "foils": FrozenDict(caption=("foil",))}


class Table(nn.Module):
    """A picture is its own feature; a text's is the sum of its tokens' rows of a table."""

    @nn.compact
    def __call__(self, batch, train=False):
        table = jax.random.normal(jax.random.key(0), (VOCABULARY, DIM))
        features = {}
        for name, stream in batch.streams.items():
            x = stream.data if name == "image" else (table[stream.data] * stream.mask[..., None]).sum(1)
            features[name] = x / jnp.linalg.norm(x, axis=1, keepdims=True)
        return features | {"scale": jnp.asarray(10.0)}


@pytest.fixture
def texts(features):
    """Five pictures with two captions and a foil each; token 1 stands in all of them, and the last place is padding."""
    rng = np.random.default_rng(1)
    everywhere = jnp.ones(ROWS, bool)
    streams = {"image": Stream(features["image"], everywhere)}
    mask = jnp.broadcast_to(jnp.arange(LENGTH) < LENGTH - 1, (ROWS, LENGTH))
    for name in ("caption", "caption_2", "foil"):
        ids = rng.integers(2, VOCABULARY, (ROWS, LENGTH)).astype(np.int32)
        ids[:, 0] = 1
        streams[name] = Stream(jnp.asarray(ids), everywhere, mask)
    index = jnp.arange(ROWS, dtype=jnp.int32)
    return Batch(streams, everywhere, index, index)


def reference(batch, soft, power=2, idf=True, foils=False, union=True):
    """The target by loops over sets of words; the options make wrong variants."""
    columns = ["caption", "caption_2"]
    words = {}
    for name in (*columns, "foil"):
        stream = batch[name]
        for i in range(ROWS):
            there = bool(batch.valid[i] & stream.present[i])
            words[name, i] = {int(t) for t, m in zip(stream.data[i], stream.mask[i], strict=True) if m and there}
    rows = [words[name, i] for name in columns for i in range(ROWS)]
    known = [row for row in rows if row]
    weight = {w: np.log(len(known) / sum(w in row for row in known)) if idf else 1.0 for row in known for w in row}

    def cosine(a, b):
        length = np.sqrt(sum(weight[w] ** 2 for w in a) * sum(weight[w] ** 2 for w in b))
        return sum(weight[w] ** 2 for w in a & b) / length if length else 0.0

    out = np.zeros((ROWS, 3 * ROWS))
    for i in range(ROWS):
        own = [k for k in (i, ROWS + i) if rows[k] and batch["image"].present[i]]
        if own:
            mine = words["caption", i] | (words["caption_2", i] if union else set())
            others = [*rows, *(words["foil", j] & set(weight) for j in range(ROWS))] if foils else rows
            alike = np.array([cosine(mine, row) ** power for row in others])
            for j, k in np.ndindex(len(others) // ROWS, ROWS):
                if not batch["image"].present[k]:
                    alike[j * ROWS + k] = 0
            out[i, own] = (1 - soft) / len(own)
            out[i, : len(others)] += soft * alike / alike.sum()
    return out


def soft_loss(batch, soft=0.5):
    task = Align(Table(), info_nce, (("image", "caption"),), **SOFT, soft=soft)
    value = task.loss({}, task.encode({}, batch, None), batch, None)
    return float(value.total / value.weight)


def hard_loss(batch, target):
    """info_nce of the same columns with a target that is given."""
    features = Table().apply({}, batch)
    names = ("caption", "caption_2", "foil")
    valid = jnp.concatenate([batch.valid & batch[name].present for name in names])
    columns = jnp.concatenate([features[name] for name in names])
    rows = batch.valid & batch["image"].present
    return float(info_nce(features["image"], columns, 10.0, valid_a=rows, valid_b=valid, target=jnp.float32(target)))


def test_a_soft_target_is_spread_by_the_words_of_the_captions(texts):
    assert soft_loss(texts) == pytest.approx(hard_loss(texts, reference(texts, 0.5)), rel=1e-5)
    assert soft_loss(texts, 0.0) == pytest.approx(hard_loss(texts, reference(texts, 0.0)), rel=1e-5)


@pytest.mark.parametrize("mutant", [{"power": 1}, {"idf": False}, {"foils": True}, {"union": False}, {"soft": 0.4}])
def test_the_definition_of_soft_rejects_wrong_variants(texts, mutant):
    wrong = hard_loss(texts, reference(texts, **{"soft": 0.5} | mutant))
    assert soft_loss(texts) != pytest.approx(wrong, rel=1e-3)


def spoil(batch, junk):
    """The last row is padding, the one before has no picture and no second caption: what they hold is junk."""
    valid, there = jnp.arange(ROWS) < ROWS - 1, jnp.arange(ROWS) < ROWS - 2
    streams = dict(batch.streams)
    image, second = streams["image"], streams["caption_2"]
    streams["image"] = Stream(jnp.where(there[:, None], image.data, junk), there)
    ids = jnp.where(there[:, None], second.data, 0 if np.isnan(junk) else int(junk))
    streams["caption_2"] = Stream(ids, there, second.mask | ~there[:, None])
    for name in ("caption", "foil"):
        ids = jnp.where(valid[:, None], streams[name].data, 0 if np.isnan(junk) else int(junk))
        streams[name] = Stream(ids, streams[name].present, streams[name].mask | ~valid[:, None])
    return Batch(streams, valid, batch.index, batch.group)


def test_rows_that_are_not_there_have_no_part_in_a_soft_target(texts):
    value = soft_loss(spoil(texts, 3.0))
    assert value == pytest.approx(hard_loss(spoil(texts, 3.0), reference(spoil(texts, 3.0), 0.5)), rel=1e-5)
    for junk in (np.nan, 8.0):
        assert soft_loss(spoil(texts, junk)) == value


def test_gradients_of_soft_targets_are_finite(texts):
    task = Align(Table(), info_nce, (("image", "caption"),), **SOFT, soft=0.5)
    batch = spoil(texts, np.nan)

    def total(image):
        features = task.encode({}, batch, None) | {"image": image}
        return task.loss({}, features, batch, None).total

    gradient = np.asarray(jax.jit(jax.grad(total))(task.encode({}, batch, None)["image"]))
    assert np.isfinite(gradient).all() and not gradient[ROWS - 2 :].any() and gradient[: ROWS - 2].any()


def test_captions_of_nothing_but_common_words_keep_to_their_positives():
    words, positive = jnp.ones((3, 4)), jnp.eye(3, dtype=bool)
    np.testing.assert_array_equal(soft_target(0.5, positive, words, words), np.eye(3, dtype=np.float32))


def test_soft_targets_are_refused_where_there_are_no_words(features):
    with pytest.raises(ValueError, match="'caption' holds none"):
        loss(make_batch(image=features["image"], caption=features["caption"]), soft=0.5)
    with pytest.raises(ValueError, match="takes a target"):
        Align(Given(), sigmoid, (("image", "caption"),), soft=0.5)


def test_words_are_a_set_of_the_real_tokens(texts):
    words = np.asarray(words_of(texts, "caption", buckets=8))
    for row, ids in zip(words, np.asarray(texts["caption"].data), strict=True):
        assert set(np.flatnonzero(row)) == {t % 8 for t in ids[:-1]} and set(row) <= {0.0, 1.0}
