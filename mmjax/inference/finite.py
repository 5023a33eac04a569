"""Features that are no numbers: they compare with nothing, so every rank and probability from them would be made up."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float16

from mmjax.errors import RunError


def check_finite(
    features: Float[np.ndarray, "n d"] | Float16[np.ndarray, "n d"], name: Callable[[int], str], advice: str = ""
) -> None:
    """Refuses features that are NaN or infinite.

    Args:
      name: what a row is of.
      advice: what to do about it.

    Raises:
      RunError: names the first such row.
    """
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        what = f"its features are not finite, as in {len(bad):,} of {len(features):,} rows"
        raise RunError(f"{name(int(bad[0]))}: {what}; {advice or 'is the model one whose training diverged?'}")
