"""A TPU of Google Cloud: queued resource, install, run on all workers, logs; anew when preempted; deleted at the end.

Needs gcloud, signed in. --dry-run prints its commands. The run folder lies in a bucket, for the TPU's disks go with it.

examples:
  mmjax launch tpu-vm --name scenes --zone us-west4-a --accelerator-type v5litepod-16 --spot --restarts 5 \\
      --runtime-version v2-alpha-tpuv5-lite --logs logs/scenes --tree . --dry-run -- \\
      train --config configs/quickstart.py --workdir gs://BUCKET/runs/scenes
"""

import argparse
import pathlib
import time

from mmjax.errors import RunError, UserError
from mmjax.launch import command
from mmjax.launch.gcloud import Gcloud, Tpu
from mmjax.launch.local import tell
from mmjax.launch.signals import Relay

POLL = 30.0  # seconds between two looks at the state of the resource
LOST = ("SUSPENDING", "SUSPENDED", "FAILED", "DELETING", "")  # states from which no TPU comes; "" is that of nothing
WRONG_USE, EXIT_INTERRUPTED = 2, 75


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax launch tpu-vm` takes."""
    parser.add_argument("--name", required=True, help="of the resource and of the TPU")
    parser.add_argument("--zone", required=True)
    parser.add_argument("--project", help="default: gcloud's own")
    parser.add_argument("--accelerator-type", required=True, metavar="TYPE", help="v5litepod-16, v4-32, v6e-8, ...")
    parser.add_argument("--runtime-version", required=True, metavar="VERSION", help="image of the machines")
    parser.add_argument("--spot", action="store_true", help="cheaper, and preempted at any time")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--tree", type=pathlib.Path, metavar="DIR", help="install this checkout, as it stands")
    source.add_argument(
        "--pip", metavar="SPEC", help="install this package: 'mmjax[tpu,cloud]', a wheel in a bucket, ..."
    )
    parser.add_argument("--logs", type=pathlib.Path, required=True, metavar="DIR", help="for WORKER.log of each worker")
    parser.add_argument(
        "--restarts", type=int, default=0, metavar="N", help="after preemptions and failures (default: 0)"
    )
    parser.add_argument("--keep", action="store_true", help="do not delete the TPU at the end; it goes on costing")


def start(args: argparse.Namespace) -> int:
    """Runs the command to its end, on one TPU after the other if need be. Returns 0, 1, 2, or 75 after a signal."""
    command.check(args.command)
    if args.restarts < 0:
        raise UserError(f"--restarts must be at least 0, got {args.restarts}")
    if args.tree and not (args.tree / "pyproject.toml").is_file():
        raise UserError(f"--tree {args.tree}: no checkout of mmjax: there is no pyproject.toml")
    tpu = Tpu.of(args)
    if args.dry_run:
        print(tpu.listing(keep=args.keep))
        return 0
    args.logs.mkdir(parents=True, exist_ok=True)
    gcloud = Gcloud(tpu)
    with Relay() as relay:
        relay.to(gcloud)
        try:
            return attempts(gcloud, relay, args.restarts)
        finally:
            if args.keep:
                tell(f"kept, and costing: {command.shell(tpu.delete())} ends it")
            else:
                gcloud.run(tpu.delete(), must=False)


def attempts(gcloud: Gcloud, relay: Relay, restarts: int) -> int:
    """Starts until the run is done or the restarts are used up. Returns its exit code.

    Raises:
      RunError: it failed once more than it may.
    """
    ready, attempt = False, 0
    while True:
        if not ready:
            prepare(gcloud, relay)
        code = EXIT_INTERRUPTED if relay.stopping else gcloud.run(gcloud.tpu.execute(), must=False)
        if code in (0, WRONG_USE):
            return code
        if relay.stopping:
            return EXIT_INTERRUPTED
        state = gcloud.state()
        ready, attempt = state == "ACTIVE", attempt + 1
        what = f"the run ended with exit code {code}" if ready else f"the TPU is gone ({state or 'no such resource'})"
        if attempt > restarts:
            raise RunError(f"{what}; logs in {gcloud.tpu.logs}; --restarts {restarts} allows no further start")
        tell(f"{what}; starting again from the last checkpoint, {attempt} of {restarts}")
        if not ready:
            gcloud.run(gcloud.tpu.delete(), must=False)


def prepare(gcloud: Gcloud, relay: Relay) -> None:
    """A TPU with mmjax on it.

    Raises:
      RunError: none is to be had.
    """
    tpu = gcloud.tpu
    gcloud.run(tpu.create())
    tell(f"waiting for {tpu.name}; Ctrl-C gives up")
    while not relay.stopping and (state := gcloud.state()) != "ACTIVE":
        if state in LOST:
            raise RunError(
                f"{tpu.name}: the request ended as {state or 'nothing'}; gcloud tells more: {tpu.describing}"
            )
        time.sleep(POLL)
    for line in tpu.install() if not relay.stopping else ():
        gcloud.run(line)
