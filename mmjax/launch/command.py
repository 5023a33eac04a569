"""The command that is launched: what stands behind the `--`."""

import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence

from mmjax.errors import UserError, nearest

PROGRAM = (sys.executable, "-m", "mmjax.cli")
TOGETHER = "--distributed"  # where the cluster says nothing of the others, each would train alone
VERBS = ("train", "evaluate", "embed")  # those whose processes join each other
FOLDERS = ("--workdir", "--out")


def check(command: Sequence[str]) -> None:
    """Refuses what cannot run on several processes.

    Raises:
      UserError: another verb.
    """
    verb = command[0]
    if verb not in VERBS:
        raise UserError(f"-- {verb}: launches {', '.join(VERBS)}{nearest(verb, VERBS)}")


def folder(command: Sequence[str]) -> str | None:
    """Where the command writes, as it says itself."""
    for here, after in zip(command, [*command[1:], ""], strict=True):
        name, equals, value = here.partition("=")
        if name in FOLDERS:
            return value if equals else after
    return None


def logs(command: Sequence[str], given: str | None) -> pathlib.Path:
    """Where logs go: as told, or else beside what the command writes.

    Raises:
      UserError: it writes nowhere on this machine.
    """
    if given is not None:
        return pathlib.Path(given)
    place = folder(command)
    if place is None or "://" in place:
        raise UserError("--logs DIR is needed: the command names no folder of this machine")
    return pathlib.Path(place) / "logs"


def shell(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """A command with its variables as one line of shell."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()]
    return " ".join([*variables, shlex.join(command)])
