"""Images a second and core: JPEG decoding and random resized crops to 224, by mmjax and by a PyTorch DataLoader.

    MMJAX_TEST_DATA=PATH TORCH_PYTHON=OTHER_VENV/bin/python python benchmarks/loader.py

reads PATH/flickr8k_1k/flickr8k_1k.tar. The other Python needs torch, numpy and Pillow alone; without it mmjax alone is
measured. See `loader_torch.py` for what it runs. Both sides have the same number of worker processes, take turns, and
skip their start-up. "Of a core" counts the processor time of all processes, so that a machine with other work on it
measures nearly the same. The part `mmjax opencv` needs the extra [fast].
"""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

from common import write_result
from rates import rates

PARTS = ("mmjax pillow", "mmjax opencv", "torch uint8", "torch float")
BATCH, SIZE = 64, 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", type=int, default=60, help="of 64 pictures, in each run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(ours(args.part.split()[1], args.workers, args.batches)))
        return
    results: dict[str, list[dict[str, float]]] = {part: [] for part in PARTS if possible(part)}
    for run in range(args.runs):
        for part, measured in results.items():
            measured.append(one(part, args))
            print(f"run {run + 1}: {part}: {measured[-1]['images_per_core_second']:.0f} images/s of a core", flush=True)
    write_result("loader", summary(results))


def possible(part: str) -> bool:
    if part == "mmjax opencv":
        return all(importlib.util.find_spec(name) for name in ("cv2", "simplejpeg"))
    return part.startswith("mmjax") or "TORCH_PYTHON" in os.environ


def one(part: str, args: argparse.Namespace) -> dict[str, float]:
    """One run in a process of its own."""
    if part.startswith("torch"):
        script = [os.environ["TORCH_PYTHON"], str(pathlib.Path(__file__).with_name("loader_torch.py"))]
        script += [tar(), "--variant", part.split()[1], "--batch-size", str(BATCH), "--size", str(SIZE)]
    else:
        script = [sys.executable, __file__, "--part", part]
    script += ["--workers", str(args.workers), "--batches", str(args.batches)]
    return json.loads(subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True).stdout)


def tar() -> str:
    return str(pathlib.Path(os.environ["MMJAX_TEST_DATA"]) / "flickr8k_1k" / "flickr8k_1k.tar")


def ours(resampler: str, workers: int, batches: int) -> dict[str, float]:
    from mmjax.config import build
    from mmjax.data.loader import Loader
    from mmjax.data.sources import open_source
    from mmjax.data.streams import STREAMS

    stream = build({"name": "image", "size": SIZE, "resampler": resampler}, STREAMS, "stream")
    source = open_source({"path": tar(), "caption": "captions_en"})
    loader = Loader([source], [1.0], {"image": stream}, BATCH, workers=workers)
    with loader.batches() as iterator:
        return rates(iterator, batches, BATCH)


def summary(results: dict[str, list[dict[str, float]]]) -> dict[str, list[float]]:
    """Every number that was measured, and run by run the ratios that the README quotes."""
    out = {}
    for part, runs in results.items():
        out[f"{key(part)}/images_per_core_second"] = [run["images_per_core_second"] for run in runs]
        out[f"{key(part)}/images_per_second"] = [run["images_per_second"] for run in runs]
    for a in (part for part in results if part.startswith("mmjax")):
        for b in (part for part in results if part.startswith("torch")):
            pairs = zip(results[a], results[b], strict=True)
            out[f"{key(a)}_over_{key(b)}"] = [
                x["images_per_core_second"] / y["images_per_core_second"] for x, y in pairs
            ]
    return out


def key(part: str) -> str:
    """A part's name as docs quote it."""
    return part.replace(" ", "_")


if __name__ == "__main__":
    main()
