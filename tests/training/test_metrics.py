"""The journal survives kills and resumes without a line lost or doubled."""

import json
import sys
import types

import pytest

from mmjax.errors import UserError
from mmjax.training.experiment import Log
from mmjax.training.metrics import Journal, Writer, read


def test_a_resume_drops_what_lies_beyond_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = Journal(path, after=0)
    for step in range(1, 6):
        first.write(step, {"loss": step / 2})
    first.close()
    second = Journal(path, after=3)
    second.write(4, {"loss": 2.0})
    second.close()
    assert read(path) == [{"step": s, "loss": s / 2} for s in (1, 2, 3, 4)]


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    assert [line["step"] for line in read(path)] == [1]
    Journal(path, after=9).close()
    assert path.read_text() == '{"step": 1, "loss": 1.0}\n'


def test_bad_steps_beyond_the_checkpoint_are_dropped_too(tmp_path):
    """Under --resume=force, or on other devices, they may be good this time."""
    first = Writer(tmp_path, 0, Log(tensorboard=False), {})
    for step in (2, 5):
        first.bad(step, {"index": [step]})
    first.close()
    Writer(tmp_path, 3, Log(tensorboard=False), {}).close()
    assert [line["step"] for line in read(tmp_path / "bad_steps_0.jsonl")] == [2]


def test_a_run_without_bad_steps_has_no_list_of_them(tmp_path):
    Writer(tmp_path, 0, Log(tensorboard=False), {}).close()
    assert not list(tmp_path.glob("bad_steps*"))


def test_non_finite_numbers_become_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path, after=0)
    journal.write(1, {"loss": float("nan"), "norm": float("inf"), "rate": 0.1})
    journal.close()
    strict = json.loads(path.read_text(), parse_constant=lambda name: 1 / 0)
    assert strict == {"step": 1, "loss": None, "norm": None, "rate": 0.1}


class FakeWandb(types.ModuleType):
    """Records what would have been sent."""

    def __init__(self):
        super().__init__("wandb")
        self.runs, self.lines, self.finished = [], [], 0

    def init(self, **options):
        self.runs.append(options)
        return self

    def log(self, values, step):
        self.lines.append((step, dict(values)))

    def finish(self):
        self.finished += 1


def test_wandb_gets_every_number_and_a_resumed_run_goes_on_in_its_chart(tmp_path, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for after in (0, 3):
        writer = Writer(tmp_path, after, Log(tensorboard=False, wandb="ours"), {"steps": 6})
        writer.learnt(after + 1, {"train/loss": 0.5})
        writer.timed(after + 1, {"seconds_per_step": 2.0})
        writer.close()
    assert fake.lines == [
        (1, {"train/loss": 0.5}),
        (1, {"timing/seconds_per_step": 2.0}),
        (4, {"train/loss": 0.5}),
        (4, {"timing/seconds_per_step": 2.0}),
    ]
    first, second = fake.runs
    assert first["project"] == "ours" and first["config"] == {"steps": 6} and first["resume"] == "allow"
    assert first["id"] == second["id"] and fake.finished == 2


def test_wandb_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install 'mmjax\[wandb\]'"):
        Writer(tmp_path, 0, Log(tensorboard=False, wandb="ours"), {})
