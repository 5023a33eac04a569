"""Bad items: each becomes a blank row and one line of `skipped.jsonl`; too many of them stop the run."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

from mmjax.data.host_batch import HostBatch, Skip
from mmjax.data.sources import Source
from mmjax.errors import RunError

ENOUGH = 1000  # rows that must have been seen before a rate means anything


def item_id(source: Source, index: int) -> str:
    """The name of an item, also of one that cannot be read; its number where the source knows no names."""
    return source.id(index) if hasattr(source, "id") else str(index)


class SkipLedger:
    """Writes each bad item once, and stops the run when a source has too many.

    The rate of a source is its bad items over its items seen, both as a function of the step, so that a resumed run
    judges as an uninterrupted one would. It is taken once 1,000 rows (or the whole source) were seen, or earlier when
    everything so far was bad.

    Args:
      path: `skipped.jsonl`; what an earlier start of the run wrote there is kept and not written again. Every host
        lists what it read: the first in this file, host 1 in `skipped_1.jsonl`, and so on.
      max_rate: share of bad items above which the run stops.
      items: {source: its number of items}.

    Attributes:
      count: bad items that this host has listed.
    """

    def __init__(self, path: pathlib.Path, max_rate: float, items: Mapping[str, int]):
        self.path, self.max_rate, self.items = path, max_rate, items
        self._known: dict[pathlib.Path, dict[tuple[str, int], Skip]] = {}

    @property
    def count(self) -> int:
        return sum(map(len, self._known.values()))

    def add(self, batch: HostBatch) -> None:
        """Lists the bad items of a batch.

        Raises:
          RunError: too many of the source are bad; with the first three.
        """
        known = self.note(batch.skips, batch.host)
        if batch.skips:
            self._judge(batch, [skip for skip in known if skip.source == batch.source], self._path(batch.host))

    def note(self, skips: Sequence[Skip], host: int) -> list[Skip]:
        """Lists bad items of any source, each once; returns all that this host has listed."""
        path = self._path(host)
        if path not in self._known:
            self._known[path] = _read(path)
        known = self._known[path]
        new = {(skip.source, skip.index): skip for skip in skips if (skip.source, skip.index) not in known}
        if new:
            known |= new
            with path.open("a", encoding="utf-8") as file:
                for skip in new.values():
                    file.write(json.dumps(dataclasses.asdict(skip), ensure_ascii=False) + "\n")
        return list(known.values())

    def _path(self, host: int) -> pathlib.Path:
        return self.path if not host else self.path.with_stem(f"{self.path.stem}_{host}")

    def _judge(self, batch: HostBatch, bad: list[Skip], path: pathlib.Path) -> None:
        items = self.items[batch.source]
        seen = min(batch.seen, items)
        # A host reads its share of the rows, so it meets about that share of the bad items.
        share = max(seen / batch.hosts, 1)
        rate = len(bad) / share
        everything = not batch.batch.valid.any() and len(bad) >= share
        if rate <= self.max_rate or not (everything or batch.seen >= min(items, ENOUGH)):
            return
        first = "; ".join(f"{skip.id}: {skip.reason}" for skip in bad[:3])
        raise RunError(
            f"{batch.source}: {len(bad)} of the {round(share)} items seen are bad, more than data.max_skip_rate "
            f"{self.max_rate:g} allows ({first}); all are in {path}: repair the data, or raise the rate"
        )


def _read(path: pathlib.Path) -> dict[tuple[str, int], Skip]:
    """What is in the file; a last line that a kill cut short is taken out of it."""
    if not path.exists():
        return {}
    text = path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, "utf-8")
    skips = [Skip(**json.loads(line)) for line in whole.splitlines()]
    return {(skip.source, skip.index): skip for skip in skips}
