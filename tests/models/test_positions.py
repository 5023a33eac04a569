"""Sine tables equal their formula; rotations make attention depend on relative places alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmjax.models.positions import rotary_angles, rotate, sincos_1d, sincos_2d

DIM = 16


def test_sine_table_equals_the_formula():
    table = sincos_1d(np.arange(7), 6)
    for place, i in np.ndindex(7, 3):
        angle = place / 10_000 ** (2 * i / 6)
        assert table[place, i] == pytest.approx(np.sin(angle), abs=1e-6)
        assert table[place, i + 3] == pytest.approx(np.cos(angle), abs=1e-6)


def test_grid_table_tells_the_row_first_and_is_in_reading_order():
    table = sincos_2d(2, 3, 8).reshape(2, 3, 8)
    for row, column in np.ndindex(2, 3):
        np.testing.assert_array_equal(table[row, column, :4], sincos_1d(np.array([row]), 4)[0])
        np.testing.assert_array_equal(table[row, column, 4:], sincos_1d(np.array([column]), 4)[0])


def product(query, key, place_q, place_k):
    """Dot products of one query and one key, each turned to its place."""
    turn = lambda x, place: rotate(x[None, None, None], rotary_angles(jnp.asarray(place)[None, None], DIM))  # noqa: E731
    return float(jnp.sum(turn(query, place_q) * turn(key, place_k)))


@given(place=st.integers(0, 200), offset=st.integers(-50, 50), shift=st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_only_the_relative_place_counts(place, offset, shift):
    query, key = jax.random.normal(jax.random.key(0), (2, DIM))
    near = product(query, key, place, place + offset)
    far = product(query, key, place + shift, place + shift + offset)
    assert near == pytest.approx(far, abs=2e-3)


@pytest.mark.parametrize("axis", [0, 1])
def test_on_a_grid_each_axis_is_relative_and_counts(axis):
    query, key = jax.random.normal(jax.random.key(0), (2, DIM))
    here, there, shift = np.array([1, 2]), np.array([3, 5]), np.array([7, 4])
    value = product(query, key, here, there)
    assert product(query, key, here + shift, there + shift) == pytest.approx(value, abs=1e-4)
    moved = there.copy()
    moved[axis] += 1
    assert product(query, key, here, moved) != pytest.approx(value, abs=1e-2)


def test_rotation_keeps_lengths_and_starts_at_the_identity():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3, DIM))
    place = jnp.broadcast_to(jnp.arange(5), (2, 5))
    turned = rotate(x, rotary_angles(place, DIM))
    np.testing.assert_allclose(jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(turned[:, 0], x[:, 0])
    # Pair (i, i + dim / 2) as one complex number, turned by place * base^(-2i / dim).
    z = np.asarray(x[..., : DIM // 2]) + 1j * np.asarray(x[..., DIM // 2 :])
    frequencies = 10_000 ** (-2 * np.arange(DIM // 2) / DIM)
    z = z * np.exp(1j * np.arange(5)[:, None] * frequencies)[None, :, None]
    np.testing.assert_allclose(turned, np.concatenate([z.real, z.imag], -1), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: sincos_1d(np.arange(3), 5), "even width, got 5"),
        (lambda: sincos_2d(2, 2, 6), "divides by 4, got 6"),
        (lambda: rotary_angles(jnp.zeros((1, 2, 2), int), 6), "divide by 4, got 6"),
    ],
)
def test_widths_that_do_not_fit_are_refused(make, what):
    with pytest.raises(ValueError, match=what):
        make()
