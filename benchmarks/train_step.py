"""Seconds of a training step and memory of its process: mmjax against open_clip, eager and compiled.

    python benchmarks/train_step.py

CLIP with a ViT of 12 blocks of width 384 (patches of 32, 224 pixels) and a text tower of 12 blocks of width 384 (77
tokens, 49,408 words), float32, batch 32: forward, backward, AdamW. Every side is a process of its own with all cores;
they take turns, some steps each, in an order that rotates. Pixels and ids are random and lie in memory. mmjax runs the
step of `mmjax train` with its allocator settings, open_clip its `CLIP`, `ClipLoss` and torch's AdamW, as they are and
with `torch.compile`. Memory is the most that the process ever held resident. A ratio compares the two of one round.
"""

import argparse
import contextlib
import json
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from common import write_result  # noqa: E402
from turns import ask, in_turns, server  # noqa: E402

SIDES = ("mmjax", "open_clip", "open_clip_compiled")
STEPS = 2  # of a turn
WIDTH, DEPTH, HEADS, PATCH, SIZE, LENGTH, WORDS = 384, 12, 6, 32, 224, 77, 49_408
Step = Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=SIDES)
    parser.add_argument("--serve", metavar="SIDE", help="answer the lines of standard input")
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    print(write_result("train_step", measure(args.sides, args.batch_size, args.repeats)))


def measure(sides: Sequence[str], rows: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of a step once a round, memory once, ratios of ours to theirs."""
    found: dict[str, list[float]] = {f"{side}_seconds": [] for side in sides}
    with contextlib.ExitStack() as stack:
        processes = {side: stack.enter_context(server(__file__, side)) for side in sides}
        for side in sides:
            ask(processes[side], rows, 2)  # compiles, and warms up
        for side in in_turns(sides, repeats):
            found[f"{side}_seconds"].append(ask(processes[side], rows, STEPS)[0])
        for side in sides:
            found[f"{side}_resident_bytes"] = [ask(processes[side], rows, 1)[1]]
    for side in sides[1:]:
        pairs = zip(found["mmjax_seconds"], found[f"{side}_seconds"], strict=True)
        found[f"time_over_{side}"] = [ours / theirs for ours, theirs in pairs]
        found[f"memory_over_{side}"] = [found["mmjax_resident_bytes"][0] / found[f"{side}_resident_bytes"][0]]
    return found


def serve(side: str) -> None:
    """Answers until the input ends: seconds of a step, the mean of so many; the most bytes held."""
    made: dict[int, Step] = {}
    for line in sys.stdin:
        rows, steps = json.loads(line)
        if rows not in made:
            made[rows] = mmjax_side(rows) if side == "mmjax" else torch_side(rows, side.endswith("_compiled"))
        begin = time.perf_counter()
        for _ in range(steps):
            loss = made[rows]()
        assert np.isfinite(loss)
        seconds = (time.perf_counter() - begin) / steps
        print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]), flush=True)


def pairs(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 `[rows, size, size, 3]`; ids `[rows, length]`, the largest of which ends each text."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, WORDS - 2, (rows, LENGTH), dtype=np.int32)
    ids[:, -1] = WORDS - 1
    return rng.integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8), ids


def mmjax_config(rows: int) -> Any:
    from ml_collections import ConfigDict

    tower = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "epsilon": 1e-5}
    image = {"name": "vit", "patch": PATCH, "patch_bias": False, "pooling": "class", "pre_norm": True}
    text = {"name": "text", "vocabulary": WORDS, "length": LENGTH, "eos": WORDS - 1, "pooling": "eos", "causal": True}
    return ConfigDict(
        {
            "steps": 1000,
            "batch_size": rows,
            "data": {
                "train": "none",
                "streams": {
                    "image": {"name": "image", "size": SIZE},
                    "caption": {"name": "text", "tokenizer": "bytes", "length": LENGTH},
                },
            },
            "task": {
                "name": "align",
                "dim": WIDTH,
                "towers": {"image": {**image, **tower}, "text": {**text, **tower}},
                "streams": {"image": "image", "caption": "text"},
                "pairs": (("image", "caption"),),
            },
            "optimizer": {"name": "adamw", "learning_rate": 5e-4, "weight_decay": 0.2, "clip": 0.0},
        }
    )


def mmjax_side(rows: int) -> Step:
    """The step of `mmjax train` on one batch."""
    from mmjax.start import start_jax

    start_jax()
    import jax

    from mmjax.batch import Batch, Stream
    from mmjax.mesh import MeshShape, make_mesh, put_batch
    from mmjax.planning.compiling import shapes_of
    from mmjax.planning.draft import draft
    from mmjax.training.assemble import abstract_batch
    from mmjax.training.experiment import parse
    from mmjax.training.program import compile_step, computing
    from mmjax.training.state import create_state, initializer

    config = mmjax_config(rows)
    experiment = parse(config)
    run = draft(config, experiment, make_mesh(MeshShape()))
    pixels, ids = pairs(rows)
    there, index = np.ones(rows, bool), np.arange(rows, dtype=np.int32)
    streams = {"image": Stream(pixels, there), "caption": Stream(ids, there, np.ones(ids.shape, bool))}
    shapes, key = shapes_of(run), jax.device_put(jax.random.key(0), jax.NamedSharding(run.mesh, jax.P()))
    program = compile_step(run, shapes, key)
    with computing(run):
        state = create_state(initializer(run.task, experiment.optimizer, abstract_batch(run)), shapes, 0)
    batch = put_batch(Batch(streams, there, index, index), run.mesh)

    def step() -> float:
        nonlocal state
        state, metrics = program.step(state, batch, key)
        return float(metrics["loss"])

    return step


def torch_side(rows: int, compiled: bool) -> Step:
    """The step of open_clip on one batch."""
    from tests.interop.torch_peers import mend_torchvision

    mend_torchvision()
    import open_clip
    import torch

    vision = {"layers": DEPTH, "width": WIDTH, "head_width": WIDTH // HEADS, "patch_size": PATCH, "image_size": SIZE}
    text = {"context_length": LENGTH, "vocab_size": WORDS, "width": WIDTH, "heads": HEADS, "layers": DEPTH}
    model = open_clip.model.CLIP(WIDTH, vision, text, output_dict=True).train()
    decays = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decays, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=5e-4, betas=(0.9, 0.98))
    forward = torch.compile(model) if compiled else model
    loss_fn = open_clip.loss.ClipLoss()
    pixels, ids = pairs(rows)
    image = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
    tokens = torch.from_numpy(ids.astype(np.int64))

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_fn(**forward(image, tokens))
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        return float(loss)

    return step


if __name__ == "__main__":
    main()
