"""Learning-rate factors by layer, in BEiT's numbering: embeddings 0, block i is i + 1, what follows is depth + 1."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmjax.errors import UserError
from mmjax.training.layer_decay import layer_factors
from mmjax.training.optimizer import Optimizer, learning_rate_factors, transformation

OPTIONS = {"learning_rate": 1.0, "name": "sgd", "b1": 0.0, "clip": 0.0}


def tower(depth, scan, *shape):
    """The parameters of a tower, all of `shape` but for the axis of a scanned stack."""
    whole = {"mlp": {"up": {"kernel": jnp.ones((depth, *shape)), "bias": jnp.ones((depth, shape[-1]))}}}
    single = jax.tree.map(lambda x: x[0], whole)
    blocks = {"blocks": whole} if scan else {f"blocks_{i}": single for i in range(depth)}
    outside = {"patches": {"embed": {"kernel": jnp.ones(shape)}}, "class_token": jnp.ones(shape[-1])}
    behind = {name: {"scale": jnp.ones(shape[-1])} for name in ("norm_before", "norm_after", "attention_pool", "head")}
    return {"transformer": blocks, **outside, **behind}


def model(scan=False):
    return {
        "towers_image": tower(3, scan, 4, 5),
        "towers_text": tower(1, scan, 2, 2),
        "project_image": {"kernel": jnp.ones((5, 2))},
        "scale": jnp.asarray(1.0),
    }


def test_the_numbers():
    factors = layer_factors(0.5, model())
    image, text = factors["towers_image"], factors["towers_text"]
    for name in ("patches", "class_token", "norm_before"):
        assert set(jax.tree.leaves(image[name])) == {0.5**4}
        assert set(jax.tree.leaves(text[name])) == {0.5**2}
    for block in range(3):
        assert set(jax.tree.leaves(image["transformer"][f"blocks_{block}"])) == {0.5 ** (3 - block)}
    assert set(jax.tree.leaves(text["transformer"])) == {0.5}
    last = (factors["project_image"], factors["scale"], image["norm_after"], image["attention_pool"], image["head"])
    assert set(jax.tree.leaves(last)) == {1.0}


def test_a_decoder_which_holds_its_blocks_itself_is_a_tower_of_its_own():
    decoder = {f"blocks_{i}": {"mlp": {"up": {"kernel": jnp.ones((2, 2))}}} for i in range(2)}
    decoder |= {"embedding": jnp.ones((4, 2)), "norm_after": {"scale": jnp.ones(2)}}
    factors = layer_factors(0.5, {"towers_text": decoder, "connect": {"kernel": jnp.ones((2, 2))}})
    text = factors["towers_text"]
    assert text["embedding"] == 0.5**3 and text["norm_after"]["scale"] == factors["connect"]["kernel"] == 1.0
    assert [text[f"blocks_{i}"]["mlp"]["up"]["kernel"] for i in range(2)] == [0.25, 0.5]


def test_a_scanned_stack_has_a_number_for_each_block():
    factors = layer_factors(0.5, model(scan=True))["towers_image"]["transformer"]["blocks"]["mlp"]["up"]
    np.testing.assert_array_equal(factors["kernel"], np.reshape([0.125, 0.25, 0.5], (3, 1, 1)))
    np.testing.assert_array_equal(factors["bias"], np.reshape([0.125, 0.25, 0.5], (3, 1)))


@pytest.mark.parametrize("scan", [False, True])
def test_updates_are_scaled_beside_groups_and_freezing(scan):
    params = model(scan)
    options = Optimizer(**OPTIONS, layer_decay=0.5, groups=((r"towers_image/.*up/kernel$", 0.1),), freeze=("_text/",))
    tx, kept = transformation(options, params), {k: v for k, v in params.items() if k != "towers_text"}
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, kept), tx.init(kept), kept)
    stack = updates["towers_image"]["transformer"]
    for block in range(3):
        up = stack["blocks"]["mlp"]["up"] if scan else stack[f"blocks_{block}"]["mlp"]["up"]
        kernel, bias = (up[name][block] if scan else up[name] for name in ("kernel", "bias"))
        np.testing.assert_allclose(kernel, 0.1 * 0.5 ** (3 - block), rtol=1e-6)
        np.testing.assert_allclose(bias, 0.5 ** (3 - block), rtol=1e-6)
    assert updates["scale"] == 1.0


def test_adam_moves_each_layer_by_its_factor():
    """Adam's step does not depend on the gradient's size, so the factor must come after it."""
    params = model()
    tx = transformation(Optimizer(learning_rate=1.0, layer_decay=0.5, clip=0.0), params)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    moved = optax.apply_updates(params, jax.tree.map(lambda u: -0.01 * u, updates))
    stack = moved["towers_image"]["transformer"]
    for block in range(3):
        np.testing.assert_allclose(
            1 - stack[f"blocks_{block}"]["mlp"]["up"]["bias"], 0.01 * 0.5 ** (3 - block), rtol=1e-4
        )


def test_refused():
    with pytest.raises(UserError, match=r"layer_decay must lie in \(0, 1\], got 1.5"):
        layer_factors(1.5, model())
    with pytest.raises(UserError, match="no stack of blocks"):
        learning_rate_factors(Optimizer(**OPTIONS, layer_decay=0.5), {"kernel": jnp.ones((2, 2))})
