"""Memory of a chip for the contrastive loss as the batch grows, by the TPU compiler, with no TPU.

    pip install libtpu
    python benchmarks/contrastive_memory.py

InfoNCE forward and backward on float32 features of 512 dimensions, split over the eight chips of a v5p slice, compiled
ahead of time with all pairs at once ("dense") and in a ring. Bytes of a chip are inputs, outputs and the scratch
memory that the compiler allots. Doubles the batch until 4,194,304; a program that the compiler refuses has no bytes.
Writes the figures and the picture docs/images/contrastive_memory.png.
"""

import os

os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "JAX_PLATFORMS": "cpu"}

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

from common import write_result

WIDTH, TOPOLOGY = 512, "v5p:2x2x2"
CAPACITY = 95 * 2**30  # bytes of HBM of a v5p chip
PICTURE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "images" / "contrastive_memory.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smallest", type=int, default=2**14)
    parser.add_argument("--largest", type=int, default=2**22)
    args = parser.parse_args()
    from jax.experimental import topologies

    devices = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY).devices
    seen: dict[str, dict[int, float]] = {"dense": {}, "ring": {}}
    rows = args.smallest
    while rows <= args.largest:
        for impl, known in seen.items():
            if (size := chip_bytes(impl, rows, devices)) is not None:
                known[rows] = size
                print(f"{impl} {rows:,}: {size / 2**30:.3f} GiB", flush=True)
        rows *= 2
    sizes = {(impl, rows): size for impl, known in seen.items() for rows, size in known.items()}
    measurements = {f"{impl}/rows_{rows}_chip_gib": [size / 2**30] for (impl, rows), size in sizes.items()}
    measurements["chips"] = [len(devices)]
    draw(seen)
    print(write_result("contrastive_memory", measurements))


def chip_bytes(impl: Any, rows: int, devices: Any) -> float | None:
    """What one chip holds while it computes value and gradients; None where the compiler says that it does not fit."""
    import jax
    import jax.numpy as jnp

    from mmjax.losses import info_nce
    from mmjax.mesh import ROWS, MeshShape, make_mesh

    mesh = make_mesh(MeshShape(-1, 1, 1), devices)
    features = jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32, sharding=jax.NamedSharding(mesh, ROWS))
    scale = jax.ShapeDtypeStruct((), jnp.float32, sharding=jax.NamedSharding(mesh, jax.P()))

    def loss(a: Any, b: Any, scale: Any) -> Any:
        return info_nce(a, b, scale, impl=impl, mesh=mesh)

    with jax.set_mesh(mesh):
        step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
        try:
            memory: Any = step.lower(features, features, scale).compile().memory_analysis()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return None
    return memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes


def draw(seen: Mapping[str, Mapping[int, float]]) -> None:
    """Bytes of a chip over rows, both axes logarithmic, with what a chip has."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for impl, known in seen.items():
        axes.plot(list(known), [size / 2**30 for size in known.values()], marker="o", markersize=4, label=impl)
    axes.axhline(CAPACITY / 2**30, color="0.5", linestyle="--", linewidth=1)
    axes.annotate("95 GiB of a v5p chip", (min(seen["ring"]), CAPACITY / 2**30), (0, 4), textcoords="offset points")
    axes.set(xscale="log", yscale="log", ylim=(0.02, 400), xlabel="rows of the global batch", ylabel="GiB of a chip")
    axes.set_xscale("log", base=2)
    axes.set_title("InfoNCE, forward and backward, 512 features, 8 chips", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(PICTURE, dpi=150)


if __name__ == "__main__":
    main()
