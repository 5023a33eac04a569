"""One progress bar for every long job. Where the output is no terminal, it shows nothing."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(description: str, total: int | None, done: int = 0) -> Iterator[Callable[..., None]]:
    """Shows the progress of `with bar("training", steps) as advance:`.

    Args:
      description: what is going on.
      total: how many items there are; None where nobody knows.
      done: how many of them were done before, as after a resume.

    Yields:
      advance(count=1, **fields): tells that `count` more items are done, and values to show beside the bar:
      `advance(loss=1.2, examples_per_second=310.0)`. A field keeps its last value.
    """
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield lambda count=1, **fields: None
        return

    from rich import progress
    from rich.console import Console

    columns = [
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[shown]}", style="cyan", markup=False),
        progress.TimeRemainingColumn(),
        progress.TextColumn("left"),
    ]
    latest: dict[str, object] = {}
    # Lines that are printed meanwhile appear above the bar. On stderr, so that stdout holds results alone.
    with progress.Progress(*columns, console=Console(stderr=True), speed_estimate_period=60) as display:
        task = display.add_task(description, total=total, completed=done, shown="")

        def advance(count: int = 1, **fields: object) -> None:
            latest.update(fields)
            display.update(task, advance=count, shown="  ".join(shown(*item) for item in latest.items()))

        yield advance


def shown(name: str, value: object) -> str:
    """`examples_per_second`, 1234.5 as "examples/s 1,234"; four digits are enough to watch a loss by."""
    label = name.replace("_per_second", "/s").replace("_", " ")
    if isinstance(value, float):
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        return f"{label} {text}"
    return f"{label} {value:,}" if isinstance(value, int) else f"{label} {value}"
