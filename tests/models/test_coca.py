"""CoCa writes with its cache what it learns without one; and what may influence what."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from mmjax.batch import Batch
from mmjax.errors import UserError
from mmjax.models import TextTransformer, ViT
from mmjax.models.attentional_pooler import AttentionalPooler
from mmjax.models.coca import CoCa
from mmjax.models.multimodal_decoder import MultimodalDecoder
from tests.models.batches import images, texts
from tests.models.references import draw_params, error

VOCABULARY, LENGTH = 20, 9
SIZE = {"depth": 2, "heads": 2, "mlp_dim": 24}
LENGTHS = (7, 4, 1, 6)


def make(pooled=True, **text):
    image = ViT(**SIZE, width=12 if pooled else 16, patch=8, pooling="class", final_norm=not pooled)
    text = {"vocabulary": VOCABULARY, "length": LENGTH, "pooling": "class", "causal": True} | text
    return CoCa(
        FrozenDict(image=image, text=TextTransformer(**SIZE, width=16, **text)),
        FrozenDict(image="image", caption="text"),
        MultimodalDecoder(2, 4, 24, 16, VOCABULARY),
        10,
        AttentionalPooler(5, 2, 16) if pooled else None,
    )


def make_batch(lengths=LENGTHS):
    index = jnp.arange(len(lengths), dtype=jnp.int32)
    streams = {"image": images(len(lengths)), "caption": texts(lengths, 7, VOCABULARY)}
    return Batch(streams, jnp.ones(len(lengths), bool), index, index)


BATCH = make_batch()
MODEL = make()
PARAMS = draw_params(MODEL, BATCH)
TEXT, IMAGE = BATCH["caption"], BATCH["image"]


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@functools.cache
def compiled(model, method="__call__", slots=None):
    more = {} if slots is None else {"slots": slots}
    return jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs, **more, method=method))


def call(batch=BATCH, params=PARAMS, model=MODEL):
    return compiled(model)(params, batch)


def changed(**streams):
    return dataclasses.replace(BATCH, streams={**BATCH.streams, **streams})


def written(model, params, first, left=False, ids=TEXT.data):
    """Logits behind each token of a full row, from a prompt of `first` tokens of each row and then one by one."""
    mask = np.arange(max(first)) < np.array(first)[:, None]
    prompt = np.where(mask, ids[:, : max(first)], 7)
    if left:
        prompt, mask = (np.stack([np.roll(row, max(first) - n) for row, n in zip(x, first)]) for x in (prompt, mask))  # noqa: B905
    logits, cache = compiled(model, "prefill", LENGTH)(params, IMAGE, jnp.asarray(prompt), jnp.asarray(mask))
    found = [logits]
    for i in range(ids.shape[1] - max(first)):
        now = jnp.stack([row[n + i] for row, n in zip(ids, first, strict=True)])
        logits, cache = compiled(model, "step")(params, now, cache)
        found.append(logits)
    return jnp.stack(found, axis=1)


FULL = texts((7,) * 4, 7, VOCABULARY)


@pytest.mark.parametrize("left", [False, True])
def test_logits_with_the_cache_are_those_without(left):
    """Prompts differ in length, and padding may stand on either side."""
    first = (1, 3, 2, 3)
    expected = np.asarray(call(changed(caption=FULL))["next"])
    found = written(MODEL, PARAMS, first, left, FULL.data)
    for row, start in enumerate(first):
        wanted = expected[row, start - 1 :][: found.shape[1]]
        assert error(found[row, : len(wanted)], wanted) < 1e-5
        assert error(found[row, : len(wanted) - 1], wanted[1:]) > 1e-2  # mutant: one token late


@pytest.mark.parametrize(
    "model",
    [make(pooled=False, positions="sincos", pre_norm=True), make(positions="none", scan=True)],
    ids=["without pooler", "scanned"],
)
def test_so_are_those_of_other_towers(model):
    params = draw_params(model, BATCH)
    expected = np.asarray(call(changed(caption=FULL), params, model)["next"])
    assert error(written(model, params, (1,) * 4, ids=FULL.data)[:, :-1], expected) < 1e-5


def test_beams_of_a_row_go_on_apart():
    step, ids = functools.partial(compiled(MODEL, "step"), PARAMS), FULL.data[:, :1]
    _, cache = compiled(MODEL, "prefill", LENGTH)(PARAMS, IMAGE, ids, jnp.ones(ids.shape, bool))
    two = jnp.stack([FULL.data[:, 1], (FULL.data[:, 1] + 3) % VOCABULARY], axis=1)
    _, beams = step(two.reshape(-1), cache.take(jnp.zeros((4, 2), jnp.int32)))
    swapped = beams.take(jnp.tile(jnp.array([[1, 0]]), (4, 1)))
    found, _ = step(jnp.repeat(FULL.data[:, 2], 2), swapped)
    for place, second in ((1, two[:, 0]), (0, two[:, 1])):
        row = FULL.data.at[:, 1].set(second)
        wanted = call(changed(caption=dataclasses.replace(FULL, data=row)))["next"][:, 2]
        assert error(found.reshape(4, 2, -1)[:, place], np.asarray(wanted)) < 1e-5


def test_a_full_cache_says_so():
    ids = FULL.data[:, :2]
    prefill = lambda slots: compiled(MODEL, "prefill", slots)(PARAMS, IMAGE, ids, jnp.ones(ids.shape, bool))  # noqa: E731
    _, cache = prefill(2)
    logits, _ = compiled(MODEL, "step")(PARAMS, ids[:, 0], cache)
    assert jnp.isnan(logits).all()
    for slots in (1, LENGTH + 1):
        with pytest.raises(UserError, match="shorten the prompt or decoding.length"):
            prefill(slots)


# --- what may reach what


def test_a_token_is_predicted_from_those_before_it_and_the_picture():
    expected = call()
    later = dataclasses.replace(TEXT, data=TEXT.data.at[:, 3:].set(5))
    found = call(changed(caption=later))
    np.testing.assert_array_equal(found["next"][:, :3], expected["next"][:, :3])
    assert (found["next"][0, 3:] != expected["next"][0, 3:]).any(axis=-1).all()
    other = call(changed(image=images(4, seed=1)))
    assert (other["next"] != expected["next"]).any(axis=-1).all()


def test_the_class_token_is_the_texts_vector_and_no_word():
    tower = dict(PARAMS["towers_text"]) | {"class_token": jnp.linspace(-1, 1, 16)}
    found, expected = call(params={**PARAMS, "towers_text": tower}), call()
    np.testing.assert_array_equal(found["next"], expected["next"])
    np.testing.assert_array_equal(found["image"], expected["image"])
    assert error(found["caption"], np.asarray(expected["caption"])) > 1e-2


def test_the_first_query_is_the_pictures_vector_and_the_others_are_what_is_read():
    expected = call()
    for row, changes in ((0, "image"), (1, "next")):
        queries = PARAMS["pooler"]["queries"].at[row].set(jnp.linspace(-1, 1, 16))
        found = call(params={**PARAMS, "pooler": {**PARAMS["pooler"], "queries": queries}})
        assert {name for name in expected if (found[name] != expected[name]).any()} == {changes}


@pytest.mark.parametrize("missing", ["valid", "image", "caption"])
def test_what_is_not_there_influences_nothing(missing):
    """NaN where no picture is, any id where no token is."""
    keep = jnp.arange(4) != 1
    spoilt = jnp.where(keep[:, None, None, None], IMAGE.data / 255.0, jnp.nan)
    image = dataclasses.replace(IMAGE, data=spoilt if missing != "caption" else IMAGE.data / 255.0)
    ids = jnp.where(TEXT.mask & (keep[:, None] | (missing == "image")), TEXT.data, 13)
    caption = dataclasses.replace(TEXT, data=ids)
    batch = changed(image=image, caption=caption)
    if missing == "valid":
        batch = dataclasses.replace(batch, valid=keep)
    else:
        gone = {missing: dataclasses.replace(batch[missing], present=keep)}
        batch = dataclasses.replace(batch, streams={**batch.streams, **gone})
    found, expected = call(batch), call()
    assert all(jnp.isfinite(x).all() for x in found.values())
    for name in ("image", "caption", "next"):
        assert error(found[name][keep], np.asarray(expected[name][keep])) < 1e-6


# --- what does not fit together


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"pooling": "last"}, "towers.text.pooling must be 'class', got 'last'"),
        ({"causal": False}, "towers.text.causal must be True"),
        ({"layer_scale": 1e-5}, "towers.text.layer_scale must be None"),
        ({"positions": "rotary"}, "towers.text.positions must be one of"),
    ],
)
def test_a_text_tower_that_could_not_be_written_from_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        make(**text)


def test_tokens_of_an_image_tower_that_the_decoder_cannot_read_are_refused():
    for options in ({"width": 12}, {"pooling": "mean"}):
        image = ViT(**SIZE, **({"width": 16, "pooling": "class", "patch": 8} | options))
        with pytest.raises(ValueError, match="without a pooler, towers.image needs pooling 'class' and the width"):
            CoCa(FrozenDict(image=image, text=MODEL.towers["text"]), MODEL.streams, MODEL.decoder, 10)
    with pytest.raises(ValueError, match="at least 2 queries, and heads that divide its width 16"):
        AttentionalPooler(1, 2, 16)


def test_one_stream_alone_has_features():
    for name in ("image", "caption"):
        alone = dataclasses.replace(BATCH, streams={name: BATCH[name]})
        found = call(alone)
        assert found.keys() == {name, "scale"}
        assert error(found[name], np.asarray(call()[name])) < 1e-6
