"""The processes of a run: which they are, how they find each other, what they tell each other.

`add_arguments` and `joined` are the way in of every verb that runs on several hosts; `hosts` is what they say there.
"""

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from mmjax.distributed.place import Place, find
from mmjax.distributed.rendezvous import meet
from mmjax.errors import UserError

JOIN_TIMEOUT = 300.0  # seconds: machines of a pod start minutes apart
CONNECTED = 60  # seconds for JAX to connect processes that are all there
# Arguments that may differ: which process it is and how it finds the others; overrides count as they make the config.
OWN = ("distributed", "coordinator", "processes", "process", "join_timeout", "overrides")
PARTING = 5.0  # seconds that a process which failed waits for the others to fail as well


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what says which processes run together."""
    group = parser.add_argument_group("several processes", "found in the environment; see docs/launch.md")
    group.add_argument(
        "--distributed",
        action=argparse.BooleanOptionalAction,
        help="insist on the others, or run alone whatever is set",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process", type=int, metavar="I", help="which of them this is, from 0")
    group.add_argument(
        "--join-timeout",
        type=float,
        default=JOIN_TIMEOUT,
        metavar="SECONDS",
        help=f"how long to wait for all of them ({JOIN_TIMEOUT:g})",
    )


@contextlib.contextmanager
def joined(args: argparse.Namespace) -> Iterator[None]:
    """Connects to the other processes, where there are any, for as long as the run lasts.

    Args:
      args: as `add_arguments` has them parsed.

    Raises:
      UserError: the arguments or the environment say only half of who the others are.
      RunError: somebody did not come within the time limit; it says who.
    """
    place = find(args.distributed, (args.coordinator, args.processes, args.process), args.join_timeout)
    if place is None or place.processes == 1:
        yield
        return
    meet(place, args.join_timeout)
    try:
        connect(place)
        compare(args)
        yield
    except BaseException as error:
        leave_soon(2 if isinstance(error, (UserError, OSError)) else 1)
        raise


def connect(place: Place) -> None:
    """Makes the devices of all processes one pool, and says what is in it on the first one's stderr."""
    import jax

    from mmjax.distributed.hosts import table

    if os.environ.get("JAX_PLATFORMS") == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # With these known, JAX would still look around and give a SLURM task one device of its node.
    jax.distributed.initialize(
        place.coordinator,
        place.processes,
        place.process,
        local_device_ids=place.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=CONNECTED,
    )
    lines = table()
    if place.process == 0:
        print(lines, file=sys.stderr, flush=True)


def compare(args: argparse.Namespace) -> None:
    """Raises UserError, on all processes, if one of them was started otherwise or runs other code."""
    from mmjax.distributed.agree import agree, code

    given = {f"--{name.replace('_', '-')}": value for name, value in vars(args).items() if name not in OWN}
    agree("arguments", given)
    agree("code", code())


def leave_soon(code: int) -> None:
    """Ends this process in a moment, if it has not ended by then.

    A process that exits waits minutes for the others, which is right where all are done. One that failed alone would
    keep its failure from them for so long; where all fail alike, the moment lets each say so.
    """
    timer = threading.Timer(PARTING, os._exit, (code,))
    timer.daemon = True
    timer.start()
