"""Profiler traces of chosen steps: by config, or by `touch RUN/profile` while the run goes on."""

import pathlib
from typing import Any

import jax

ON_DEMAND = 5  # steps that a touched file traces


class Profiler:
    """Call `at` before each step; traces lie in RUN/traces, to be opened in TensorBoard, XProf or Perfetto."""

    def __init__(self, run: pathlib.Path, steps: tuple[int, ...]):
        self._folder, self._touch = run / "traces", run / "profile"
        self._first, self._last = steps or (-1, -1)
        self._until: int | None = None

    def at(self, step: int, state: Any) -> None:
        """Starts or ends a trace before this step.

        Args:
          state: of the steps before, which the devices may still be computing; a trace begins and ends between steps.
        """
        if self._until is not None and step >= self._until:
            jax.block_until_ready(state)
            self.close()
        until = self._wanted(step)
        if self._until is None and until is not None:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self._folder))
            self._until = until

    def _wanted(self, step: int) -> int | None:
        """The end of a trace that is to start before this step."""
        if step == self._first:
            return self._last + 1
        # The trace of one host shows what all of them do.
        if self._until is None and jax.process_index() == 0 and self._touch.exists():
            self._touch.unlink(missing_ok=True)
            return step + ON_DEMAND
        return None

    def close(self) -> None:
        """Ends a trace that is under way."""
        if self._until is not None:
            jax.profiler.stop_trace()
            self._until = None
