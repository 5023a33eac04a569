"""All processes of a run must mean the same run. Where one does not, all say which, and what it has otherwise."""

import hashlib
import importlib.metadata
import json
import pathlib
import socket
from collections.abc import Mapping
from typing import Any

import jax

from mmjax.distributed.hosts import everyones, meet
from mmjax.errors import UserError

LIBRARIES = ("mmjax", "jax", "jaxlib", "flax", "optax", "numpy")
NAMED = 3  # differences that are told
ABSENT = "(not there)"


def agree(what: str, facts: Mapping[str, Any]) -> None:
    """Compares what the processes hold true. All of them call it together; of one process it asks nothing.

    Args:
      what: what kind of facts these are, for the message.
      facts: {name: value}; values are compared as JSON.

    Raises:
      UserError: on all processes, if one differs from the first: which, and in what.
    """
    if jax.process_count() == 1:
        return
    meet(what)
    text = json.dumps(facts, sort_keys=True, default=str)
    told = everyones([socket.gethostname(), digest(text.encode())])
    odd = next((i for i, (_, value) in enumerate(told) if value != told[0][1]), None)
    if odd is None:
        return
    every = everyones(json.loads(text))
    found = differences(every[0], every[odd])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    raise UserError(
        f"{what}: process {odd} on {told[odd][0]} differs from process 0 on {told[0][0]}: "
        f"{'; '.join(found[:NAMED])}{more}"
    )


def differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The facts in which the other differs, as text."""
    return [
        f"{name} is {other.get(name, ABSENT)}, not {first.get(name, ABSENT)}"
        for name in sorted(first.keys() | other.keys())
        if first.get(name, ABSENT) != other.get(name, ABSENT)
    ]


def code() -> dict[str, str]:
    """What computes: versions of mmjax and its libraries, and a digest of every file of mmjax, changed ones too."""
    root = pathlib.Path(__file__).parents[1]
    files = {f"mmjax/{path.relative_to(root).as_posix()}": digest(path.read_bytes()) for path in root.rglob("*.py")}
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return libraries | files


def digest(data: bytes) -> str:
    """Eight bytes of a hash, as text."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()
