"""Bad items: each becomes a blank row and one line of `skipped.jsonl`; too many of them stop the run."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

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
    everything so far was bad. Of several hosts none may stop alone, for the others would wait for it; nor is the share
    of one host enough to tell a rate by. So they judge together, when all of them call `judge` at the same step.

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
        self._met: dict[str, Met] = {}

    @property
    def count(self) -> int:
        return sum(map(len, self._known.values()))

    def add(self, batch: HostBatch) -> None:
        """Lists the bad items of a batch; the only host of a run judges them at once.

        Raises:
          RunError: too many of the source are bad; with the first three.
        """
        known = self.note(batch.skips, batch.host)
        self._met[batch.source] = met = Met(batch.step, batch.seen, batch.host, batch.hosts)
        if batch.hosts == 1 and batch.skips:
            bad = _until(met, batch.source, known)
            self._judge(batch.source, met, len(bad), bad)

    def judge(self, total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Judges what all hosts have listed.

        Args:
          total: the sum over the hosts of integers that each of them gives.

        Raises:
          RunError: on all hosts, too many of a source are bad.
        """
        # In the order of the config: the hosts must agree on which number is whose.
        bad = {name: _until(met, name, self.note((), met.host)) for name, met in self._all_met()}
        counts = total(np.array([len(skips) for skips in bad.values()], np.int32))
        for (name, met), count in zip(self._all_met(), counts.tolist(), strict=True):
            self._judge(name, met, count, bad[name])

    def _all_met(self) -> list[tuple[str, "Met"]]:
        return [(name, self._met[name]) for name in self.items if name in self._met]

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

    def _judge(self, source: str, met: "Met", count: int, bad: Sequence[Skip]) -> None:
        """Of `count` bad items on all hosts, `bad` are those of this one."""
        items = self.items[source]
        seen = met.listed_of(items)
        rate = count / seen
        if rate <= self.max_rate or not (rate >= 1 or met.seen >= min(items, ENOUGH)):
            return
        first = "; ".join(f"{skip.id}: {skip.reason}" for skip in bad[:3]) or "none of them on this host"
        where = self._path(met.host) if met.hosts == 1 else self.path.with_name(f"{self.path.stem}*.jsonl")
        raise RunError(
            f"{source}: {count} of the {round(seen)} items seen are bad, more than data.max_skip_rate "
            f"{self.max_rate:g} allows ({first}); all are in {where}: repair the data, or raise the rate"
        )


class Met(NamedTuple):
    """How far a source was read: `seen` rows up to the end of the batch of a step, by all hosts; and by which host."""

    step: int
    seen: int
    host: int
    hosts: int

    def listed_of(self, items: int) -> float:
        """How many items the hosts' lists would hold together if all items were bad.

        An epoch's items are divided among the hosts anew each time, and a host lists an item once. So the only host
        has met `min(seen, items)` of them, and each of several has missed some by chance in every epoch.
        """
        if self.hosts == 1:
            return float(min(self.seen, items))
        epochs, rest = divmod(self.seen, items)
        missed = (1 - 1 / self.hosts) ** epochs * (1 - rest / items / self.hosts)
        return self.hosts * items * (1 - missed)


def _until(met: Met, source: str, known: Sequence[Skip]) -> list[Skip]:
    """The bad items of a source that were met up to a step: an earlier start of the run may have gone further."""
    return [skip for skip in known if skip.source == source and skip.step <= met.step]


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
