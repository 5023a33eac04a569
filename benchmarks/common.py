"""What every benchmark shares: `results/NAME.json` with the command, the versions, the machine and the measurements.

README and docs quote those files between markers, and a test compares them: see `tests/test_docs.py`.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence

RESULTS = pathlib.Path(__file__).parent / "results"
LIBRARIES = (
    "jax",
    "jaxlib",
    "libtpu",
    "flax",
    "optax",
    "grain",
    "numpy",
    "pillow",
    "torch",
    "transformers",
    "open_clip_torch",
    "timm",
)


def write_result(
    name: str, measurements: Mapping[str, Sequence[float]], results: pathlib.Path = RESULTS
) -> pathlib.Path:
    """Writes `results/NAME.json`.

    Args:
      measurements: {what, with its unit in the name: every value that was measured}.
      results: the folder; a test writes elsewhere.

    Returns:
      The file.
    """
    path = results / f"{name}.json"
    command = shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    if "MMJAX_TEST_DATA" in os.environ:  # the reader's folder, which the docs call PATH, is nobody else's business
        command = command.replace(os.environ["MMJAX_TEST_DATA"], "PATH")
    record = {
        "command": command,
        "versions": versions(),
        "machine": machine(),
        "measurements": {what: summary(values) for what, values in measurements.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def versions() -> dict[str, str]:
    """Of Python, mmjax and the libraries that are installed."""
    installed = {"python": platform.python_version()}
    for library in ("mmjax", *LIBRARIES):
        try:
            installed[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def machine() -> dict[str, str | int]:
    """Processor, cores this process may use, system."""
    return {"processor": processor(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform()}


def processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
