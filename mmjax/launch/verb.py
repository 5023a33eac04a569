"""Run train, evaluate or embed on several processes, here or on a cluster, and start it again where it breaks off.

Examples:
  mmjax launch local --processes 2 --restarts 3 -- train --config configs/quickstart.py --workdir runs/two
  mmjax launch local --processes 2 --dry-run -- train --config configs/quickstart.py --workdir runs/two

`mmjax launch WHERE --help` tells the options of each place. --dry-run prints exactly what would run.

Exit codes: 0 done, 1 failed, 2 wrong use, 75 stopped after saving: start the same command again.
"""

import argparse
import importlib

# place: (module, what it does)
PLACES = {
    "local": ("mmjax.launch.local", "several processes on this machine"),
    "slurm": ("mmjax.launch.slurm", "a job of SLURM, one process a node"),
    "gke": ("mmjax.launch.gke", "a JobSet on TPU slices of Google Kubernetes Engine"),
    "tpu-vm": ("mmjax.launch.tpu_vm", "a TPU of Google Cloud, from its creation to its end"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    places = parser.add_subparsers(dest="place", required=True, metavar="{" + ",".join(PLACES) + "}")
    for name, (module, summary) in PLACES.items():
        room = importlib.import_module(module)
        usage = f"{parser.prog} {name} [options] -- VERB ..."
        place = places.add_parser(name, help=summary, description=room.__doc__, usage=usage)
        place.add_argument("--dry-run", action="store_true", help="print what would run, and run nothing")
        room.add_arguments(place)
        place.add_argument("command", nargs="+", metavar="VERB ...", help="the command to run, behind --")
        place.set_defaults(start=room.start)


def run(args: argparse.Namespace) -> int:
    return args.start(args)
