"""Captions written by ViT-B/16 and GPT-2 small: mmjax against transformers, eager and compiled, in tokens a second.

    python benchmarks/generate.py

The model is `VisionEncoderDecoderModel`'s: 224 pixels, cross-attention in all of 12 blocks, 238.6 million random
parameters, float32. Each caption is 30 new tokens, greedily chosen; no token ends one, so that all rows run to the end.
Tokens a second count the encoder's time, which is also given by itself. Every side is a process of its own with all
cores; they take turns, one call each, in an order that rotates. mmjax gets uint8 pixels and runs the program of
`Caption.generate`, the loop on the device, with its allocator settings. The peer runs `generate` under
`torch.inference_mode` on pixels that are normalised already: as it is, and with a static cache and both forward passes
through `torch.compile`. A ratio is mmjax's rate over the peer's within one round.
"""

import argparse
import contextlib
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from common import write_result  # noqa: E402
from turns import ask, in_turns, server  # noqa: E402

SIDES = ("mmjax", "hf", "hf_compiled")
SIZE, NEW, WORDS, BEGIN = 224, 30, 50_257, 50_256
PARAMETERS = 238_605_312  # of either model, the peer's pooler left out, which nothing reads
WHOLE, ENCODER = 0, 1
Side = dict[int, Callable[[], np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=SIDES)
    parser.add_argument("--serve", metavar="SIDE", help="answer the lines of standard input")
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    measurements: dict[str, list[float]] = {}
    for rows in args.batch_sizes:
        for what, values in rounds(args.sides, rows, args.repeats).items():
            measurements[f"batch_{rows}/{what}"] = values
    print(write_result("generate", measurements))


def rounds(sides: Sequence[str], rows: int, repeats: int) -> dict[str, list[float]]:
    """Tokens a second of every side once a round, seconds of its encoder, and ratios of ours to theirs."""
    whole: dict[str, list[float]] = {side: [] for side in sides}
    encoder: dict[str, list[float]] = {side: [] for side in sides}
    with contextlib.ExitStack() as stack:
        processes = {side: stack.enter_context(server(__file__, side)) for side in sides}
        for side in sides:
            for part in (WHOLE, WHOLE, ENCODER):  # compiles, and warms up
                ask(processes[side], rows, part)
        for side in in_turns(sides, repeats):
            whole[side] += ask(processes[side], rows, WHOLE)
            encoder[side] += ask(processes[side], rows, ENCODER)
    found = {}
    for side in sides:
        found[f"{side}_tokens_per_second"] = [rows * NEW / seconds for seconds in whole[side]]
        found[f"{side}_encoder_seconds"] = encoder[side]
        pairs = zip(whole[side], encoder[side], strict=True)
        found[f"{side}_tokens_per_second_without_encoder"] = [rows * NEW / (a - b) for a, b in pairs]
    for peer in sides[1:]:
        for what in ("", "_without_encoder"):
            ours, theirs = (found[f"{side}_tokens_per_second{what}"] for side in (sides[0], peer))
            found[f"ratio_to_{peer}{what}"] = [a / b for a, b in zip(ours, theirs, strict=True)]
    return found


def serve(side: str) -> None:
    """Answers until the input ends: seconds of a call."""
    made: dict[int, Side] = {}
    for line in sys.stdin:
        rows, part = json.loads(line)
        if rows not in made:
            pixels = np.random.default_rng(0).integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8)
            made[rows] = mmjax_side(pixels) if side == "mmjax" else torch_side(pixels, side == "hf_compiled")
        begin = time.perf_counter()
        shape = made[rows][part]().shape
        seconds = time.perf_counter() - begin
        assert shape == ((rows, NEW) if part == WHOLE else (rows, 197, 768)), shape
        print(json.dumps([seconds]), flush=True)


def mmjax_side(pixels: np.ndarray) -> Side:
    """The program of the task, and the encoder's."""
    from mmjax.start import start_jax

    start_jax()
    import jax

    from mmjax.batch import Batch, Stream
    from mmjax.decoding import Decoding
    from mmjax.tasks.caption import Caption

    same = {"width": 768, "depth": 12, "heads": 12}
    image = {"name": "vit", "patch": 16, "grid": 14, "pooling": "class", "epsilon": 1e-12, **same}
    text = {"name": "decoder", "vocabulary": WORDS, "length": 1024, "mlp_dim": 3072, "begin": BEGIN, **same}
    streams = {"image": "image", "caption": "text"}
    task = Caption.from_config("task", {"image": image, "text": text}, streams, {"reads": "cross", "connector": "none"})
    there, index = np.ones(len(pixels), bool), np.arange(len(pixels), dtype=np.int32)
    caption = Stream(np.ones((len(pixels), 2), np.int32), there, np.ones((len(pixels), 2), bool))
    batch = Batch({"image": Stream(pixels, there), "caption": caption}, there, index, index)
    params = jax.jit(task.init)(jax.random.key(0), batch)
    _check(sum(leaf.size for leaf in jax.tree.leaves(params)))
    write = jax.jit(functools.partial(task.generate, decoding=Decoding(length=NEW)))
    see = jax.jit(lambda params, batch: task.model.apply({"params": params}, batch.streams["image"], method="see"))
    return {
        WHOLE: lambda: np.asarray(write(params, batch).ids),
        ENCODER: lambda: np.asarray(see(params, batch)["context"]),
    }


def torch_side(pixels: np.ndarray, compiled: bool) -> Side:
    """The same of the peer."""
    from tests.interop.torch_peers import mend_torchvision

    mend_torchvision()
    import torch
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(), GPT2Config())
    model: Any = VisionEncoderDecoderModel(config).eval()
    _check(sum(p.numel() for name, p in model.named_parameters() if "pooler" not in name))
    options: dict[str, Any] = {"max_new_tokens": NEW, "do_sample": False}
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = model.generation_config.decoder_start_token_id = BEGIN
    if compiled:
        model.encoder.forward = torch.compile(model.encoder.forward)
        model.decoder.forward = torch.compile(model.decoder.forward)
        options["cache_implementation"] = "static"
    given = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()

    def write() -> np.ndarray:
        with torch.inference_mode():
            return model.generate(pixel_values=given, **options)[:, 1:].numpy()

    def see() -> np.ndarray:
        with torch.inference_mode():
            return model.encoder(pixel_values=given).last_hidden_state.numpy()

    return {WHOLE: write, ENCODER: see}


def _check(parameters: int) -> None:
    if parameters != PARAMETERS:
        raise SystemExit(f"{parameters:,} parameters where {PARAMETERS:,} were expected")


if __name__ == "__main__":
    main()
