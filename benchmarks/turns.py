"""Sides of a comparison in processes of their own, which take turns: each waits, idle, while another is timed."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def server(script: str, *arguments: str) -> Iterator[subprocess.Popen]:
    """A process that holds one side: `script --serve ARGUMENTS`, which answers lines of JSON with lines of JSON."""
    command = [sys.executable, script, "--serve", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin
        process.stdin.close()


def ask(process: subprocess.Popen, *question: int) -> list[float]:
    """What the process answers; other lines that it prints are passed over."""
    assert process.stdin and process.stdout
    print(json.dumps(question), file=process.stdin, flush=True)
    for line in process.stdout:
        if line.startswith("["):
            return json.loads(line)
    raise SystemExit(f"{process.args!r}: the process ended")


def in_turns(sides: Sequence[str], repeats: int) -> Iterator[str]:
    """Every side once a round, in an order that rotates."""
    for turn in range(repeats):
        yield from (sides[(turn + place) % len(sides)] for place in range(len(sides)))
