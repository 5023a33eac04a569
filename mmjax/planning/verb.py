"""Plan a run before renting a chip: what it needs and how long it takes, by the real compiler of those chips.

Examples:
  mmjax plan --config configs/clip_vit_l14.py --topology v5e:16x16
  mmjax plan --config configs/clip_vit_b16.py --topology v5e:16x16,v6e:16x16 --price 1.2 --config.batch_size=16384
  mmjax plan --config configs/clip_vit_b16.py --topology h100:8x4 --search

The step, its shardings and its shapes are those of `mmjax train`. TPUs need the compiler, not the chips: pip install
'mmjax[plan]'. GPUs that are not here are counted from the model ("analytic"); `--topology here` compiles for, and with
`--measure` runs on, the devices of this machine. No data is read.

Exit codes: 0 it fits on every topology, 1 it does not fit on one of them, 2 wrong use.
"""

import argparse
import json
import math
import os
import sys
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE.py[:ARG]", help="the experiment")
    parser.add_argument(
        "--topology",
        required=True,
        metavar="CHIP:SHAPE[,...]",
        help="v4:4x4x4, v5e:16x16, v5p:8x8x8, v6e:16x16, tpu7x:4x4x4; h100:8x4 (nodes of 8, 4 nodes); or here",
    )
    parser.add_argument("--slices", type=int, default=1, help="TPU slices of that shape, joined by the data centre")
    parser.add_argument("--search", action="store_true", help="try meshes, recomputation and micro-batches; rank them")
    parser.add_argument("--measure", action="store_true", help="with --topology here: also time the step")
    parser.add_argument("--price", type=float, help="of a chip per hour, for the cost of the run")
    parser.add_argument("--json", action="store_true", help="print the plans as JSON")
    parser.set_defaults(overrides={})


def run(args: argparse.Namespace) -> int:
    names = [name for name in args.topology.split(",") if name]
    if "here" not in names:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is imported: a compiler is not a device
    from mmjax.config import read
    from mmjax.errors import UserError
    from mmjax.planning.topology import HERE, parse_topology

    if args.price is not None and not 0 < args.price < math.inf:
        raise UserError(f"--price {args.price:g}: a chip costs more than nothing an hour, in any currency")
    config = read(args.config, args.overrides)
    if args.measure and (names != [HERE] or args.search):
        raise UserError(
            f"--measure times the step on this machine: it goes with --topology {HERE} alone, and no --search"
        )
    topologies = [parse_topology(name, args.slices) for name in names]
    if args.search:
        return _search(config, topologies, args)
    from mmjax.planning.plan import as_json, make_plan

    plans = [make_plan(config, topology, args.measure) for topology in topologies]
    if args.json:
        _dump([as_json(plan, args.price) for plan in plans])
    else:
        from mmjax.planning.text import lines

        print("\n".join(line for plan in plans for line in lines(plan, args.price)))
    return 0 if all(plan.fits for plan in plans) else 1


def _search(config: Any, topologies: list[Any], args: argparse.Namespace) -> int:
    from mmjax.planning.plan import as_json
    from mmjax.planning.search import search
    from mmjax.planning.text import lines

    ranked = {topology.name: search(config, topology) for topology in topologies}
    if args.json:
        _dump(
            {
                name: [{"overrides": one.overrides, **as_json(one.plan, args.price)} for one in found]
                for name, found in ranked.items()
            }
        )
        return 0 if all(ranked.values()) else 1
    for name, found in ranked.items():
        print(f"{name}: {len(found)} choices fit" if found else f"{name}: nothing that was tried fits")
        for place, one in enumerate(found, 1):
            print(f"{place}. " + " ".join(f"--config.{key}={text}" for key, text in one.overrides.items()))
            print("\n".join(lines(one.plan, args.price)))
    return 0 if all(ranked.values()) else 1


def _dump(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2)
    print()
