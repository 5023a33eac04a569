"""Training parity: mmjax against open_clip (ClipLoss, SigLipLoss) and transformers' CLIPModel, 50 steps of AdamW.

    MMJAX_TEST_DATA=PATH python benchmarks/parity/train.py

Towers of width 128 and depth 4 start from the weights that mmjax's exporter wrote, and see the same photographs and
captions of PATH/flickr8k_1k: 64 pixels, patches of 16, 32 ids of CLIP's tokenizer; four batches of 32 in turn. Both
sides: float32, AdamW with a rate that rises to 1e-3 over ten steps and stays there, b1 0.9, b2 0.98, eps 1e-6 (what
`open_clip` trains vision transformers with), weight decay 0.1 on matrices and the token table, no clipping, no clamp.
Measured is the loss of every step before its update. The relative differences of all steps, for each seed of the
weights, go to `results/parity_train.json`; the curves of the first seed to `docs/images/parity_train.png`.

Without the warmup the first steps throw the weights so far that CLIP's loss jumps from 3.7 to 5.5 and later spikes; the
rounding of float32 then grows by a factor of 1,000 in 50 steps, with some seeds to 1.5e-3 of the loss. With eps 1e-8,
which turns the rounding of gradients that are truly zero (a key's bias) into steps, one of three seeds differs by
1.2e-4.
"""

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from common import RESULTS, write_result  # noqa: E402

from tests.interop.torch_peers import mend_torchvision  # noqa: E402

mend_torchvision()  # before anything imports open_clip
from mmjax.batch import Batch  # noqa: E402
from mmjax.config import build  # noqa: E402
from mmjax.data.rows import Rows  # noqa: E402
from mmjax.data.sources import open_source  # noqa: E402
from mmjax.data.streams import STREAMS  # noqa: E402
from mmjax.interop.tokenizers import write_clip_tokenizer  # noqa: E402
from mmjax.tasks import TASKS  # noqa: E402
from mmjax.training.optimizer import Optimizer  # noqa: E402
from parity import sides  # noqa: E402

OPTIONS = Optimizer(1e-3, schedule="constant", warmup=10, weight_decay=0.1, eps=1e-6, clip=0.0, clamp=())
BATCH, BATCHES = 32, 4
BOUND = 1e-4  # what is asked for at every step
PEERS = {
    "open_clip_clip": "open_clip, ClipLoss",
    "open_clip_siglip": "open_clip, SigLipLoss",
    "hf_clip": "HF CLIPModel",
}


class Curves(NamedTuple):
    """The loss of every step."""

    ours: list[float]
    theirs: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--plot", type=pathlib.Path, default=ROOT / "docs" / "images" / "parity_train.png")
    args = parser.parse_args()
    measurements: dict[str, list[float]] = {"steps": [args.steps]}
    shown: dict[str, Curves] = {}
    for name in sides.PAIRINGS:
        runs = [train(name, seed, args.steps) for seed in range(args.seeds)]
        shown[name] = runs[0]
        measurements |= {f"{name}/{what}": values for what, values in summary(runs).items()}
        print(f"{name}: largest relative difference {max(measurements[f'{name}/relative_difference']):.1e}")
    plot(shown, args.plot)
    print(write_result("parity_train", measurements, args.results))


def train(name: str, seed: int, steps: int) -> Curves:
    """Both sides of a pairing."""
    pairing = sides.PAIRINGS[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        sections = sides.sections(pairing, sides.Sizes(), write_clip_tokenizer(folder / "tokenizer"))
        epoch = read_batches(sections.streams)
        batches = [epoch[step % BATCHES] for step in range(steps)]
        task = build(sections.task, TASKS, "task")
        params = jax.jit(task.init)(jax.random.key(seed), batches[0])
        start = sides.begin(pairing, task, sections, params, OPTIONS, folder)
        return Curves(sides.our_losses(start, OPTIONS, batches), sides.their_losses(start, OPTIONS, batches))


def read_batches(sections: Mapping[str, Any]) -> list[Batch]:
    """The first photographs of the training split, each with its first caption."""
    if "MMJAX_TEST_DATA" not in os.environ:
        raise SystemExit("set MMJAX_TEST_DATA to the folder that holds flickr8k_1k")
    path = pathlib.Path(os.environ["MMJAX_TEST_DATA"]) / "flickr8k_1k" / "flickr8k_1k.tar"
    source = open_source({"path": str(path), "caption": "captions_en", "where": {"split": "train"}})
    streams = {name: build(section, STREAMS, f"streams.{name}") for name, section in sections.items()}
    out = []
    for number in range(BATCHES):
        rows = Rows(streams, BATCH)
        for row in range(BATCH):
            rows.fill(row, source[number * BATCH + row].streams, lambda name: None)
        rows.index[:] = rows.group[:] = np.arange(BATCH) + number * BATCH
        out.append(rows.batch())
    return out


def summary(runs: Sequence[Curves]) -> dict[str, list[float]]:
    """Of all seeds: the difference at every step, and the loss that each began and ended with."""
    return {
        "relative_difference": [float(x) for run in runs for x in sides.relative(*run)],
        "first_loss": [run.ours[0] for run in runs],
        "last_loss": [run.ours[-1] for run in runs],
        "fall_percent": [100 * (1 - run.ours[-1] / run.ours[0]) for run in runs],
    }


def plot(shown: Mapping[str, Curves], file: pathlib.Path) -> None:
    """Both loss curves of every pairing over each other; their relative difference below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(shown), figsize=(11, 5), sharex=True, height_ratios=(2, 1), squeeze=False)
    for (above, below), (name, curves) in zip(axes.T, shown.items(), strict=True):
        above.plot(curves.theirs, color="#c44e52", linewidth=4, alpha=0.4, label=PEERS[name])
        above.plot(curves.ours, color="#222222", linewidth=1, label="mmjax")
        above.legend(frameon=False)
        below.semilogy(np.maximum(sides.relative(*curves), 1e-8), color="#222222", linewidth=1)
        below.axhline(BOUND, color="#c44e52", linestyle="--", linewidth=1)
        below.set_ylim(1e-8, 1e-3)
        below.set_xlabel("step")
    axes[0, 0].set_ylabel("loss before the step")
    axes[1, 0].set_ylabel("relative difference")
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
