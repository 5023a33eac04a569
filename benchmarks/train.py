"""Trains a config with `mmjax train`, start to end, and writes what it reached and how long it took.

    python benchmarks/train.py quickstart
    python benchmarks/train.py --seeds 3 --config configs/flickr8k.py:en -- flickr8k --config.data.train.path=PATH

The name follows the `--` where options of `mmjax train` do. One run a seed. Each number of `evaluation.json` becomes a
measurement, `minutes` is the whole command; `--also NAME=OPTIONS` scores the model once more, as `NAME/...`,
by `mmjax evaluate` with those options.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

from common import write_result

MMJAX = str(pathlib.Path(sys.executable).with_name("mmjax"))


def one_run(config: str, folder: pathlib.Path, options: list[str]) -> dict[str, float]:
    """Trains into `folder`; the run's scores and the minutes it took."""
    start = time.perf_counter()
    subprocess.run([MMJAX, "train", "--config", config, "--workdir", str(folder), *options], check=True)
    minutes = (time.perf_counter() - start) / 60
    return json.loads((folder / "evaluation.json").read_text()) | {"minutes": minutes}


def score(folder: pathlib.Path, name: str, options: str) -> dict[str, float]:
    """The scores of a trained model on other data, under a prefix."""
    file = folder / f"{name}.json"
    command = [MMJAX, "evaluate", "--model", str(folder), "--json", str(file), *shlex.split(options)]
    subprocess.run(command, check=True)
    return {f"{name}/{key}": value for key, value in json.loads(file.read_text()).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the result; its config is configs/NAME.py unless --config says otherwise")
    parser.add_argument("--config")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--also", action="append", default=[], metavar="NAME=OPTIONS")
    parser.add_argument("options", nargs="*", help="options of mmjax train, after --")
    args = parser.parse_args()
    config = args.config or f"configs/{args.name}.py"
    measurements: dict[str, list[float]] = {}
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary) / "run"
            scores = one_run(config, folder, [f"--config.seed={seed}", *args.options])
            for also in args.also:
                name, _, options = also.partition("=")
                scores |= score(folder, name, options)
            for key, value in scores.items():
                measurements.setdefault(key, []).append(value)
    for key in [key for key in measurements if args.seeds > 1]:
        measurements[f"{key}/mean"] = [sum(measurements[key]) / args.seeds]
    print(write_result(args.name, measurements))


if __name__ == "__main__":
    main()
