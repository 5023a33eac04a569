"""How long a user waits: for `mmjax --help`, and from the start of the quickstart to the end of its first step.

python benchmarks/startup.py

The median of ten starts for the help; of three with an empty compilation cache and three with a full one for the step.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from common import write_result

COMMAND = str(pathlib.Path(sys.executable).with_name("mmjax"))
TRAIN = ("train", "--config", "configs/quickstart.py", "--config.log.every=1", "--config.checkpoint.every=0")


def help_seconds() -> float:
    """Wall time of one run of the command."""
    start = time.perf_counter()
    subprocess.run([COMMAND, "--help"], check=True, capture_output=True)
    return time.perf_counter() - start


def first_step_seconds(cache: pathlib.Path) -> float:
    """From the start of the process until the numbers of the first step are in metrics.jsonl; then it is killed."""
    with tempfile.TemporaryDirectory() as temporary:
        metrics = pathlib.Path(temporary) / "run" / "metrics.jsonl"
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
        start = time.perf_counter()
        with subprocess.Popen(
            [COMMAND, *TRAIN, "--workdir", str(metrics.parent)], env=environment, stderr=subprocess.DEVNULL
        ) as process:
            while not (metrics.exists() and metrics.stat().st_size):
                if process.poll() is not None:
                    raise RuntimeError(f"mmjax {' '.join(TRAIN)} left with {process.returncode} before its first step")
                time.sleep(0.02)
            seconds = time.perf_counter() - start
            process.kill()
        return seconds


def main() -> None:
    help_seconds()  # the first start compiles the bytecode
    measurements: dict[str, list[float]] = {"help_seconds": [help_seconds() for _ in range(10)]}
    cold, warm = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(first_step_seconds(pathlib.Path(cache)))
            warm.append(first_step_seconds(pathlib.Path(cache)))
    print(write_result("startup", measurements | {"first_step_cold_seconds": cold, "first_step_warm_seconds": warm}))


if __name__ == "__main__":
    main()
