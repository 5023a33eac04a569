"""A run folder and a model as `mmjax train` leaves them, with numbers and features from a generator."""

import dataclasses
import json
from types import SimpleNamespace

import flax.linen as nn
import jax
import numpy as np

from mmjax.batch import Example
from tests.evaluation.fakes import FakeSet, FakeSource, unit


class Sower(nn.Module):
    """A model whose only block sows attention weights over 4 x 4 patches: where the picture is bright."""

    @nn.compact
    def __call__(self, batch, train=False):
        pixels = batch["image"].data.astype("float32").mean(-1)
        side = pixels.shape[1] // 4
        bright = pixels.reshape(-1, 4, side, 4, side).mean((2, 4)).reshape(-1, 1, 1, 16)
        self.sow("intermediates", "weights", jax.nn.softmax(bright.repeat(2, 1).repeat(16, 2) / 16))
        return {}


@dataclasses.dataclass(frozen=True)
class Task:
    """Features are the stream's own data, as in the evaluators' tests; attention is the module's."""

    model: nn.Module = dataclasses.field(default_factory=Sower)

    def embed(self, params, batch, rng=None):
        return {name: stream.data for name, stream in batch.streams.items()}


@dataclasses.dataclass(frozen=True)
class Pixels:
    kind: str = "image"
    field: str = "image"

    def __call__(self, value, rng):
        return {"data": value}


class Pictures(FakeSource):
    """Plain pictures: a bright square whose place and colour follow from the item's number."""

    def __getitem__(self, index):
        picture = np.full((32, 32, 3), 40, np.uint8)
        row, column = divmod(index * 7 % 16, 4)
        picture[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = [(index * 37) % 256, 200, (index * 91) % 256]
        return Example(str(index), {"image": picture})


def fake_model(n=60, captions=2, noise=0.4, d=16, label=None, text="caption {caption} of item {item}", source=None):
    """A model and a set of `n` items whose captions lie `noise` away from their picture."""
    rng = np.random.default_rng(0)
    images = unit(rng.normal(size=(n, d)))
    owner = np.repeat(np.arange(n), captions)
    texts = unit(images[owner] + noise * rng.normal(size=(n * captions, d)))
    truths = []
    for item in range(n):
        told = tuple(text.format(item=item, caption=k) for k in range(captions))
        truths.append({"captions": told} | ({} if label is None else {"label": label(item)}))
    data = FakeSet({"image": images, "caption": texts}, {"image": np.arange(n), "caption": owner}, truths)
    data.source, data.items = source or Pictures(truths), n
    streams = {"image": Pixels(), "caption": SimpleNamespace(kind="text", field="caption")}
    return SimpleNamespace(task=Task(), params={}, streams=streams, config={}), data


def fake_run(run, steps=600, every=20):
    """Writes the files of a finished run."""
    rng = np.random.default_rng(1)
    metrics, timing = [], []
    for step in range(every, steps + 1, every):
        done = step / steps
        metrics.append(
            {
                "step": step,
                "train/loss": 5.5 * np.exp(-3 * done) + 0.6 + 0.1 * rng.normal(),
                "train/gradient_norm": float(np.exp(1 - 2 * done + 0.2 * rng.normal())),
                "train/parameter_norm": 30 + 8 * done,
                "train/update_norm": 0.05 * (1.01 - done),
                "train/learning_rate": 1e-3 * min(step / 50, (1 + np.cos(np.pi * done)) / 2),
                "train/scale": 14 + 20 * done,
                "train/valid": 1.0,
            }
        )
        if step % 100 == 0:
            rates = {f"R@{k}": min(1.0, done * (0.6 + 0.04 * k)) for k in (1, 5, 10)}
            directions = ("image_to_text", "text_to_image")
            scores = {f"eval/retrieval/{side}/{key}": value for side in directions for key, value in rates.items()}
            extra = {f"eval/retrieval/{side}/median_rank": 200.0 * (1.005 - done) for side in directions}
            metrics.append({"step": step, **scores, **extra, "eval/foils/colour": 0.5 + 0.4 * done, "eval/skipped": 0})
        shares = {"compile": 0.05, "data": 0.04, "step": 0.84, "save": 0.02, "evaluate": 0.04}
        timing.append(
            {
                "step": step,
                "examples_per_second": 950 + 30 * rng.normal(),
                "data_wait_share": 0.04 + 0.01 * rng.random(),
                "wall_seconds": 0.4 * step,
                **{f"goodput/{part}": share for part, share in shares.items()},
            }
        )
    for name, lines in (("metrics", metrics), ("timing", timing)):
        (run / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    final = {key.removeprefix("eval/"): value for line in metrics for key, value in line.items() if "eval/" in key}
    _write(run / "evaluation.json", final)
    _write(run / "config.json", {"steps": steps, "batch_size": 256, "task": {"name": "align", "dim": 128}})
    _write(run / "environment.json", {"devices": "8 x cpu", "jax": "0.10.2", "mesh": {"data": 8}})
    skip = {"step": 3, "source": "photos", "index": 5, "id": "a<b>.jpg", "reason": "truncated"}
    (run / "skipped.jsonl").write_text(json.dumps(skip) + "\n")


def _write(file, value):
    file.write_text(json.dumps(value))
