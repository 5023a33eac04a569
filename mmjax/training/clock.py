"""Where the wall time of a run goes, and how fast it computes."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from mmjax.chips import chip_of_kind

PARTS = ("compile", "data", "step", "save", "evaluate")


class Clock:
    """Seconds by part over all starts of a run. Goodput is the share of `step` in the whole wall time."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._earlier = 0.0  # seconds of earlier starts
        self._mark = (self.start, dict(self.seconds), 0)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to one part."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - begin

    def wall(self) -> float:
        """Seconds of this start of the run and of those before it."""
        return self._earlier + time.perf_counter() - self.start

    def interval(self, step: int, batch_size: int, flops: float) -> dict[str, float]:
        """Rates since the last call: what a line of timing.jsonl holds.

        Args:
          step: steps done.
          batch_size: examples a step.
          flops: floating-point operations of a step on all devices; see `training.flops`.
        """
        now = time.perf_counter()
        begin, before, last_step = self._mark
        spent = {name: self.seconds[name] - before[name] for name in PARTS}
        # Compiling, saving and evaluating are goodput's business, not the rate's.
        busy = max(now - begin - spent["compile"] - spent["save"] - spent["evaluate"], 1e-9)
        self._mark = (now, dict(self.seconds), step)
        steps = step - last_step
        values = {
            "examples_per_second": steps * batch_size / busy,
            "seconds_per_step": busy / max(steps, 1),
            "data_wait_share": min(spent["data"] / busy, 1.0),
            "wall_seconds": self.wall(),
            **memory(),
        }
        if flops:
            values["flops_per_second"] = flops * steps / busy
            if peak := peak_flops():
                values["mfu"] = values["flops_per_second"] / (peak * jax.device_count())
        return values

    def go_on(self, lines: Sequence[Mapping[str, Any]], step: int) -> None:
        """Adds the time of earlier starts, of which timing.jsonl tells. What they computed beyond `step` was lost.

        Args:
          lines: of timing.jsonl, before a resume drops those beyond `step`.
          step: where the run goes on.
        """
        self._earlier = max((line["wall_seconds"] for line in lines), default=0.0)
        kept = [line for line in lines if line["step"] <= step]
        for name in self.seconds if kept else ():
            self.seconds[name] += kept[-1][f"goodput/{name}"] * kept[-1]["wall_seconds"]

    def resume_at(self, step: int) -> None:
        """Counts rates from this step on."""
        self._mark = (time.perf_counter(), dict(self.seconds), step)

    def goodput(self) -> dict[str, float]:
        """Share of the wall time by part; `goodput/step` is the productive one."""
        wall = max(self.wall(), 1e-9)
        return {f"goodput/{name}": seconds / wall for name, seconds in self.seconds.items()}


def peak_flops() -> float:
    """Dense bfloat16 peak of one device here, FLOP/s, or 0 where it is not known."""
    chip = chip_of_kind(jax.devices()[0].device_kind)
    return chip.flops / chip.cores if chip else 0.0


def memory() -> dict[str, float]:
    """Peak bytes on the first local device where it tells, and of this process on the host."""
    import resource

    stats = jax.local_devices()[0].memory_stats() or {}
    values = {"host_memory_peak_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)}
    if "peak_bytes_in_use" in stats:
        values["device_memory_peak_bytes"] = float(stats["peak_bytes_in_use"])
    return values
