"""Pictures per second through CLIP's ViT-B/32: mmjax against transformers and open_clip, eager and compiled.

    python benchmarks/embed_throughput.py

One set of random weights, written by transformers and exported by mmjax for open_clip. Every side is a process of its
own with all cores; they take turns, one timed stretch each, in an order that rotates. mmjax gets uint8 pixels and
normalises them itself, as `mmjax embed` does: its jitted program and its allocator settings. The peers,
`get_image_features` and `encode_image` under `torch.inference_mode`, as they are and through `torch.compile`, get float
pixels that are normalised already; both give features of length 1. All float32. Sides whose features differ by more
than 1e-4 are refused. A ratio is mmjax's rate over the peer's within one round, which a busy neighbour distorts least.
"""

import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from common import write_result  # noqa: E402
from turns import ask, in_turns, server  # noqa: E402

SIDES = ("mmjax", "hf", "hf_compiled", "open_clip", "open_clip_compiled")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
STRETCH = 3.0  # seconds that a timed stretch should last
Embed = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=SIDES)
    parser.add_argument("--serve", nargs=2, metavar=("SIDE", "FOLDER"), help="answer the lines of standard input")
    args = parser.parse_args()
    if args.serve:
        serve(*args.serve)
        return
    measurements: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        make(folder)
        for size in args.batch_sizes:
            for side, values in rounds(args.sides, folder, size, args.repeats).items():
                measurements[f"batch_{size}/{side}_images_per_second"] = values
        for size in args.batch_sizes:
            ours = measurements[f"batch_{size}/mmjax_images_per_second"]
            for peer in args.sides[1:]:
                theirs = measurements[f"batch_{size}/{peer}_images_per_second"]
                measurements[f"batch_{size}/ratio_to_{peer}"] = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(write_result("embed_throughput", measurements))


def make(folder: pathlib.Path) -> None:
    """The weights for transformers and mmjax in `hf`, for open_clip in `open_clip`."""
    mmjax = str(pathlib.Path(sys.executable).with_name("mmjax"))
    subprocess.run([sys.executable, str(ROOT / "benchmarks" / "parity" / "b32.py"), str(folder / "hf")], check=True)
    export = [mmjax, "export", "--model", f"hf:{folder / 'hf'}", "--to", "open_clip", str(folder / "open_clip")]
    subprocess.run(export, check=True)


def rounds(sides: Sequence[str], folder: pathlib.Path, size: int, repeats: int) -> dict[str, list[float]]:
    """Images per second of every side, once a round."""
    rates: dict[str, list[float]] = {side: [] for side in sides}
    with contextlib.ExitStack() as stack:
        processes = {side: stack.enter_context(server(__file__, side, str(folder))) for side in sides}
        features = {side: np.array(ask(process, size, 0)) for side, process in processes.items()}
        for side, values in features.items():
            if (difference := np.abs(values - features[sides[0]]).max()) > 1e-4:
                raise SystemExit(f"{side}: features differ from those of {sides[0]} by {difference:.1e}")
        calls = {side: max(1, round(STRETCH / ask(process, size, 1)[0])) for side, process in processes.items()}
        for side in in_turns(sides, repeats):
            rates[side].append(size * calls[side] / ask(processes[side], size, calls[side])[0])
    return rates


def serve(side: str, folder: str) -> None:
    """Answers until the input ends."""
    embed = (mmjax_side if side == "mmjax" else torch_side)(side, pathlib.Path(folder))
    for line in sys.stdin:
        size, calls = json.loads(line)
        pixels = np.random.default_rng(0).integers(0, 256, (size, 224, 224, 3), dtype=np.uint8)
        run = embed(pixels)
        answer = [float(x) for x in run()[0]] if calls == 0 else [seconds(run, calls)]
        print(json.dumps(answer), flush=True)


def seconds(run: Callable[[], np.ndarray], calls: int) -> float:
    """How long so many calls take, after one that warms up."""
    run()
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - begin


def mmjax_side(side: str, folder: pathlib.Path) -> Callable[[np.ndarray], Callable[[], np.ndarray]]:
    """From pixels to a function that embeds them."""
    from mmjax.start import start_jax

    start_jax()
    import mmjax
    from mmjax.batch import Batch, Stream
    from mmjax.items import program

    model = mmjax.load(f"hf:{folder / 'hf'}")
    run = program(model.task, "image")

    def embed(pixels: np.ndarray) -> Callable[[], np.ndarray]:
        rows, index = np.ones(len(pixels), bool), np.arange(len(pixels), dtype=np.int32)
        batch = Batch({"image": Stream(pixels, rows)}, rows, index, index)
        return lambda: np.asarray(run(model.params, batch))

    return embed


def torch_side(side: str, folder: pathlib.Path) -> Callable[[np.ndarray], Callable[[], np.ndarray]]:
    """The same of a peer."""
    from tests.interop.torch_peers import mend_torchvision

    mend_torchvision()
    import torch

    library = side.removesuffix("_compiled")
    if library == "hf":
        from transformers import CLIPModel

        model = CLIPModel.from_pretrained(str(folder / "hf")).eval()

        def forward(pixels: torch.Tensor) -> torch.Tensor:
            features = model.get_image_features(pixels)
            features = getattr(features, "pooler_output", features)
            return features / features.norm(dim=-1, keepdim=True)
    else:
        import open_clip

        model = open_clip.create_model(f"local-dir:{folder / 'open_clip'}").eval()

        def forward(pixels: torch.Tensor) -> torch.Tensor:
            return model.encode_image(pixels, normalize=True)

    call = torch.compile(forward) if side.endswith("_compiled") else forward

    def embed(pixels: np.ndarray) -> Callable[[], np.ndarray]:
        mean, std = (np.array(values, np.float32) for values in (MEAN, STD))
        tensor = torch.from_numpy((pixels.astype(np.float32) / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()

        def run() -> np.ndarray:
            with torch.inference_mode():
                return call(tensor).numpy()

        return run

    return embed


if __name__ == "__main__":
    main()
