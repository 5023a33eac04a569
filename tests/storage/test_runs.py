"""A run on an object store: killed and resumed by another machine, it is the run on a disk, bit by bit."""

import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import mmjax
from mmjax import cli, storage
from mmjax.training.loop import Trainer
from tests.training import test_resume as runs
from tests.training import toy

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 8


class Killed(BaseException):
    """Ends a run as kill -9 does: nothing is sent any more."""


def train(workdir, *options):
    return cli.main(
        ["train", "--config", f"{toy.__file__}:task", "--workdir", workdir, f"--config.steps={STEPS}", *options]
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk") / "run"
    assert train(str(folder)) == 0
    return folder


def killed_at(monkeypatch, workdir, step):
    """Trains until that step has been computed."""
    note = Trainer._note

    def kill(self, fed, metrics):
        note(self, fed, metrics)
        if fed.step + 1 == step:
            self.checkpoints._manager.wait_until_finished()
            monkeypatch.setattr(storage.Mirror, "push", lambda self: None)
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_note", kill)
        with pytest.raises(Killed):
            train(workdir)
    monkeypatch.undo()


def assert_equal_runs(remote, reference):
    for name in ("metrics.jsonl", "evaluation.json", "config.json"):
        assert (remote / name).read_text() == (reference / name).read_text()
    ours, theirs = (mmjax.load(str(place)).params for place in (remote, reference))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_on_s3(s3, reference, monkeypatch):
    workdir, remote = f"{s3}/killed", storage.place(f"{s3}/killed")
    with monkeypatch.context() as patch:
        killed_at(patch, workdir, 6)
    kept = sorted(entry.name for entry in (remote / "checkpoints").iterdir())
    assert kept == ["4"] and not (remote / "bundle").exists()
    (remote / "checkpoints" / "5" / "half").write_text("of a step that was being sent")
    assert train(workdir) == 0
    assert_equal_runs(remote, reference)
    assert sorted(entry.name for entry in (remote / "checkpoints").iterdir()) == ["4", "8"]


def test_on_google_cloud_storage(gs, reference, monkeypatch):
    """Orbax itself writes the checkpoints there."""
    workdir, remote = f"{gs}/killed", storage.place(f"{gs}/killed")
    with monkeypatch.context() as patch:
        killed_at(patch, workdir, 6)
    assert (remote / "checkpoints" / "4" / "commit_success.txt").exists()
    assert train(workdir) == 0
    assert_equal_runs(remote, reference)


def test_a_report_on_s3(s3, capsys):
    assert train(f"{s3}/run") == 0
    assert cli.main(["report", f"{s3}/run"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{s3}/run/report.html"
    assert "<html" in storage.place(f"{s3}/run/report.html").read_text()
    assert cli.main(["report", f"{s3}/none"]) == 2


def test_another_config_is_refused_there(s3, capsys):
    assert train(f"{s3}/run") == 0
    assert train(f"{s3}/run", "--config.optimizer.learning_rate=0.5") == 2
    assert f"{s3}/run was started with another config: optimizer.learning_rate" in capsys.readouterr().err


def test_several_hosts_are_refused_on_s3(s3, monkeypatch):
    from mmjax.errors import UserError
    from mmjax.training.verb import check_store

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    check_store("gs://bucket/run")
    with pytest.raises(UserError, match="s3:// holds the run of one host"):
        check_store(f"{s3}/run")


@pytest.mark.slow
def test_two_processes_on_google_cloud_storage(gs, tmp_path):
    """By the launcher, one of them killed: as on a disk."""

    def launch(folder, logs):
        place = ["--processes", "2", "--devices-per-process", "1", "--restarts", "2", "--logs", str(logs)]
        command = [
            "launch",
            "local",
            *place,
            "--",
            "train",
            "--config",
            f"{runs.CONFIG}:task",
            "--workdir",
            str(folder),
        ]
        return subprocess.Popen(
            [sys.executable, "-m", "mmjax.cli", *command, "--config.steps=400", "--config.checkpoint.every=100"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    runs.finish(launch(tmp_path / "disk", tmp_path / "logs"))
    launcher = launch(f"{gs}/two", tmp_path / "remote")
    remote = storage.place(f"{gs}/two")
    while not (remote / "checkpoints" / "100" / "commit_success.txt").exists():
        assert launcher.poll() is None, launcher.stderr.read()
        time.sleep(0.05)
    children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    subprocess.run(["kill", "-9", children[1]], check=True)
    _, err = runs.finish(launcher)
    assert err.count("starting again") == 1
    assert_equal_runs(remote, tmp_path / "disk")
