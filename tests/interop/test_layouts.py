"""Every layout only moves values, and back again."""

import numpy as np
import pytest

from mmjax.interop.layouts import PATCHES, PLAIN, TRANSPOSE, lead, split

CASES = {
    "plain": (PLAIN, (3, 4)),
    "transpose": (TRANSPOSE, (3, 4)),
    "patches": (PATCHES, (5, 3, 4, 4)),
    "fused rows": (split(3), (12, 4)),
    "fused biases": (split(3, transpose=False), (12,)),
    "fused columns": (split(3, 1, transpose=False), (4, 12)),
    "one leading axis": (lead(1), (1, 5, 6)),
    "two leading axes": (lead(2), (1, 1, 6)),
    "a scalar": (lead(1), (1,)),
}


@pytest.mark.parametrize("name", CASES)
def test_out_undoes_in(name):
    layout, shape = CASES[name]
    tensor = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    parts = layout.load(tensor)
    assert sum(part.size for part in parts) == tensor.size
    np.testing.assert_array_equal(layout.store(parts), tensor)


def test_patches_read_a_square_in_order_with_colours_last():
    kernel = np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
    (mine,) = PATCHES.load(kernel)
    row, column, colour = 1, 0, 2
    np.testing.assert_array_equal(mine[(row * 2 + column) * 3 + colour], kernel[:, colour, row, column])


def test_a_leading_axis_that_is_longer_is_refused():
    with pytest.raises(ValueError, match="does not begin"):
        lead(1).load(np.zeros((2, 3)))
