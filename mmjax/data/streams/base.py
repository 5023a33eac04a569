"""The protocol of a stream."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

Arrays = dict[str, np.ndarray]


@runtime_checkable
class StreamTransform(Protocol):
    """What the loader asks of a stream.

    Attributes:
      kind: "image" or "text".
      field: the raw stream of the example that it reads.
      draws: streams of one name here get equal random numbers for one item; None for numbers of its own.
    """

    @property
    def kind(self) -> str: ...
    @property
    def field(self) -> str: ...
    @property
    def draws(self) -> str | None: ...

    def __call__(self, value: Any, rng: np.random.Generator | None) -> Arrays:
        """`data`, and `mask` where there is one. Without `rng` by the evaluation rule. Raises BadItem."""
        ...

    def blank(self) -> Arrays:
        """Zeros of the same shapes and types: what a missing or bad row holds."""
        ...

    def facts(self) -> dict[str, Any]:
        """What an encoder of this stream must agree with, by the names of its attributes."""
        ...
