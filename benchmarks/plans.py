"""The pod configs by the TPU compiler: memory, MFU and rate of each, and bytes of a chip as the pod grows.

    pip install 'mmjax[plan]'
    python benchmarks/plans.py

Compiles each config for its topology as `mmjax plan` does; nothing runs, so times are those of the chips' peaks, with
perfect overlap of compute, memory and network ("overlapped") and with none ("serial"). The same for attention by XLA,
without the kernel. Weak scaling is `clip_vit_b16` with 128 examples a chip on 16 to 1,024 chips of v5e, parameters
split along one axis of the torus, as in the config. Writes the figures and the picture docs/images/weak_scaling.png.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import pathlib
from collections.abc import Mapping

from common import write_result

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = {"clip_vit_b16": "v5e:16x16", "clip_vit_l14": "v5e:16x16", "siglip_vit_so400m": "v5p:8x8x8"}
SCALING = (("v5e:4x4", 1), ("v5e:8x8", 1), ("v5e:16x16", 1), ("v5e:16x16", 4))
ROWS = 128  # of a chip


def main() -> None:
    measurements: dict[str, list[float]] = {}
    for name, topology in CONFIGS.items():
        plain = {f"task.towers.{tower}.attention": "xla" for tower in ("image", "text")}
        for label, overrides in ((name, {}), (f"{name}_xla_attention", plain)):
            measurements |= {
                f"{label}/{what}": [value] for what, value in figures(name, topology, 1, overrides).items()
            }
    sizes = {}
    for topology, slices in SCALING:
        from mmjax.planning.topology import parse_topology

        pod = parse_topology(topology, slices)
        chips, ring = pod.chips, str(pod.shape[0])
        found = figures("clip_vit_b16", topology, slices, {"batch_size": str(ROWS * chips), "mesh.fsdp": ring})
        measurements |= {f"chips_{chips}/{what}": [value] for what, value in found.items()}
        sizes[chips] = found["chip_gib"]
    draw(sizes)
    print(write_result("plans", measurements))


def figures(name: str, topology: str, slices: int, overrides: Mapping[str, str]) -> dict[str, float]:
    """Of one plan."""
    from mmjax.config import read
    from mmjax.planning.plan import make_plan
    from mmjax.planning.topology import parse_topology

    plan = make_plan(read(str(ROOT / "configs" / f"{name}.py"), overrides), parse_topology(topology, slices))
    assert plan.memory.total is not None
    kept = plan.memory.activations / 2**30
    found = {"chip_gib": plan.memory.total / 2**30, "fits": float(plan.fits), "kept_gib": kept}
    print(f"{name} {topology} x {slices} {dict(overrides)}: {plan.memory.total / 2**30:.2f} GiB", flush=True)
    if plan.estimate and plan.counts:
        known = plan.estimate
        found |= {f"{part}_seconds": getattr(known, part) for part in ("compute", "memory", "network")}
        found |= {"useful_flops": plan.flops, "chip_traffic_bytes": plan.counts.traffic}
        for way, seconds in (("overlapped", known.overlapped), ("serial", known.serial)):
            found |= {
                f"{way}_seconds": seconds,
                f"{way}_mfu": plan.mfu(seconds),
                f"{way}_examples_per_second": plan.batch_size / seconds,
                f"{way}_days": plan.days(seconds),
            }
    return found


def draw(sizes: Mapping[int, float]) -> None:
    """GiB of a chip over chips."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    axes.plot(list(sizes), list(sizes.values()), marker="o", color="#222222")
    axes.set_xscale("log", base=2)
    axes.set(ylim=(0, 1.2 * max(sizes.values())), xlabel="chips (v5e), 128 examples each", ylabel="GiB of a chip")
    axes.set_title("clip_vit_b16: bytes of a chip as the pod grows", fontsize=10)
    axes.grid(alpha=0.3)
    figure.savefig(ROOT / "docs" / "images" / "weak_scaling.png", dpi=150)


if __name__ == "__main__":
    main()
