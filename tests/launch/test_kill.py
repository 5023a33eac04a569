"""Two real processes, one of them killed at a random step: the launcher goes on to the same parameters, bit by bit."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.training import test_resume as runs

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 24


def launch(folder, *options):
    command = ["launch", "local", "--processes", "2", "--devices-per-process", "1", *options, "--"]
    command += ["train", "--config", f"{runs.CONFIG}:task", "--workdir", str(folder), f"--config.steps={STEPS}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-m", "mmjax.cli", *command],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(process):
    """Process ids of a launcher's processes, in their order."""
    found = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    runs.finish(launch(folder))
    return folder


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="finds the processes in /proc")
def test_one_killed_at_random(tmp_path, reference):
    rng = random.Random()
    step, victim = rng.randrange(5, STEPS - 4), rng.randrange(2)
    launcher = launch(tmp_path, "--restarts", "3")
    runs.wait_for_step(launcher, tmp_path, step)
    os.kill(children(launcher)[victim], signal.SIGKILL)
    _, err = runs.finish(launcher)
    assert f"process {victim} of 2 failed (ended by SIGKILL)" in err and err.count("starting again") == 1, err
    runs.assert_same_run(tmp_path, reference)


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="finds the processes in /proc")
def test_a_killed_launcher_leaves_nobody_behind(tmp_path, reference):
    """Its processes save and stop, as when they are asked to, and the same command goes on."""
    launcher = launch(tmp_path)
    runs.wait_for_step(launcher, tmp_path, 5)
    left = children(launcher)
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 60
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in left):
        assert time.monotonic() < deadline, "they live on"
        time.sleep(0.1)
    runs.finish(launch(tmp_path))
    runs.assert_same_run(tmp_path, reference)


ALONE = """
import argparse, os, time
from mmjax import distributed
from mmjax.start import start_jax
parser = argparse.ArgumentParser()
distributed.add_arguments(parser)
start_jax()
with distributed.joined(parser.parse_known_args()[0]):
    import jax
    if jax.process_index() == 1:
        raise KeyError("the cause")
    from mmjax.distributed.hosts import everyones
    everyones("waits for an answer that never comes")
"""


def test_one_that_fails_alone_does_not_wait_for_the_others(tmp_path):
    """An ordinary exit would: five minutes, in which nobody learns of the failure."""
    (tmp_path / "program.py").write_text(ALONE)
    code = (
        "import sys; from mmjax.launch import command; from mmjax import cli\n"
        f"command.PROGRAM = (sys.executable, {str(tmp_path / 'program.py')!r})\nsys.exit(cli.main(sys.argv[1:]))"
    )
    options = ["launch", "local", "--processes", "2", "--", "train", "--workdir", str(tmp_path / "run")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[1] == "Traceback (most recent call last):" and "KeyError: 'the cause'" in done.stderr
    )
    assert "process 1 of 2 failed (exit code 1)" in done.stderr
