"""A SLURM job with one process a node, which is queued again when it is preempted or its time is up.

The script comes from this command alone: --dry-run prints it, ready for `sbatch`.

example:
  mmjax launch slurm --nodes 4 --gpus-per-node 8 --time 24:00:00 --dry-run -- \\
      train --config configs/quickstart.py --workdir runs/four
"""

import argparse
import os
import pathlib
import re
import shlex
import subprocess
import sys

from mmjax.errors import RunError, UserError
from mmjax.launch import command

TIME = re.compile(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}|UNLIMITED|INFINITE")  # as `man sbatch` has it
NOTICE = 120  # seconds before the time limit at which the processes are told to save
OPTIONS = ("nodes", "gpus-per-node", "cpus-per-task", "time", "partition", "account")  # passed on as they are

SCRIPT = """\
#!/bin/bash
{directives}

# At the end of its time, or preempted, every process gets SIGTERM, saves, and ends with 75. This script may get it too.
stopped=0
trap 'stopped=1' TERM
{setup}
code=1
for start in $(seq {starts}); do
  srun --kill-on-bad-exit=1 --open-mode=append --output={log} {command}
  code=$?
  if [ "$code" = 0 ] || [ "$code" = 2 ]; then
    exit "$code"
  fi
  if [ "$code" = 75 ] || [ "$stopped" = 1 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
  fi
done
exit "$code"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax launch slurm` takes."""
    parser.add_argument("--nodes", type=int, required=True, metavar="N", help="machines, with one process each")
    parser.add_argument("--gpus-per-node", metavar="N", help="GPUs of each, which its process takes all")
    parser.add_argument("--cpus-per-task", type=int, metavar="N", help="cores of each")
    parser.add_argument("--time", metavar="D-HH:MM:SS", help="limit of one stay in the cluster")
    parser.add_argument("--partition", metavar="NAME")
    parser.add_argument("--account", metavar="NAME")
    parser.add_argument("--job-name", default="mmjax", metavar="NAME", help="default: mmjax")
    parser.add_argument(
        "--sbatch", action="append", default=[], metavar='"--KEY=VALUE"', help="another option of sbatch; repeatable"
    )
    parser.add_argument(
        "--setup", action="append", default=[], metavar="COMMAND", help="to run first on the first node; repeatable"
    )
    parser.add_argument("--python", default=sys.executable, metavar="FILE", help="of each node (default: this one)")
    parser.add_argument(
        "--restarts", type=int, default=0, metavar="N", help="after failures; preemptions do not count (default: 0)"
    )
    parser.add_argument("--logs", metavar="DIR", help="for process_I.log and job_ID.log (default: WORKDIR/logs)")


def start(args: argparse.Namespace) -> int:
    """Submits the script, or prints it. Returns 0."""
    command.check(args.command)
    check(args)
    logs = command.logs(args.command, args.logs)
    text = script(args, logs.absolute())
    if args.dry_run:
        print(text, end="")
        return 0
    logs.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(["sbatch"], input=text, text=True)
    except FileNotFoundError:
        raise UserError("sbatch: no such command here; start this on a login node, or take --dry-run") from None
    if done.returncode:
        raise RunError(f"sbatch refused the job (exit code {done.returncode}); its reason stands above")
    return 0


def check(args: argparse.Namespace) -> None:
    """Raises UserError for a number that SLURM would refuse, or a time that it would misread."""
    least = {"nodes": 1, "cpus_per_task": 1, "restarts": 0}
    for name, limit in least.items():
        value = getattr(args, name)
        if value is not None and value < limit:
            raise UserError(f"--{name.replace('_', '-')} must be at least {limit}, got {value}")
    if args.time is not None and not TIME.fullmatch(args.time):
        raise UserError(f"--time {args.time}: write minutes, HH:MM:SS or D-HH:MM:SS")


def script(args: argparse.Namespace, logs: pathlib.Path) -> str:
    """The whole sbatch script."""
    full = [args.python, *command.PROGRAM[1:], *args.command, command.TOGETHER]
    return SCRIPT.format(
        directives="\n".join(f"#SBATCH {line}" for line in directives(args, logs)),
        setup="\n".join([*variables(args), *args.setup]),
        starts=args.restarts + 1,
        log=shlex.quote(f"{logs}/process_%t.log"),
        command=shlex.join(full),
    )


def directives(args: argparse.Namespace, logs: pathlib.Path) -> list[str]:
    """The options of sbatch, one an entry."""
    given = {name: getattr(args, name.replace("-", "_")) for name in OPTIONS}
    lines = [f"--job-name={args.job_name}", "--ntasks-per-node=1"]
    lines += [f"--{name}={value}" for name, value in given.items() if value is not None]
    lines += [f"--chdir={os.getcwd()}", f"--output={logs}/job_%j.log", "--open-mode=append"]
    lines += ["--requeue", f"--signal=TERM@{NOTICE}"]
    for option in args.sbatch:
        if not option.startswith("-"):
            raise UserError(f"--sbatch {option}: write it as an option of sbatch, --sbatch=--KEY=VALUE")
    return [shlex.join([line]) for line in lines] + args.sbatch


def variables(args: argparse.Namespace) -> list[str]:
    """What srun does not take from sbatch itself."""
    return [] if args.cpus_per_task is None else [f"export SRUN_CPUS_PER_TASK={args.cpus_per_task}"]
