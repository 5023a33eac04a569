"""Position tables resized as torch's `interpolate` resizes them; other kernels are rejected."""

import numpy as np
import pytest
import torch

from mmjax.interop.positions import Resize, kernel, resize_table

SIZES = [(7, 10), (14, 9), (16, 24), (24, 7), (3, 17), (37, 16)]


def reference(table, new, extra, method, antialias):
    side = int((len(table) - extra) ** 0.5)
    grid = torch.tensor(table[extra:]).reshape(1, side, side, -1).permute(0, 3, 1, 2)
    out = torch.nn.functional.interpolate(grid, (new, new), mode=method, antialias=antialias, align_corners=False)
    return np.concatenate([table[:extra], out.permute(0, 2, 3, 1).reshape(new * new, -1).numpy()])


def table_of(old, extra):
    return np.random.default_rng(0).normal(size=(extra + old * old, 8)).astype(np.float32)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_equals_torch(old, new, method, antialias):
    table = table_of(old, 1)
    mine = resize_table(table, 1 + new * new, Resize(1, method, antialias))
    np.testing.assert_allclose(mine, reference(table, new, 1, method, antialias), atol=1e-5)


@pytest.mark.parametrize("old", [7, 16])
def test_the_same_size_is_the_identity(old):
    table = table_of(old, 1)
    assert resize_table(table, len(table), Resize(1)) is table


@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("mutant", [("bilinear", False), ("bicubic", True)])
def test_another_kernel_is_rejected(old, new, mutant):
    table = table_of(old, 0)
    wrong = resize_table(table, new * new, Resize(0, *mutant))
    assert np.abs(wrong - reference(table, new, 0, "bicubic", False)).max() > 1e-3


def test_the_cubic_of_jax_is_rejected(monkeypatch):
    monkeypatch.setattr("mmjax.interop.positions.CUBIC", -0.5)
    table = table_of(7, 0)
    wrong = resize_table(table, 100, Resize(0))
    assert np.abs(wrong - reference(table, 10, 0, "bicubic", False)).max() > 1e-3


def test_weights_sum_to_one():
    for antialias in (False, True):
        np.testing.assert_allclose(kernel(9, 14, "bicubic", antialias).sum(axis=1), 1, atol=1e-12)


def test_no_square_is_refused():
    with pytest.raises(ValueError, match="no square grid"):
        resize_table(np.zeros((11, 4), np.float32), 16, Resize(0))
