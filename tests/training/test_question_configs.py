"""The configs of questions on real pictures go together with their data; a slow test also trains and scores them."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from mmjax import config
from mmjax.training.assemble import assemble
from tests.test_docs import ROOT, TINY

NAMES = ("easy_vqa", "daquar")
CUT = {"easy_vqa": 0.0, "daquar": 0.005}  # share of the training answers that may be longer than their stream


@pytest.mark.parametrize("name", NAMES)
def test_the_config_fits_its_data(name, data_root, tmp_path):
    run = assemble(config.read(f"{ROOT}/configs/{name}.py:{data_root}/{name}"), tmp_path)
    with run.loader.batches() as batches:
        batch = next(batches).batch
    jax.eval_shape(run.task.init, jax.random.key(0), batch)
    assert batch.valid.all() and (batch["answer"].mask.sum(axis=1) >= 3).all()
    source, stream = run.loader.plan.sources[0], run.streams["answer"]
    texts = {answer for item in range(len(source)) for answer in source.truth(item)["answers"]}
    length, tokenizer = stream.length, stream.loaded()
    whole = np.mean([tokenizer.encode(text, 4 * length)[1].sum() <= length for text in texts])
    assert 1 - whole <= CUT[name] * 4  # of different answers; rare ones are the long ones


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_is_scored(name, data_root, tmp_path):
    command = [sys.executable, "-m", "mmjax.cli", "train", "--config", f"configs/{name}.py:{data_root}/{name}"]
    subprocess.run([*command, "--workdir", str(tmp_path / "run"), *TINY], cwd=ROOT, check=True)
    scores = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert 0 < scores["answer/baseline"] < 1 and scores["answer/count"] > 4000
