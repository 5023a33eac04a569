"""Resident memory of loading PyTorch weights: how far the peak lies above the parameters' own bytes.

    python benchmarks/load_memory.py

A CLIP ViT-B/32 with random weights, saved by transformers in shards of at most 100 MB, is read by `mmjax.load` in a
process of its own: onto one device, and split over the fsdp axis of eight fake ones. That process loads a tiny CLIP
with the same tokenizer first, so what imports and tokenizers take is in the baseline. The peak is VmHWM, set back by
writing 5 to /proc/self/clear_refs (Linux). `above_per_largest_shard` is (peak - baseline - parameters) / largest shard,
where the bytes of parameters are counted on the devices: the small ones, which fsdp does not split, lie there eight
times.
"""

import argparse
import gc
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from common import write_result

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAYOUTS = {"one_device": 1, "fsdp_8_devices": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", nargs=3, metavar=("LAYOUT", "TINY", "FULL"), help="measure one load")
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(*args.child)))
        return
    measurements: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        tiny, full = (pathlib.Path(temporary) / name for name in ("tiny", "full"))
        make(tiny, "--tiny")
        make(full, "--max-shard-size", "100MB")
        shard = max(file.stat().st_size for file in full.glob("*.safetensors"))
        measurements["largest_shard_bytes"] = [shard]
        for layout in LAYOUTS:
            for _ in range(args.repeats):
                seen = one_load(layout, tiny, full)
                above = seen["peak_bytes"] - seen["baseline_bytes"] - seen["parameter_bytes"]
                seen |= {"above_bytes": above, "above_per_largest_shard": above / shard}
                for what, value in seen.items():
                    measurements.setdefault(f"{layout}/{what}", []).append(value)
    print(write_result("load_memory", measurements))


def make(folder: pathlib.Path, *options: str) -> None:
    """Writes a checkpoint in a process of its own: what torch takes is not the measured process's business."""
    command = [sys.executable, str(ROOT / "benchmarks" / "parity" / "b32.py"), str(folder), *options]
    subprocess.run(command, check=True)


def one_load(layout: str, tiny: pathlib.Path, full: pathlib.Path) -> dict[str, float]:
    """What a fresh process measures."""
    flags = f"--xla_force_host_platform_device_count={LAYOUTS[layout]}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, __file__, "--child", layout, str(tiny), str(full)]
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(layout: str, tiny: str, full: str) -> dict[str, float]:
    """Loads the tiny checkpoint, then the full one, and reads the kernel's books in between."""
    import jax

    from mmjax.bundle import load

    place = None if layout == "one_device" else fsdp()
    load(f"hf:{tiny}", place=place)
    gc.collect()
    baseline = status("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    model = load(f"hf:{full}", place=place)
    jax.block_until_ready(model.params)
    peak = status("VmHWM")
    leaves = jax.tree.leaves(model.params)
    parameters = sum(shard.data.nbytes for leaf in leaves for shard in leaf.addressable_shards)
    return {"baseline_bytes": baseline, "peak_bytes": peak, "parameter_bytes": parameters}


def fsdp() -> Callable[[str, Any], Any]:
    """Puts each parameter where training has it, split over eight devices."""
    import jax
    from jax.sharding import NamedSharding

    from mmjax.mesh import MeshShape, make_mesh
    from mmjax.training.sharding import spec

    mesh = make_mesh(MeshShape(data=1, fsdp=8))
    return lambda name, values: jax.device_put(values, NamedSharding(mesh, spec(name, values.shape, mesh)))


def status(key: str) -> int:
    """A line of /proc/self/status, in bytes."""
    found = re.search(rf"^{key}:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, f"/proc/self/status has no {key}"
    return 1024 * int(found[1])


if __name__ == "__main__":
    main()
