"""`make quickstart` as a new user runs it: within its six minutes, with everything it promises."""

import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MINUTES = 6
OUTPUTS = (
    "config.json",
    "metrics.jsonl",
    "timing.jsonl",
    "evaluation.json",
    "environment.json",
    "report.html",
    "bundle",
    "checkpoints",
)


@pytest.mark.slow
def test_make_quickstart(tmp_path):
    for name in ("configs", "Makefile", "pyproject.toml", "setup.py", "constraints.txt"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    environment = {
        key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
    }
    environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "cold")

    start = time.monotonic()
    # The environment is that of these tests: an install from here would point it at this folder.
    command = ["make", "--assume-old=.venv/.installed", "quickstart"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - start

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    run = tmp_path / "runs" / "quickstart"
    assert not [name for name in OUTPUTS if not (run / name).exists()]
    assert done.stdout.strip().splitlines()[-1] == "report: runs/quickstart/report.html"
    scores = json.loads((run / "evaluation.json").read_text())
    assert all(isinstance(value, (int, float)) for value in scores.values())
    assert scores["retrieval/text_to_image/R@1"] >= 0.85
    assert seconds <= MINUTES * 60
