"""Seconds until the step of ViT-L/14 CLIP is compiled, scanned against unrolled, and again from the persistent cache.

    python benchmarks/compile_time.py

`configs/clip_vit_l14.py` at batch 8 for this machine's CPU: traced, lowered and compiled as `mmjax train` does it, each
in a process of its own, taking turns. "cached" is a second process that finds the program in the cache on disk.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from common import write_result

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=("scan", "unrolled"), help="compile in this process and print the seconds")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(compile_one(args.one == "scan")))
        return
    found: dict[str, list[float]] = {}
    for _ in range(args.repeats):
        for kind in ("scan", "unrolled"):
            with tempfile.TemporaryDirectory() as cache:
                for label in (kind, f"{kind}_cached"):
                    found.setdefault(f"{label}_seconds", []).append(in_process(kind, cache))
    pairs = zip(found["scan_seconds"], found["unrolled_seconds"], strict=True)
    found["scan_over_unrolled"] = [scan / unrolled for scan, unrolled in pairs]
    print(write_result("compile_time", found))


def in_process(kind: str, cache: str) -> float:
    """Seconds of a compilation with that folder as the cache."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--one", kind]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])


def compile_one(scan: bool) -> float:
    from mmjax.start import start_jax

    start_jax()
    from mmjax.config import read
    from mmjax.mesh import MeshShape, make_mesh
    from mmjax.planning.compiling import key_of, shapes_of
    from mmjax.planning.draft import draft
    from mmjax.training.experiment import parse
    from mmjax.training.program import compile_step

    overrides = {f"task.towers.{tower}.scan": str(scan) for tower in ("image", "text")} | {"batch_size": "8"}
    config = read(str(ROOT / "configs" / "clip_vit_l14.py"), overrides | {"mesh.fsdp": "1"})
    run = draft(config, parse(config), make_mesh(MeshShape()))
    shapes, key = shapes_of(run), key_of(run)
    begin = time.perf_counter()
    compile_step(run, shapes, key)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
