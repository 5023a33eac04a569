"""Each activation is the one it is called, told apart at 1e-5: the erf and tanh forms of GELU differ by 4.7e-4 only."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.models.activations import ACTIVATIONS, GATED
from mmjax.models.mlp import Mlp
from tests.models import references
from tests.models.references import draw_params

POINTS = np.linspace(-6, 6, 601, dtype=np.float32)
NAMES = [name for name in ACTIVATIONS if name not in GATED]


@pytest.mark.parametrize("wanted", NAMES)
@pytest.mark.parametrize("used", NAMES)
def test_activation_is_the_one_it_is_called_and_no_other(wanted, used):
    actual, expected = ACTIVATIONS[used](jnp.asarray(POINTS)), references.ACTIVATIONS[wanted](np.float64(POINTS))
    actual, expected = ACTIVATIONS[used](jnp.asarray(POINTS)), references.ACTIVATIONS[wanted](np.float64(POINTS))
    difference = np.abs(actual - expected).max()
    assert difference < 1e-5 if wanted == used else difference > 1e-4


@pytest.mark.parametrize("activation", [*NAMES, *GATED])
def test_equals_the_definition(activation):
    x = jnp.float32(np.random.default_rng(0).normal(size=(2, 3, 8)))
    module = Mlp(16, activation)
    params = draw_params(module, x)
    expected = references.mlp(params, x, activation)
    assert references.error(module.apply({"params": params}, x), expected) < 1e-5
    if activation in GATED:
        swapped = params | {"gate": params["up"], "up": params["gate"]}
        assert references.error(module.apply({"params": swapped}, x), expected) > 1e-2
