"""Profiler traces of chosen steps: by config, or by `touch RUN/profile` while the run goes on."""

import pathlib

import jax

ON_DEMAND = 5  # steps that a touched file traces


class Profiler:
    """Call `at(step)` before each step; traces lie in RUN/traces, to be opened in TensorBoard, XProf or Perfetto."""

    def __init__(self, run: pathlib.Path, steps: tuple[int, ...]):
        self._folder, self._touch = run / "traces", run / "profile"
        self._first, self._last = steps or (-1, -1)
        self._until: int | None = None

    def at(self, step: int) -> None:
        """Starts or ends a trace before this step."""
        if self._until is not None:
            if step >= self._until:
                self.close()
        elif step == self._first:
            self._start(self._last + 1)
        elif jax.process_index() == 0 and self._touch.exists():  # the trace of one host shows what all of them do
            self._touch.unlink(missing_ok=True)
            self._start(step + ON_DEMAND)

    def close(self) -> None:
        """Ends a trace that is under way."""
        if self._until is not None:
            jax.profiler.stop_trace()
            self._until = None

    def _start(self, until: int) -> None:
        jax.profiler.start_trace(str(self._folder))
        self._until = until
