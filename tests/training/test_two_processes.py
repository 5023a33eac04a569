"""Two real processes of two devices each, over gloo: the same numbers as one device, and one set of files."""

import os
import socket

import numpy as np
import pytest

from mmjax.training.metrics import read
from tests.training import test_resume as runs

SGD = ("--config.optimizer.name=sgd", "--config.optimizer.b1=0.0", "--config.optimizer.ema=0.0")
FLAGS = (*SGD, "--config.optimizer.learning_rate=0.05", "--config.matmul_precision=highest")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_pair(folder, *options, monkeypatch, steps=5):
    monkeypatch.setitem(os.environ, "JAX_COORDINATOR_ADDRESS", f"127.0.0.1:{free_port()}")
    monkeypatch.setitem(os.environ, "JAX_NUM_PROCESSES", "2")
    processes = []
    for i in range(2):
        monkeypatch.setitem(os.environ, "JAX_PROCESS_ID", str(i))
        processes.append(runs.start(folder, "--distributed", *FLAGS, *options, devices=2, steps=steps))
    return processes


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    runs.finish(runs.start(folder, *FLAGS, steps=5))
    return folder


@pytest.mark.parametrize("mesh", [(), ("--config.mesh.data=2", "--config.mesh.fsdp=2")])
def test_equal_to_one_device(tmp_path, single, mesh, monkeypatch):
    for process in start_pair(tmp_path, *mesh, monkeypatch=monkeypatch):
        runs.finish(process)
    ours, theirs = (read(folder / "metrics.jsonl") for folder in (tmp_path, single))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for name in ("train/loss", "train/gradient_norm"):
        ours_values, theirs_values = ([line[name] for line in lines if name in line] for lines in (ours, theirs))
        np.testing.assert_allclose(ours_values, theirs_values, rtol=1e-5)
    ours_params, theirs_params = runs.params(tmp_path), runs.params(single)
    scale = max(np.abs(x).max() for x in theirs_params.values())
    for name, value in theirs_params.items():
        assert np.abs(ours_params[name] - value).max() <= 1e-5 * max(np.abs(value).max(), 1e-3 * scale), name


def test_one_process_resumes_what_two_began(tmp_path, single, monkeypatch):
    for process in start_pair(tmp_path, monkeypatch=monkeypatch, steps=5):
        runs.finish(process)
    runs.finish(runs.start(tmp_path, *FLAGS, steps=5))
    assert read(tmp_path / "metrics.jsonl")[-1]["step"] == 5
