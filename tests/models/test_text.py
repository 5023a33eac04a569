"""The text encoder: which token stands for a row, what padding may do (nothing), and causality."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.models import TextTransformer
from mmjax.models.encoders.text import pool_index
from tests.models import references
from tests.models.batches import EOS, texts
from tests.models.references import draw_params, error

SMALL = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 24, "vocabulary": 20, "length": 8}
# Short text; full length; no EOS; ids above EOS behind it; two EOS; nothing at all.
IDS = np.array([[5, 6, 2, 0, 0], [5, 6, 7, 8, 2], [5, 6, 7, 0, 0], [5, 2, 9, 19, 0], [2, 5, 2, 0, 0], [2, 2, 0, 0, 0]])
MASK = np.array([[1, 1, 1, 0, 0], [1] * 5, [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [0] * 5], bool)
RULES = {
    "eos": [2, 4, 2, 1, 0, 0],
    "argmax": [1, 3, 2, 3, 1, 0],
    "last": [2, 4, 2, 3, 2, 0],
    "final": [4] * 6,
    "first": [0] * 6,
}


def start(stream, **options):
    module = TextTransformer(**SMALL | options)
    return module, draw_params(module, stream)


def run(module, params, stream):
    return jax.jit(lambda p, s: module.apply({"params": p}, s))(params, stream)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_takes_its_own_token(rule):
    index = pool_index(rule, jnp.asarray(IDS), jnp.asarray(MASK), EOS)
    np.testing.assert_array_equal(index, RULES[rule])


def test_the_largest_id_is_looked_for_among_real_tokens():
    """OpenAI's rows are padded with 0, `transformers`' with the largest id itself."""
    for padding in (0, 19):
        ids = jnp.asarray([[5, 6, 19, padding, padding]])
        for mask in (jnp.ones((1, 5), bool), jnp.asarray([[1, 1, 1, 0, 0]], bool)):
            assert pool_index("argmax", ids, mask).tolist() == [2]


MUTANTS = {
    "the largest id": lambda ids: ids.argmax(1),
    "the first EOS, or place 0": lambda ids: (ids == EOS).argmax(1),
    "the first padding id less one": lambda ids: (ids == 0).argmax(1) - 1,
    "the last EOS": lambda ids: ids.shape[1] - 1 - (ids[:, ::-1] == EOS).argmax(1),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_cases_reject_wrong_rules(name):
    assert MUTANTS[name](IDS).tolist() != RULES["eos"]


def text_reference(p, stream, pooling, causal):
    ids, mask = np.asarray(stream.data), np.asarray(stream.mask)
    x = np.float64(p["embedding"]["embedding"])[ids] + p["position_table"][: ids.shape[1]]
    x = references.norm(p["norm_after"], references.block(p["transformer"]["blocks_0"], x, 2, mask, causal))
    if pooling == "mean":
        return np.stack([row[kept].mean(0) for row, kept in zip(x, mask, strict=True)])
    return x[np.arange(len(x)), pool_index(pooling, stream.data, stream.mask, EOS)]


@pytest.mark.parametrize("pooling", [*RULES, "mean"])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_the_definition(pooling, causal):
    stream = texts()
    module, params = start(stream, pooling=pooling, causal=causal, eos=EOS)
    pooled = run(module, params, stream).pooled
    assert error(pooled, text_reference(params, stream, pooling, causal)) < 1e-5
    if pooling in ("last", "mean"):
        unmasked = dataclasses.replace(stream, mask=jnp.ones_like(stream.mask))
        assert error(pooled, text_reference(params, unmasked, pooling, causal)) > 1e-2
    if pooling == "mean":
        assert error(pooled, text_reference(params, stream, pooling, not causal)) > 1e-3


@pytest.mark.parametrize("pooling", [*RULES, "mean"])
@pytest.mark.parametrize("junk", [7, -1, 10**6])
def test_what_padding_holds_changes_nothing(pooling, junk):
    stream = texts()
    module, params = start(stream, pooling=pooling, eos=EOS)
    spoiled = dataclasses.replace(stream, data=jnp.where(stream.mask, stream.data, junk))
    np.testing.assert_array_equal(run(module, params, spoiled).pooled, run(module, params, stream).pooled)


@pytest.mark.parametrize("pooling", [*RULES, "mean"])
def test_absent_and_empty_rows_are_finite_with_finite_gradients(pooling):
    stream = texts(lengths=(6, 4, 0, 3))
    stream = dataclasses.replace(stream, present=jnp.asarray([True, False, True, True]))
    module, params = start(stream, pooling=pooling, eos=EOS)

    def total(params):
        out = module.apply({"params": params}, stream)
        return jnp.sum(jnp.sin(out.pooled)), out

    (_, out), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((out, grads)))
    assert not out.mask[1].any() and not out.mask[2].any()
    if pooling != "final":
        other = dataclasses.replace(stream, data=stream.data.at[1].set(9))
        np.testing.assert_array_equal(run(module, params, other).pooled, out.pooled)


def test_siglip_reads_its_padding():
    stream = texts()
    module, params = start(stream, pooling="final", attend_padding=True)
    everything = dataclasses.replace(stream, mask=None)
    np.testing.assert_array_equal(run(module, params, stream).tokens, run(module, params, everything).tokens)
    expected = text_reference(params, dataclasses.replace(stream, mask=jnp.ones_like(stream.mask)), "final", False)
    assert error(run(module, params, stream).pooled, expected) < 1e-5
    assert error(run(module, params, stream).pooled, text_reference(params, stream, "final", False)) > 1e-3


@pytest.mark.parametrize("causal", [False, True])
def test_a_causal_tower_does_not_look_ahead(causal):
    stream = texts(lengths=(6,) * 4)
    module, params = start(stream, causal=causal)
    later = dataclasses.replace(stream, data=stream.data.at[:, 4].set(3))
    same = (run(module, params, later).tokens == run(module, params, stream).tokens).all(axis=(0, 2))
    assert same.tolist() == [causal] * 4 + [False] * 2


@pytest.mark.parametrize("positions", ["learned", "sincos", "rotary", "none"])
def test_positions_tell_word_order(positions):
    stream = texts(lengths=(6,) * 4)
    module, params = start(stream, positions=positions, pooling="mean")
    turned = dataclasses.replace(stream, data=stream.data[:, ::-1])
    change = error(run(module, params, turned).pooled, np.float64(run(module, params, stream).pooled))
    assert change < 1e-5 if positions == "none" else change > 1e-3


@pytest.mark.parametrize("positions", ["learned", "sincos"])
def test_a_stream_may_say_where_its_tokens_stand(positions):
    stream = texts(lengths=(6,) * 4)
    module, params = start(stream, positions=positions, pooling="mean")
    order = jnp.asarray([3, 1, 5, 0, 4, 2])
    shuffled = dataclasses.replace(stream, data=stream.data[:, order], position=jnp.broadcast_to(order, (4, 6)))
    np.testing.assert_allclose(run(module, params, shuffled).pooled, run(module, params, stream).pooled, atol=1e-5)


def test_rotary_positions_may_start_anywhere():
    stream = texts()
    module, params = start(stream, positions="rotary")
    moved = dataclasses.replace(stream, position=jnp.arange(6)[None] + jnp.zeros((4, 1), jnp.int32) + 30)
    np.testing.assert_allclose(run(module, params, moved).pooled, run(module, params, stream).pooled, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 0}, "vocabulary and length must be given"),
        ({"pooling": "eos"}, "needs the id that ends a text"),
        ({"types": -1}, "count rows, got 0 and -1"),
        ({"position_offset": 2, "positions": "sincos"}, "needs learned positions, not 'sincos'"),
    ],
)
def test_incomplete_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TextTransformer(**SMALL | options)


def test_an_offset_leaves_out_the_first_rows_of_the_table():
    stream = texts()
    plain, params = start(stream)
    moved, moved_params = start(stream, position_offset=2, types=2)
    assert moved_params["position_table"].shape == (10, 16) and moved_params["type_table"].shape == (2, 16)
    zeros = {"type_table": jnp.zeros((2, 16))}
    table = jnp.concatenate([jnp.full((2, 16), jnp.nan), params["position_table"]])
    out = run(moved, params | zeros | {"position_table": table}, stream)
    np.testing.assert_array_equal(out.pooled, run(plain, params, stream).pooled)
    placed = dataclasses.replace(stream, position=jnp.broadcast_to(jnp.arange(6), (4, 6)))
    np.testing.assert_array_equal(run(moved, params | zeros | {"position_table": table}, placed).pooled, out.pooled)
    assert out.position[0].tolist() == list(range(6))


def test_a_text_longer_than_positions_is_refused():
    with pytest.raises(ValueError, match="texts of 6 tokens, but the text encoder has 5 positions"):
        start(texts(), length=5)
