"""Two real processes of two devices each, over gloo: the same numbers as one device, and one set of files."""

import re
import signal

import numpy as np
import pytest

from mmjax.training.metrics import read
from tests.distributed.ports import free_port
from tests.training import test_resume as runs

SGD = ("--config.optimizer.name=sgd", "--config.optimizer.b1=0.0", "--config.optimizer.ema=0.0")
# Every parameter in part on either host: also the report's pictures of attention must be computed together.
ACROSS = ("--config.mesh.data=1", "--config.mesh.fsdp=4", "--config.log.report=True")
FLAGS = (*SGD, "--config.optimizer.learning_rate=0.05", "--config.matmul_precision=highest")


def start_pair(folder, *options, steps=5):
    others = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process")
    return [runs.start(folder, *others, str(i), *FLAGS, *options, devices=2, steps=steps) for i in range(2)]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    runs.finish(runs.start(folder, *FLAGS, steps=5))
    return folder


# Features that pass from process to process, in micro-batches: GradCache and the ring together.
RING = ("--config.task.loss={'name': 'info_nce', 'impl': 'ring', 'tile': 3}", "--config.optimizer.accumulate=2")


SLOW = [pytest.param(mesh, marks=pytest.mark.slow) for mesh in ((), ACROSS)]


@pytest.mark.parametrize("mesh", [*SLOW, RING], ids=["data", "across", "ring"])
def test_equal_to_one_device(tmp_path, single, mesh):
    for process in start_pair(tmp_path, *mesh):
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
    if mesh == ACROSS:
        assert "Weights of the 2 × 2 patches" in (tmp_path / "report.html").read_text()


def test_a_signal_to_one_stops_both_at_one_step(tmp_path):
    processes = start_pair(tmp_path, steps=4000)
    runs.wait_for_step(processes[0], tmp_path, 3)
    processes[1].send_signal(signal.SIGTERM)
    errors = [runs.finish(process, code=75)[1] for process in processes]
    table = r"process  host +devices\n0        \S+ +2 x cpu\n1        \S+ +2 x cpu\n"
    assert re.search(table, errors[0]) and not re.search(table, errors[1])
    saved = [int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]
    assert max(saved) == read(tmp_path / "metrics.jsonl")[-1]["step"]


@pytest.mark.slow
def test_too_many_bad_items_on_one_stop_both(tmp_path):
    """Alone, the host that meets them would leave the other waiting for its part of the next step."""
    for process in start_pair(tmp_path, "--config.data.train.bad=(3,)", steps=4000):
        _, err = runs.finish(process, code=1)
        assert "shades: " in err and "more than data.max_skip_rate 0.01" in err
    assert read(tmp_path / "metrics.jsonl")[-1]["step"] < 10


@pytest.mark.slow
def test_one_process_resumes_what_two_began(tmp_path):
    """With the evaluation of step 6 on two hosts, and that of the end on one."""
    reference = tmp_path / "reference"
    runs.finish(runs.start(reference, *FLAGS, steps=8))
    folder = tmp_path / "run"
    processes = start_pair(folder, "--config.checkpoint.every=7", steps=8)
    runs.wait_for_step(processes[0], folder, 7)
    for process in processes:
        process.kill()
        process.communicate()
    runs.finish(runs.start(folder, *FLAGS, steps=8))
    ours, theirs = (read(path / "metrics.jsonl") for path in (folder, reference))
    assert [(line["step"], line.keys()) for line in ours] == [(line["step"], line.keys()) for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for name in ("train/loss", "eval/retrieval/text_to_image/mAP"):
            assert one.get(name, 0.0) == pytest.approx(other.get(name, 0.0), rel=1e-4)
