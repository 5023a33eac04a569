"""One writer for everything measured, by global step: JSON lines that survive a resume, TensorBoard, W&B."""

import hashlib
import importlib
import json
import math
import os
import pathlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax

from mmjax.errors import UserError
from mmjax.training.experiment import Log


class Journal:
    """A file of JSON lines with a `step` each, in which a resumed run goes on where its checkpoint was."""

    def __init__(self, path: pathlib.Path, after: int):
        """Keeps the lines up to step `after`; what an interrupted run wrote beyond its checkpoint is learnt again."""
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= after]
        draft = path.with_suffix(".tmp")
        draft.write_text("".join(line + "\n" for line in kept))
        os.replace(draft, path)
        self._file = path.open("a")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends one line; a non-finite number becomes null, which every JSON reader takes."""
        clean = {key: value if _finite(value) else None for key, value in values.items()}
        self._file.write(json.dumps({"step": step, **clean}) + "\n")
        self._file.flush()

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; a line cut short by a kill is left out."""
    return [json.loads(line) for line in _whole_lines(path)]


def _whole_lines(path: pathlib.Path) -> list[str]:
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [line for line in lines[:-1] if line.endswith("}")]


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


class Writer:
    """metrics.jsonl holds what was learnt, timing.jsonl what it took; the first process writes them.

    Steps that were not finite go to bad_steps_PROCESS.jsonl of each process, which only the first such step makes.
    All three lose what lies beyond the checkpoint: the resumed run writes it again.
    """

    def __init__(self, run: pathlib.Path, after: int, options: Log, config: Mapping[str, Any]):
        self.active = jax.process_index() == 0
        self._run, self._after = run, after
        self._bad = f"bad_steps_{jax.process_index()}"
        kept = ["metrics", "timing"] if self.active else []
        kept += [self._bad] if (run / f"{self._bad}.jsonl").exists() else []
        self._journals = {name: Journal(run / f"{name}.jsonl", after) for name in kept}
        self._board = self._wandb = None
        if not self.active:
            return
        if options.tensorboard:
            self._board = import_board().SummaryWriter(str(run / "tensorboard"), purge_step=after + 1)
        if options.wandb:
            self._wandb = _wandb_run(options.wandb, run, config)

    def learnt(self, step: int, values: Mapping[str, float | int]) -> None:
        """Numbers that an identical run repeats bit by bit."""
        self._write("metrics", step, values)

    def timed(self, step: int, values: Mapping[str, float | int]) -> None:
        """Numbers that hold wall time or memory."""
        self._write("timing", step, values)

    def bad(self, step: int, values: Mapping[str, Any]) -> None:
        """A step that was not finite, with the rows that this process fed."""
        if self._bad not in self._journals:
            self._journals[self._bad] = Journal(self._run / f"{self._bad}.jsonl", self._after)
        self._journals[self._bad].write(step, values)

    def close(self) -> None:
        for journal in self._journals.values():
            journal.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _write(self, journal: str, step: int, values: Mapping[str, float | int]) -> None:
        if not self.active:
            return
        self._journals[journal].write(step, values)
        prefix = "" if journal == "metrics" else "timing/"
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(prefix + name, value, step)
        if self._wandb is not None:
            self._wandb.log({prefix + name: value for name, value in values.items()}, step=step)


def import_board() -> ModuleType:
    """tensorboardX, whose import takes a second where PyTorch is installed: a moment can be chosen for it."""
    return importlib.import_module("tensorboardX")


def _run_id(run: pathlib.Path) -> str:
    """The same for the same folder: a resumed run goes on in its own chart."""
    return hashlib.blake2b(str(run.resolve()).encode(), digest_size=8).hexdigest()


def _wandb_run(project: str, run: pathlib.Path, config: Mapping[str, Any]) -> Any:
    try:
        import wandb
    except ImportError:
        raise UserError("config.log.wandb: wandb is not installed; pip install 'mmjax[wandb]'") from None
    return wandb.init(
        project=project, name=run.name, dir=str(run), id=_run_id(run), resume="allow", config=dict(config)
    )
