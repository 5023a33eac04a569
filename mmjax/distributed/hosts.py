"""What one host knows, told to the others, as JSON."""

import json
import socket
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mmjax.errors import UserError

MEETING = 1800  # seconds that a host waits for the others


def everyones(value: Any) -> list[Any]:
    """The value that each host gave, by host. All hosts call it together; values must survive JSON."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    own = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = np.asarray(multihost_utils.process_allgather(np.array([len(own)], np.int32))).ravel()
    padded = np.pad(own, (0, int(lengths.max()) - len(own)))  # gathered arrays are of one shape
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(lengths), -1)
    return [json.loads(row[:length].tobytes()) for row, length in zip(rows, lengths.tolist(), strict=True)]


def meet(name: str) -> None:
    """Waits for the other hosts without computing: a collective gives up on a host that comes late (gloo: 30 s)."""
    from orbax.checkpoint import multihost

    multihost.sync_global_processes(name, processes=set(range(jax.process_count())), timeout=MEETING)


def on_first(make: Callable[[], Any]) -> Any:
    """What `make` returns on the first host, which alone runs it, on every host.

    Raises:
      UserError: on every host, if it or an OSError was raised on the first; or else the others would wait for ever.
    """
    result, error = None, None
    if jax.process_index() == 0:
        try:
            result = make()
        except UserError as mistake:
            error = str(mistake)
        except OSError as trouble:
            error = f"{trouble.filename}: {trouble.strerror}" if trouble.filename else str(trouble)
    result, error = everyones([result, error])[0]
    if error is not None:
        raise UserError(error)
    return result


def table() -> str:
    """Which process runs where, and with which devices. All hosts call it together."""
    own = jax.local_devices()
    rows = [["process", "host", "devices"]]
    for process, (host, count, kind) in enumerate(everyones([socket.gethostname(), len(own), own[0].device_kind])):
        rows.append([str(process), host, f"{count} x {kind}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows)
