"""Scenes per second of the embedded world on one core: whole items (captions, foils, picture) and pictures alone.

python benchmarks/world_throughput.py
"""

import argparse
import functools
import gc
import time
from collections.abc import Callable, Sequence

from common import write_result

from mmjax.data.world import World
from mmjax.data.world.evaluation_set import evaluation_set
from mmjax.data.world.render import render
from mmjax.data.world.scene import Scene

SCENES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="how often each is measured (default: %(default)s)")
    repeats = parser.parse_args().repeats
    measurements = {"evaluation_set_of_512_seconds": [_evaluation_set() for _ in range(repeats)]}
    for size in (32, 64, 224):
        world = World(size=size)
        scenes = [world.scene(index) for index in range(SCENES)]
        measurements[f"items_{size}px_per_second"] = _rates(world.__getitem__, repeats)
        measurements[f"pictures_{size}px_per_second"] = _rates(functools.partial(_picture, scenes, size), repeats)
    measurements["items_64px_3_objects_per_second"] = _rates(World(max_objects=3).__getitem__, repeats)
    measurements["captions_per_second"] = _rates(World().captions, repeats)
    print(write_result("world_throughput", measurements))


def _picture(scenes: Sequence[Scene], size: int, index: int) -> object:
    return render(scenes[index], size)


def _rates(make: Callable[[int], object], repeats: int) -> list[float]:
    """Calls per second of processor time, once a repeat; processor time, so that a busy neighbour counts less."""
    make(0)
    rates = []
    for _ in range(repeats):
        gc.collect()
        begin = time.process_time()
        for index in range(SCENES):
            make(index)
        rates.append(SCENES / (time.process_time() - begin))
    return rates


def _evaluation_set() -> float:
    evaluation_set.cache_clear()
    begin = time.process_time()
    World("test").captions(0)
    return time.process_time() - begin


if __name__ == "__main__":
    main()
