"""Programs of clusters that are not here: they take the same commands, write them down, and do the like."""

import os
import pathlib
import stat
import sys
import textwrap


def install(folder: pathlib.Path, name: str, code: str) -> None:
    """Puts a Python program of that name there; `here` is the folder, `arguments` what it was called with.

    It writes each of its calls into NAME.calls, one a line.
    """
    program = folder / name
    header = f"""\
        #!{sys.executable}
        import os, pathlib, shlex, subprocess, sys, time
        here, arguments = pathlib.Path({str(folder)!r}), sys.argv[1:]
        with (here / "{name}.calls").open("a") as calls:
            calls.write(shlex.join(arguments) + "\\n")
        """
    program.write_text(textwrap.dedent(header) + textwrap.dedent(code))
    program.chmod(program.stat().st_mode | stat.S_IEXEC)


def calls(folder: pathlib.Path, name: str) -> list[str]:
    """The arguments of each call, as lines of shell."""
    path = folder / f"{name}.calls"
    return path.read_text().splitlines() if path.exists() else []


def path_with(folder: pathlib.Path) -> str:
    """A PATH on which these programs come first."""
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
