"""The commands of gcloud for one TPU, and what runs them."""

import argparse
import contextlib
import dataclasses
import pathlib
import shlex
import signal
import subprocess
from collections.abc import Sequence

from mmjax.errors import RunError, UserError
from mmjax.launch import command

PACKED = ("mmjax", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")  # what a checkout needs to run
ARCHIVE = "mmjax_tree.tar.gz"
PYTHON = "mmjax_env/bin/python"
END = 'kill "$(cat mmjax.pid)"'  # asks the program of a worker to save and stop
Line = list[str]


@dataclasses.dataclass(frozen=True)
class Tpu:
    """One queued resource with one TPU, both of one name.

    Attributes:
      name, zone, project, kind, runtime: what gcloud wants to know.
      spot: whether it may be preempted.
      tree: a checkout to install; None installs `pip`.
      pip: a package to install.
      logs: folder for the log of each worker.
      verb: the mmjax command.
    """

    name: str
    zone: str
    project: str | None
    kind: str
    runtime: str
    spot: bool
    tree: pathlib.Path | None
    pip: str | None
    logs: pathlib.Path
    verb: Sequence[str]

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Tpu":
        """As the arguments of `mmjax launch tpu-vm` describe it."""
        kind, runtime = args.accelerator_type, args.runtime_version
        place = (args.name, args.zone, args.project, kind, runtime)
        return cls(*place, args.spot, args.tree, args.pip, args.logs, tuple(args.command))

    def _gcloud(self, *words: str) -> Line:
        project = [f"--project={self.project}"] if self.project else []
        return ["gcloud", "compute", "tpus", *words, f"--zone={self.zone}", *project]

    def _everywhere(self, line: str, *options: str) -> Line:
        return self._gcloud("tpu-vm", "ssh", self.name, "--worker=all", f"--command={line}", *options)

    def create(self) -> Line:
        """Asks for the TPU."""
        what = [f"--node-id={self.name}", f"--accelerator-type={self.kind}", f"--runtime-version={self.runtime}"]
        return self._gcloud("queued-resources", "create", self.name, *what, *["--spot"] * self.spot)

    def describe(self) -> Line:
        """Prints the state of the resource."""
        return self._gcloud("queued-resources", "describe", self.name, "--format=value(state.state)")

    @property
    def describing(self) -> str:
        """What a user runs to see all of the resource."""
        return shlex.join(self._gcloud("queued-resources", "describe", self.name))

    def install(self) -> list[Line]:
        """Brings mmjax to all workers."""
        pip = f"{PYTHON} -m pip install --quiet"
        fresh = f"mkdir -p mmjax_tree && python3 -m venv mmjax_env && {pip} --upgrade pip"
        if self.tree is None:
            return [self._everywhere(f"{fresh} && {pip} {shlex.quote(self.pip or '')}")]
        archive = str(self.logs / ARCHIVE)
        pack = ["tar", "--create", "--gzip", "--exclude=__pycache__", f"--file={archive}", f"--directory={self.tree}"]
        unpack = f"tar --extract --gzip --file {ARCHIVE} --directory mmjax_tree"
        return [
            [*pack, *PACKED],
            self._gcloud("tpu-vm", "scp", archive, f"{self.name}:{ARCHIVE}", "--worker=all"),
            self._everywhere(f"{fresh} && {unpack} && {pip} --editable './mmjax_tree[tpu,cloud]'"),
        ]

    def execute(self) -> Line:
        """Runs the verb on all workers at once, each into its log here; what an earlier start left is ended first."""
        verb = shlex.join([*command.PROGRAM[1:], *self.verb, command.TOGETHER])
        first = f"while {END} 2> /dev/null; do sleep 2; done; echo $$ > mmjax.pid"
        line = f"{first}; cd mmjax_tree && exec ../{PYTHON} {verb} 2>&1"
        return self._everywhere(line, f"--output-directory={self.logs}")

    def stop(self) -> Line:
        """Asks all workers to save and stop."""
        return self._everywhere(END)

    def delete(self) -> Line:
        """Ends the TPU and the request for it."""
        return self._gcloud("queued-resources", "delete", self.name, "--force", "--quiet")

    def listing(self, *, keep: bool) -> str:
        """All of it in its order, as shell with remarks."""
        install = [shlex.join(line) for line in self.install()]
        end = f"# --keep: {shlex.join(self.delete())}" if keep else shlex.join(self.delete())
        return "\n".join(
            [
                shlex.join(self.create()),
                "# again and again, until it says ACTIVE:",
                shlex.join(self.describe()),
                *install,
                shlex.join(self.execute()),
                "# at a signal, so that the run saves:",
                f"# {shlex.join(self.stop())}",
                "# if it fails, up to --restarts times: the run again; if the TPU is gone, this, and all from the top:",
                f"# {shlex.join(self.delete())}",
                "# at the end, whatever it was:",
                end,
            ]
        )


class Gcloud:
    """Runs the commands of one TPU."""

    def __init__(self, tpu: Tpu):
        self.tpu = tpu
        self._running: subprocess.Popen | None = None

    def run(self, line: Line, *, must: bool = True) -> int:
        """Runs one to its end. Returns its exit code.

        Raises:
          RunError: it failed, and `must` says that it must not.
        """
        # In a session of its own: Ctrl-C reaches the launcher alone, which asks the workers to save.
        with _found(line[0]), subprocess.Popen(line, stdin=subprocess.DEVNULL, start_new_session=True) as self._running:
            code = self._running.wait()
        self._running = None
        if code and must:
            raise RunError(f"{shlex.join(line)} failed (exit code {code}); its reason stands above")
        return code

    def state(self) -> str:
        """The state of the resource; "" where there is none."""
        with _found("gcloud"):
            done = subprocess.run(self.tpu.describe(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    def stop(self) -> None:
        """Asks the workers to save; what else is under way comes to its end."""
        if self._running is not None and self._running.args == self.tpu.execute():
            with _found("gcloud"):
                subprocess.Popen(self.tpu.stop(), stdin=subprocess.DEVNULL, start_new_session=True)

    def kill(self) -> None:
        """Waits no longer for what runs; the TPU is deleted all the same."""
        if self._running is not None:
            self._running.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def _found(program: str):
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{program}: no such command here; install it, or take --dry-run") from None
