"""The loss of a language model equals PyTorch's, counts tokens, and what is no token counts nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmjax.losses.language import cross_entropy

LENGTHS = (6, 1, 0, 3)


def case(seed=0, scale=8.0):
    rng = np.random.default_rng(seed)
    logits = np.float32(rng.normal(size=(len(LENGTHS), 6, 11)) * scale)
    mask = np.arange(6) < np.array(LENGTHS)[:, None]
    return logits, rng.integers(0, 11, mask.shape), mask


def ours(logits, target, mask, smoothing=0.0):
    """Mean over tokens, and its gradient by the logits."""

    def mean(logits):
        total, weight = cross_entropy(logits, jnp.asarray(target), jnp.asarray(mask), smoothing)
        return total / weight

    return jax.jit(jax.value_and_grad(mean))(jnp.asarray(logits))


def by_torch(logits, target, mask, smoothing=0.0, mean_of_rows=False):
    """In float64; `mean_of_rows` is the mutant that takes the mean of every row, then that of the rows."""
    logits = torch.tensor(np.float64(logits), requires_grad=True)
    target = torch.tensor(np.where(mask, target, -100))
    loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    if mean_of_rows:
        rows = [loss(a, b) for a, b, real in zip(logits, target, mask, strict=True) if real.any()]
        value = torch.stack(rows).mean()
    else:
        value = loss(logits.flatten(0, 1), target.flatten())
    value.backward()
    return value.item(), logits.grad.numpy()


def error(a, b):
    return np.abs(np.float64(a) - np.float64(b)).max() / np.abs(np.float64(b)).max()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_equals_pytorch_in_value_and_gradient(smoothing):
    logits, target, mask = case()
    value, grad = ours(logits, target, mask, smoothing)
    expected, expected_grad = by_torch(logits, target, mask, smoothing)
    assert error(value, expected) < 1e-6 and error(grad, expected_grad) < 1e-5
    for wrong in (
        by_torch(logits, target, mask, smoothing, mean_of_rows=True),
        by_torch(logits, target, mask, smoothing + 0.05),
        by_torch(logits, target, np.ones_like(mask), smoothing),
    ):
        assert error(value, wrong[0]) > 1e-3 and error(grad, wrong[1]) > 1e-3


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_no_token_influences_nothing(poison):
    logits, target, mask = case()
    clean = ours(logits, target, mask, 0.1)
    value, grad = ours(np.where(mask[..., None], logits, poison), np.where(mask, target, -(10**6)), mask, 0.1)
    assert value == clean[0] and np.array_equal(grad, clean[1])
    assert not grad[~mask].any()


def test_parts_of_a_batch_add_up():
    logits, target, mask = (jnp.asarray(x) for x in case())
    whole = cross_entropy(logits, target, mask)
    parts = [cross_entropy(logits[rows], target[rows], mask[rows]) for rows in (slice(0, 1), slice(1, 4))]
    for index in (0, 1):
        assert sum(float(part[index]) for part in parts) == pytest.approx(float(whole[index]), rel=1e-6)
    assert float(whole[1]) == mask.sum()


def test_no_token_at_all_is_zero_and_large_logits_are_finite():
    logits, target, mask = case(scale=1e4)
    total, weight = cross_entropy(jnp.asarray(logits), jnp.asarray(target), jnp.zeros(mask.shape, bool))
    assert (float(total), float(weight)) == (0.0, 0.0)
    assert all(np.isfinite(x).all() for x in ours(logits, target, mask))


def test_it_is_summed_in_float32_whatever_the_logits_are():
    logits, target, mask = case()
    low = jnp.asarray(logits, jnp.bfloat16)
    total, weight = cross_entropy(low, jnp.asarray(target), jnp.asarray(mask))
    wide, _ = cross_entropy(low.astype(jnp.float32), jnp.asarray(target), jnp.asarray(mask))
    assert total.dtype == weight.dtype == jnp.float32 and total == wide
