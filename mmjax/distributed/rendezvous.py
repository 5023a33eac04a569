"""All processes of a run meet at the coordinator's port before JAX connects them.

JAX ends a process whose partners do not come, and does not say who they are. So process 0 first listens there itself,
until each of the others has told its number; then it frees the port for JAX and lets them go on.
"""

import contextlib
import json
import os
import socket
import time
from typing import Any

from mmjax.distributed.place import Place
from mmjax.errors import RunError

PATIENCE = 2.0  # seconds for a connected process to say its line
PAUSE = 0.1  # seconds between two attempts to reach process 0
NAMED = 8  # how many of the missing are named


def meet(place: Place, timeout: float) -> None:
    """Returns when all processes are there.

    Args:
      timeout: seconds to wait for them.

    Raises:
      RunError: on every process that came: who did not, or who came twice.
    """
    host, _, port = place.coordinator.rpartition(":")
    if place.process == 0:
        _gather(place, int(port), timeout)
    else:
        _report(place, host.strip("[]"), int(port), timeout)


def _gather(place: Place, port: int, timeout: float) -> None:
    """Process 0: waits for the others, and tells them how it ended."""
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_listen(port))
        except OSError as error:
            what = os.strerror(error.errno) if error.errno else str(error)
            raise RunError(f"--coordinator {place.coordinator}: {what}; choose another port") from None
        others: dict[int, tuple[socket.socket, str]] = {}
        fault = ""
        while len(others) < place.processes - 1 and not fault:
            left = deadline - time.monotonic()
            if left <= 0:
                fault = _absence(place, set(others), timeout)
                break
            server.settimeout(left)
            with contextlib.suppress(TimeoutError):
                connection = stack.enter_context(server.accept()[0])
                if fault := _admit(place, connection, others):
                    _answer(connection, fault)
        for connection, _ in others.values():
            _answer(connection, fault)
    if fault:
        raise RunError(fault)


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _admit(place: Place, connection: socket.socket, others: dict[int, tuple[socket.socket, str]]) -> str:
    """Notes who it is. Returns what is wrong with it, if anything; whoever is no process of a run is passed over."""
    said = _read(connection, PATIENCE)
    if not isinstance(said, dict) or said.keys() != {"process", "processes", "host"}:
        return ""
    process, host = said["process"], said["host"]
    if said["processes"] != place.processes:
        return f"process {process} on {host} is one of {said['processes']} processes, process 0 of {place.processes}"
    if process in others:
        # It may be the same one again, whose first connection broke.
        if others[process][1] == host:
            others[process][0].close()
        else:
            return f"two processes, on {others[process][1]} and on {host}, say that they are process {process}"
    others[process] = connection, host
    return ""


def _answer(connection: socket.socket, fault: str) -> None:
    """Tells one process how it ended. It closes first, so that the port is free at once."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps({"fault": fault}).encode() + b"\n")
        connection.settimeout(PATIENCE)
        connection.recv(1)


def _absence(place: Place, present: set[int], timeout: float) -> str:
    missing = [str(process) for process in range(1, place.processes) if process not in present]
    some = ", ".join(missing[:NAMED]) + (f" and {len(missing) - NAMED} more" if len(missing) > NAMED else "")
    return (
        f"process{'es' * (len(missing) > 1)} {some} of {place.processes} did not join within {timeout:g} s; "
        f"look at the log there, and whether {place.coordinator} can be reached from there"
    )


def _report(place: Place, host: str, port: int, timeout: float) -> None:
    """Any other process: reaches process 0 and waits for its answer."""
    deadline = time.monotonic() + timeout
    line = {"process": place.process, "processes": place.processes, "host": socket.gethostname()}
    trouble = "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left) as connection:
                connection.sendall(json.dumps(line).encode() + b"\n")
                answer = _read(connection, timeout + PATIENCE)
        except OSError as error:
            trouble, answer = error.strerror or str(error), None
        if isinstance(answer, dict):
            if answer["fault"]:
                raise RunError(answer["fault"])
            return
        time.sleep(PAUSE)
    raise RunError(
        f"process 0 of {place.processes} was not there at {place.coordinator} within {timeout:g} s ({trouble}); "
        "look at its log, and whether the port can be reached from here"
    )


def _read(connection: socket.socket, timeout: float) -> Any:
    """The one line of JSON that the other side sends; None if it sends nothing of that kind."""
    connection.settimeout(timeout)
    try:
        with connection.makefile("rb") as stream:
            return json.loads(stream.readline(4096))
    except (OSError, ValueError):
        return None
