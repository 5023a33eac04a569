"""Memory and time of the contrastive losses: all pairs at once against tiles, forward and backward, on this machine.

    python benchmarks/contrastive.py
    python benchmarks/contrastive.py --large

Float32, features of length 1 in 512 dimensions, gradients by both features, scale and bias. Scratch memory is what the
compiler says that it takes beside inputs and outputs (`memory_analysis`), of "dense" as well as of "tiled"; times
alternate in one process, after one run of each. At 16,384 rows "dense" takes 8 GiB of scratch memory. `--large` runs
262,144 rows once, for which "dense" would need 2 TiB, and takes half an hour on two cores.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

from common import write_result

WIDTH = 512
LOSS_NAMES = ("info_nce", "sigmoid")
Run = Callable[[], None]


def main() -> None:
    from mmjax.start import start_jax

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16_384)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="262,144 rows, by tiles alone, once")
    parser.add_argument("--losses", nargs="+", default=LOSS_NAMES, choices=LOSS_NAMES)
    args = parser.parse_args()
    start_jax()
    if args.large:
        print(write_result("contrastive_large", measure(args.losses, 262_144, ("tiled",), 0)))
    else:
        print(write_result("contrastive", measure(args.losses, args.rows, ("dense", "tiled"), args.repeats)))


def measure(losses: Sequence[str], rows: int, ways: tuple[str, ...], repeats: int) -> dict[str, list[float]]:
    """Scratch memory and seconds of both losses each way, and the ratios of the first way to the last."""
    out: dict[str, list[float]] = {"rows": [rows]}
    for name in losses:
        runs = {}
        for way in ways:
            runs[way], scratch = prepare(name, way, rows)
            out[f"{name}/{way}_scratch_bytes"] = [scratch]
        for way, values in timed(runs, repeats).items():
            out[f"{name}/{way}_seconds"] = values
        if len(ways) == 2:
            dense, tiled = (out[f"{name}/{way}_seconds"] for way in ways)
            out[f"{name}/time_of_tiled_over_dense"] = [b / a for a, b in zip(dense, tiled, strict=True)]
            a, b = (out[f"{name}/{way}_scratch_bytes"][0] for way in ways)
            out[f"{name}/memory_of_dense_over_tiled"] = [a / b]
    return out


def prepare(name: str, way: str, rows: int) -> tuple[Run, float]:
    """A function that computes value and gradients once, and the bytes of scratch memory that it takes."""
    import jax
    import jax.numpy as jnp

    from mmjax.losses import LOSSES

    loss_fn: Any = LOSSES[name]

    def loss(a: Any, b: Any, scale: Any, bias: Any) -> Any:
        return loss_fn(a, b, scale, bias, impl=way)

    def draw(key: Any) -> Any:
        x = jax.random.normal(key, (rows, WIDTH))
        return x / jnp.linalg.norm(x, axis=1, keepdims=True)

    inputs = (*map(jax.jit(draw), jax.random.split(jax.random.key(0))), jnp.float32(50.0), jnp.float32(-10.0))
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3))).lower(*inputs).compile()
    memory: Any = step.memory_analysis()
    return lambda: jax.block_until_ready(step(*inputs)), memory.temp_size_in_bytes


def timed(runs: dict[str, Run], repeats: int) -> dict[str, list[float]]:
    """Seconds of each, taking turns, after a first run of each that is not counted unless it is the only one."""
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    for turn in range(repeats + 1):
        for way, run in runs.items():
            begin = time.perf_counter()
            run()
            if turn or not repeats:
                seconds[way].append(time.perf_counter() - begin)
    return seconds


if __name__ == "__main__":
    main()
