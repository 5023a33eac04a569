"""How fast batches come. Standard library alone: the benchmarks of other frameworks import it too."""

import os
import pathlib
import time
from collections.abc import Iterator

WARM_UP = 20  # batches, more than any of the loaders has made ahead


def processor_seconds() -> float:
    """Of this process and its living children."""
    pids = [os.getpid()]
    for task in pathlib.Path(f"/proc/{os.getpid()}/task").iterdir():
        pids += map(int, (task / "children").read_text().split())
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rates(batches: Iterator, count: int, images: int) -> dict[str, float]:
    """Times `count` batches of `images` pictures, after a warm-up: by the clock, and by the time of all processors."""
    for _ in range(WARM_UP):
        next(batches)
    clock, processor = time.perf_counter(), processor_seconds()
    for _ in range(count):
        next(batches)
    clock, processor = time.perf_counter() - clock, processor_seconds() - processor
    return {"images_per_second": count * images / clock, "images_per_core_second": count * images / processor}
