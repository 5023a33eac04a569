"""Checkpoints for a store that Orbax does not write to, s3://: made on this machine and sent whole, one host alone."""

import pathlib

from mmjax.storage import Place, copy, names

MARK = "SENT"  # written last: a step without it was cut short


class SentSteps:
    """The steps of a folder of this machine, kept equal to those of a remote one.

    Args:
      here: the folder that Orbax works in.
      there: where its steps belong.
    """

    def __init__(self, here: pathlib.Path, there: Place):
        self.here, self._there = here, there

    def fetch(self) -> None:
        """Takes every whole step from there, and removes what is left of others."""
        for step in self._steps(self._there):
            if not (step / MARK).exists():
                self._there.joinpath(step.name).rmtree()  # type: ignore[union-attr]  # epath's alone is remote
                continue
            for name in names(step):
                if name != MARK:
                    copy(step / name, self.here / step.name / name)

    def send(self) -> None:
        """Sends the steps that are new, then removes those that are no longer kept."""
        have = {step.name for step in self._steps(self._there)}
        kept = {step.name: step for step in self._steps(self.here)}
        for number in kept.keys() - have:
            for name in names(kept[number]):
                copy(kept[number] / name, self._there / number / name)
            (self._there / number / MARK).write_text("")
        for number in have - kept.keys():
            (self._there / number).rmtree()  # type: ignore[union-attr]

    @staticmethod
    def _steps(folder: Place) -> list[Place]:
        return [entry for entry in folder.iterdir() if entry.name.isdigit()] if folder.is_dir() else []
