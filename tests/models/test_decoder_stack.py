"""Blocks in a loop and recomputed gradients change no number; cached steps go through a loop too."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.models import stacking
from tests.models.language_peers import VOCABULARY, peer
from tests.models.test_decoder import CONTEXT, CONTEXT_MASK, IDS, MASK, PREFIX, inputs

NAME = "gpt2 reading a context"


def stacked(params):
    flat = {"/".join(key): np.asarray(value) for key, value in flatten_dict(params).items()}
    return unflatten_dict({tuple(key.split("/")): jnp.asarray(value) for key, value in stacking.stack(flat).items()})


def loss_and_gradients(decoder, params):
    given = inputs(NAME) | {"prefix": jnp.asarray(PREFIX)}
    weights = jnp.asarray(np.random.default_rng(5).normal(size=(3, 9, VOCABULARY)) * MASK[..., None], jnp.float32)

    def loss(params, context):
        logits = decoder.apply({"params": params}, jnp.asarray(IDS), **given | {"context": context})
        return (jax.nn.log_softmax(logits) * weights).sum() / 20

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, jnp.asarray(CONTEXT))


@pytest.mark.parametrize(
    ("scan", "remat"),
    [
        (True, "none"),
        (True, "full"),
        (False, "dots"),
        pytest.param(True, "dots", marks=pytest.mark.slow),
        pytest.param(False, "full", marks=pytest.mark.slow),
    ],
)
def test_loops_and_recomputation_change_no_number(scan, remat):
    _, decoder, params = peer(NAME)
    loss, (own, across) = loss_and_gradients(decoder, params)
    changed = dataclasses.replace(decoder, scan=scan, remat=remat)
    other, (found, to_context) = loss_and_gradients(changed, stacked(params) if scan else params)
    np.testing.assert_allclose(other, loss, rtol=1e-5)
    np.testing.assert_allclose(to_context, across, atol=1e-5 * np.abs(across).max())
    expected = stacked(own) if scan else own
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * largest), found, expected)


def test_the_comparison_tells_blocks_apart():
    _, decoder, params = peer(NAME)
    turned = jax.tree.map(lambda p: p[::-1], stacked(params)["blocks"])
    loop = dataclasses.replace(decoder, scan=True)
    found = loss_and_gradients(loop, stacked(params) | {"blocks": turned})[0]
    assert abs(found / loss_and_gradients(decoder, params)[0] - 1) > 1e-3


def test_a_loop_makes_the_parameters_of_every_block():
    decoder = dataclasses.replace(peer(NAME)[1], scan=True)
    made = decoder.init(jax.random.key(0), jnp.asarray(IDS), context=jnp.asarray(CONTEXT))["params"]
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, stacked(peer(NAME)[2]))
    kernel = made["blocks"]["mlp"]["up"]["kernel"]
    assert (kernel[0] != kernel[1]).any()


def test_what_is_recomputed_is_not_kept():
    """Of a context's keys and values too."""

    def kept(remat):
        _, decoder, params = peer(NAME)
        decoder = dataclasses.replace(decoder, remat=remat)
        long = jnp.zeros((3, 500, CONTEXT.shape[2]))
        loss = lambda params: decoder.apply({"params": params}, jnp.asarray(IDS), context=long).sum()  # noqa: E731
        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda p: jax.vjp(loss, p)[1], params)))

    assert kept("full") < kept("dots") < kept("none")


@pytest.mark.parametrize("beams", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_cached_steps_of_a_loop(beams):
    _, decoder, params = peer(NAME)
    across = {"context": jnp.asarray(CONTEXT), "context_mask": jnp.asarray(CONTEXT_MASK)}

    def run(decoder, params):
        given = dict(mask=jnp.asarray(MASK[:, :4]), slots=9, method="prefill", **across)
        logits, cache = decoder.apply({"params": params}, jnp.asarray(IDS[:, :4]), **given)
        cache, out = cache.take(jnp.zeros((3, beams), jnp.int32)), [jnp.repeat(logits, beams, axis=0)]
        step = jax.jit(lambda ids, cache: decoder.apply({"params": params}, ids, cache, method="step"))
        for place in range(4, 9):
            logits, cache = step(jnp.resize(jnp.asarray(IDS[:, place]), 3 * beams), cache)
            out.append(logits)
            cache = cache.take(jnp.tile(jnp.arange(beams)[::-1], (3, 1)))
        return jnp.stack(out)

    found = run(dataclasses.replace(decoder, scan=True), stacked(params))
    np.testing.assert_allclose(found, run(decoder, params), atol=1e-5)
