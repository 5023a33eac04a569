"""A run killed anywhere and started again by the same command is bitwise the run that was never interrupted."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from mmjax.training.metrics import read

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "tests/training/toy.py"
STEPS = 60


def start(folder, *options, devices=1, steps=STEPS):
    flags = f"--xla_force_host_platform_device_count={devices}"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mmjax.cli", "train", "--config", CONFIG, "--workdir", str(folder)]
    command += [f"--config.steps={steps}", *options]
    return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process, code=0):
    out, err = process.communicate(timeout=180)
    assert process.returncode == code, err
    return out, err


def wait_for_step(process, folder, step):
    """Until this process has written that step: a start replaces metrics.jsonl, older lines do not count."""
    file = folder / "metrics.jsonl"
    before = file.stat().st_ino if file.exists() else None
    while process.poll() is None:
        if file.exists() and file.stat().st_ino != before:
            lines = read(file)
            if lines and lines[-1]["step"] >= step:
                return
        time.sleep(0.01)
    raise AssertionError(f"ended before step {step}: {process.communicate()[1]}")


def params(folder):
    return load_file(str(folder / "bundle" / "params.safetensors"))


def losses(folder):
    return {line["step"]: line["train/loss"] for line in read(folder / "metrics.jsonl") if "train/loss" in line}


def assert_same_run(folder, reference):
    assert (folder / "metrics.jsonl").read_text() == (reference / "metrics.jsonl").read_text()
    assert (folder / "evaluation.json").read_text() == (reference / "evaluation.json").read_text()
    ours, theirs = params(folder), params(reference)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    finish(start(folder))
    return folder


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_kills_at_random(tmp_path, reference, kills):
    rng = random.Random(kills)
    for kill in range(kills):
        process = start(tmp_path)
        wait_for_step(process, tmp_path, 3 + 6 * kill + rng.randrange(4))
        time.sleep(0.02 * rng.random())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the kill must hit a living run"
    finish(start(tmp_path))
    assert_same_run(tmp_path, reference)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_says_so(tmp_path, reference, number):
    process = start(tmp_path, "--config.checkpoint.every=1000")
    wait_for_step(process, tmp_path, 7)
    process.send_signal(number)
    _, err = finish(process, code=75)
    assert "start the same command again" in err
    assert any(path.name.isdigit() for path in (tmp_path / "checkpoints").iterdir())
    finish(start(tmp_path, "--config.checkpoint.every=1000"))
    assert_same_run(tmp_path, reference)


@pytest.mark.parametrize(("before", "after"), [pytest.param(8, 1, marks=pytest.mark.slow), (1, 8)])
def test_another_number_of_devices(tmp_path, reference, before, after):
    process = start(tmp_path, devices=before)
    wait_for_step(process, tmp_path, 13)
    process.send_signal(signal.SIGTERM)
    finish(process, code=75)
    stopped = read(tmp_path / "metrics.jsonl")[-1]["step"]
    finish(start(tmp_path, devices=after))
    ours, theirs = (losses(folder) for folder in (tmp_path, reference))
    following = range(stopped + 1, stopped + 11)
    assert following[-1] <= STEPS
    np.testing.assert_allclose([ours[s] for s in following], [theirs[s] for s in following], atol=1e-4)


def test_a_changed_config_is_refused_by_name(tmp_path, reference):
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    _, err = finish(start(tmp_path, "--config.optimizer.learning_rate=0.5"), code=2)
    assert "optimizer.learning_rate: 0.003 → 0.5" in err and "--resume=force" in err
    finish(start(tmp_path, "--config.optimizer.learning_rate=0.5", "--resume=force", steps=STEPS + 2))
    assert json.loads((tmp_path / "config.json").read_text())["optimizer"]["learning_rate"] == 0.5
