"""Several processes on this machine, a log each. When one fails, all end, and start again from the last checkpoint.

example:
  mmjax launch local --processes 2 --restarts 3 -- train --config configs/quickstart.py --workdir runs/two
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import shlex
import socket
import sys
from collections.abc import Sequence

from mmjax.errors import UserError
from mmjax.launch import command
from mmjax.launch.group import Group, Outcome
from mmjax.launch.logs import Log
from mmjax.launch.signals import Relay

WRONG_USE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax launch local` takes."""
    parser.add_argument("--processes", type=int, required=True, metavar="N", help="how many")
    parser.add_argument(
        "--devices-per-process",
        type=int,
        metavar="N",
        help="process I takes the N GPUs from I x N on; without GPUs, N pretended CPU devices (default: all there are)",
    )
    parser.add_argument(
        "--restarts", type=int, default=0, metavar="N", help="how often to start again after a failure (default: 0)"
    )
    parser.add_argument("--logs", metavar="DIR", help="for process_I.log (default: WORKDIR/logs)")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to run.

    Attributes:
      command: of each process.
      processes: how many.
      devices: of each process; None for all.
      logs: where process_I.log lies.
    """

    command: Sequence[str]
    processes: int
    devices: int | None
    logs: pathlib.Path

    def log(self, process: int) -> Log:
        return Log(self.logs / f"process_{process}.log")

    def environment(self, process: int, port: int) -> dict[str, str]:
        """The variables by which a process finds the others, and its devices."""
        variables = {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(self.processes),
            "JAX_PROCESS_ID": str(process),
        }
        if self.devices is not None:
            first = process * self.devices
            variables["JAX_LOCAL_DEVICE_IDS"] = ",".join(map(str, range(first, first + self.devices)))
            flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={self.devices}"
            variables["XLA_FLAGS"] = flags.strip()
        return variables


def start(args: argparse.Namespace) -> int:
    """Runs the command on all processes. Returns 0, 75, or the exit code of the first process that failed."""
    plan = planned(args)
    if args.dry_run:
        port = free_port()
        for i in range(plan.processes):
            line = command.shell(plan.command, plan.environment(i, port))
            print(f"{line} >> {shlex.quote(str(plan.log(i).path))} 2>&1")
        return 0
    plan.logs.mkdir(parents=True, exist_ok=True)
    tell(f"{plan.processes} processes, logs in {plan.logs}")
    with Relay() as relay:
        for attempt in range(args.restarts + 1):
            outcome, logs = attempted(plan, relay, attempt)
            if outcome.process is None:
                return stopped_or_done(outcome, plan)
            report(outcome, plan, logs)
            if relay.stopping or outcome.code == WRONG_USE or attempt == args.restarts:
                break
            tell(f"starting again from the last checkpoint, {attempt + 1} of {args.restarts}")
    return outcome.code if outcome.code in (1, WRONG_USE) else 1


def planned(args: argparse.Namespace) -> Plan:
    """Raises UserError where nothing says where the logs go, or a number is impossible."""
    command.check(args.command)
    least = {"--processes": (args.processes, 1), "--restarts": (args.restarts, 0)}
    least["--devices-per-process"] = (1 if args.devices_per_process is None else args.devices_per_process, 1)
    for name, (value, limit) in least.items():
        if value < limit:
            raise UserError(f"{name} must be at least {limit}, got {value}")
    logs = command.logs(args.command, args.logs)
    return Plan([*command.PROGRAM, *args.command], args.processes, args.devices_per_process, logs)


def attempted(plan: Plan, relay: Relay, attempt: int) -> tuple[Outcome, list[str]]:
    """One start of all processes, to its end. Returns how it ended and what each process wrote meanwhile."""
    port = free_port()
    logs = [plan.log(i) for i in range(plan.processes)]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(log.opened(attempt)) for log in logs]
        group = Group(plan.command, [plan.environment(i, port) for i in range(plan.processes)], streams)
        relay.to(group)
        outcome = group.wait(relay)
    return outcome, [log.text() for log in logs]


def stopped_or_done(outcome: Outcome, plan: Plan) -> int:
    """Says how a start without failure ended. Returns the exit code."""
    if outcome.code == 0:
        tell(f"done; what the first process said is in {plan.log(0).path}")
    else:
        tell("stopped; start the same command again")
    return outcome.code


def report(outcome: Outcome, plan: Plan, logs: Sequence[str]) -> None:
    """What the first failed process said at its end, and then who it was."""
    assert outcome.process is not None
    if last := Log.ending(logs[outcome.process]):
        print(last, file=sys.stderr, flush=True)
    tell(
        f"process {outcome.process} of {plan.processes} failed ({outcome.reason}); "
        f"its log: {plan.log(outcome.process).path}"
    )


def tell(line: str) -> None:
    """A line of status."""
    print(f"mmjax launch: {line}", file=sys.stderr, flush=True)


def free_port() -> int:
    """A port of this machine for the coordinator."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
