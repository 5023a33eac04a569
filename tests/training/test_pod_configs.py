"""The pod configs train: cut down to a small block of each tower, on four devices, from shards in a folder."""

import io
import shlex
import tarfile

import numpy as np
import pytest
from PIL import Image

from mmjax.training.metrics import read
from tests import test_docs
from tests.interop import toy_tokenizers
from tests.training import test_resume as runs

CONFIGS = {
    "clip_vit_b16": toy_tokenizers.clip,
    "clip_vit_l14": toy_tokenizers.clip,
    "siglip_vit_so400m": toy_tokenizers.siglip,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards of sixteen pictures with captions."""
    place = tmp_path_factory.mktemp("pairs")
    for shard in range(2):
        with tarfile.open(place / f"shards-{shard:05d}.tar", "w") as tar:
            for item in range(16):
                picture = io.BytesIO()
                Image.fromarray(np.full((40, 30, 3), 16 * item, np.uint8)).save(picture, "png")
                for name, data in ((f"{item}.png", picture.getvalue()), (f"{item}.txt", f"shade {item}".encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return place


def command(name):
    """The `mmjax train` of the config's docstring."""
    (found,) = [c for c in test_docs.COMMANDS if f"mmjax train --config configs/{name}.py" in c]
    return shlex.split(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_pod_config_trains(name, folder, tmp_path, monkeypatch):
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    CONFIGS[name](tokenizer)
    written = command(name)
    given = [part for part in written if part.startswith("--config.data.train.path=PATH/shards-{00000..")]
    assert len(given) == 1 and written[:2] == ["mmjax", "train"]
    monkeypatch.setattr(runs, "CONFIG", f"configs/{name}.py")
    small = {
        "data.train.path": f"{folder}/shards-{{00000..00001}}.tar",
        "data.streams.caption.tokenizer.path": tokenizer,
        "data.workers": 0,
        "batch_size": 16,
        "optimizer.warmup": 1,
        "mesh.fsdp": 2,
        "task.dim": 192,
        "task.towers.image.size": "Ti",
        "task.towers.image.depth": 1,
        "task.towers.text.depth": 1,
        "log.every": 1,
    }
    small |= {"task.towers.text.size": "Ti"} if name.startswith("siglip") else {"task.towers.text.width": 128}
    process = runs.start(
        tmp_path / "run", *(f"--config.{key}={value}" for key, value in small.items()), devices=4, steps=2
    )
    runs.finish(process)
    losses = [line["train/loss"] for line in read(tmp_path / "run" / "metrics.jsonl")]
    assert len(losses) == 2 and np.isfinite(losses).all()
