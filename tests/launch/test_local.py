"""Processes that live and end together, by programs that take no time; test_kill.py has real trainings."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from mmjax import cli
from mmjax.launch import command, group

ROOT = pathlib.Path(__file__).parents[2]
ME = "import os, pathlib, signal, sys, time\nme = int(os.environ['JAX_PROCESS_ID'])\n"


@pytest.fixture
def launch(tmp_path, monkeypatch, capfd):
    """Runs `code` as the program of each process. Returns the exit code and what the launcher printed."""

    def run(code, *options, processes=2):
        program = tmp_path / "program.py"
        program.write_text(ME + textwrap.dedent(code))
        monkeypatch.setattr(command, "PROGRAM", (sys.executable, str(program)))
        workdir = ["--workdir", str(tmp_path / "run")]
        done = cli.main(["launch", "local", "--processes", str(processes), *options, "--", "train", *workdir])
        return done, capfd.readouterr().err

    return run


def log(tmp_path, process):
    return (tmp_path / "run" / "logs" / f"process_{process}.log").read_text()


def test_each_finds_the_others_and_has_a_log(launch, tmp_path):
    code, err = launch(
        "print(me, os.environ['JAX_NUM_PROCESSES'], os.environ['JAX_COORDINATOR_ADDRESS'], sys.argv[1:])"
    )
    assert code == 0 and err.startswith(f"mmjax launch: 2 processes, logs in {tmp_path}/run/logs\nmmjax launch: done")
    told = [log(tmp_path, process).split() for process in range(2)]
    assert [words[3] for words in told] == ["0", "1"] and told[0][4:] == told[1][4:]
    assert told[0][4] == "2" and told[0][5].startswith("127.0.0.1:") and told[0][6] == "['train',"


def test_the_first_failure_ends_all_with_its_traceback_on_top(launch, tmp_path):
    began = time.monotonic()
    code, err = launch("if me == 1: raise KeyError('the cause')\ntime.sleep(60)", processes=3)
    assert code == 1 and time.monotonic() - began < 30
    lines = err.splitlines()
    assert lines[1] == "Traceback (most recent call last):" and "KeyError: 'the cause'" in lines[2:-1]
    assert lines[-1] == (
        f"mmjax launch: process 1 of 3 failed (exit code 1); its log: {tmp_path}/run/logs/process_1.log"
    )


def test_a_process_that_ignores_the_request_is_killed(launch, monkeypatch):
    monkeypatch.setattr(group, "GRACE", 0.3)
    began = time.monotonic()
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    code, err = launch(f"{ignore}\nif me == 0: time.sleep(0.5); os.kill(os.getpid(), 9)\ntime.sleep(60)")
    assert code == 1 and "process 0 of 2 failed (ended by SIGKILL)" in err and time.monotonic() - began < 30


# Process 0 alone: another may be ended before it has counted.
COUNT = """
    if me: sys.exit(0)
    marks = pathlib.Path(sys.argv[3] + "_starts")
    marks.mkdir(exist_ok=True)
    count = len(list(marks.glob(f"{me}_*")))
    (marks / f"{me}_{count}").touch()
"""


def test_it_starts_again_as_often_as_told(launch, tmp_path):
    code, err = launch(COUNT + "    if count < 2: sys.exit('not yet')\n    print('well')", "--restarts", "2")
    assert code == 0 and err.count("starting again from the last checkpoint") == 2 and "1 of 2" in err
    assert [line for line in log(tmp_path, 0).splitlines() if line.startswith("---")] == [
        "--- start 1",
        "--- start 2",
        "--- start 3",
    ]
    assert log(tmp_path, 0).endswith("well\n")


def test_it_gives_up_after_that(launch, tmp_path):
    code, err = launch(COUNT + "    sys.exit('never')", "--restarts", "1")
    assert code == 1 and err.count("never") == 2, "each start shows its own end, not that of the one before"


def test_wrong_use_is_not_tried_again(launch, tmp_path):
    code, err = launch(COUNT + "    sys.exit(2)", "--restarts", "3")
    assert code == 2 and "starting again" not in err


def test_stopped_after_saving_is_passed_on(launch):
    code, err = launch("sys.exit(75)", "--restarts", "3")
    assert code == 75 and "stopped; start the same command again" in err and "starting again" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_all_and_stops_the_launcher(tmp_path, number):
    program = tmp_path / "mmjax_stub.py"
    program.write_text(
        f"{ME}signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    code = (
        "import sys; from mmjax.launch import command; from mmjax import cli\n"
        f"command.PROGRAM = (sys.executable, {str(program)!r})\nsys.exit(cli.main(sys.argv[1:]))"
    )
    options = ["--processes", "2", "--restarts", "3", "--", "train", "--workdir", str(tmp_path / "run")]
    launcher = subprocess.Popen(
        [sys.executable, "-c", code, "launch", "local", *options],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    logs = [tmp_path / "run" / "logs" / f"process_{i}.log" for i in range(2)]
    while not all(path.exists() and "ready" in path.read_text() for path in logs):
        assert launcher.poll() is None
        time.sleep(0.02)
    launcher.send_signal(number)
    _, err = launcher.communicate(timeout=30)
    assert launcher.returncode == 75 and err.endswith("stopped; start the same command again\n")


def test_a_dry_run_prints_what_would_run(tmp_path, capsys):
    options = ["local", "--processes", "2", "--devices-per-process", "3", "--dry-run", "--logs", f"{tmp_path}/a b"]
    assert cli.main(["launch", *options, "--", "embed", "--out", "x y"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=0 JAX_LOCAL_DEVICE_IDS=0,1,2 XLA_FLAGS=" in first
    assert "JAX_PROCESS_ID=1 JAX_LOCAL_DEVICE_IDS=3,4,5" in second and "device_count=3' " in second
    assert first.endswith(f"-m mmjax.cli embed --out 'x y' >> '{tmp_path}/a b/process_0.log' 2>&1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes", "0", "--", "train", "--workdir", "x"], "--processes must be at least 1, got 0"),
        (["--processes", "2", "--", "trian"], "-- trian: launches train, evaluate, embed; did you mean train?"),
        (["--processes", "2", "--", "evaluate", "--model", "x"], "--logs DIR is needed"),
        (["--processes", "2", "--", "train", "--workdir=gs://b/x"], "--logs DIR is needed"),
    ],
)
def test_wrong_use_is_one_line(capsys, arguments, message):
    assert cli.main(["launch", "local", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"mmjax launch: {message}") and err.count("\n") == 1
