"""What every bad input gets is what the case says, and what docs/data.md tells."""

import warnings

import numpy as np
import pytest

from . import bad_inputs

CASES = bad_inputs.cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_gets_its_picture_or_a_reason(case, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a bad item is listed, not warned of
        pixels, reason = bad_inputs.outcome(case, tmp_path)
    if case.pixels is None:
        assert pixels is None, "it was decoded"
        assert reason and "\n" not in reason and str(tmp_path) not in reason
    else:
        assert pixels is not None, reason
        assert pixels.shape == case.pixels.shape and pixels.dtype == np.uint8
        assert np.abs(pixels.astype(int) - case.pixels).max() <= case.tolerance


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_mutant_of_each_picture_is_rejected():
    """The pictures expected differ from an unturned, unscaled or black-backed one by more than the tolerance."""
    expected = {case.name: case for case in CASES if case.pixels is not None}

    def far(name: str, wrong: np.ndarray) -> bool:
        case = expected[name]
        return wrong.shape != case.pixels.shape or np.abs(wrong.astype(int) - case.pixels).max() > case.tolerance

    smooth = bad_inputs.SMOOTH
    assert far("EXIF-rotated JPEG", smooth)
    assert far("EXIF-rotated JPEG", np.rot90(smooth))
    assert far("CMYK JPEG", 255 - smooth)
    assert far("16-bit grey PNG", bad_inputs.grey(np.minimum(bad_inputs.GREY, 255)))
    assert far("RGBA PNG", np.where(np.arange(32)[:, None] < 16, smooth, 0))
    assert far("RGBA PNG", np.where(np.arange(32)[:, None] < 16, smooth, [7, 8, 9]))
    assert far("animated GIF", smooth[::-1])


def test_the_page_tells_it():
    text = bad_inputs.PAGE.read_text("utf-8")
    assert text == bad_inputs.page_with(text, bad_inputs.table()), "run python -m tests.data.bad_inputs --write"
