"""Where a process stands among those of its run: as the arguments say, or the environment, or the cluster."""

import dataclasses
import glob
import os
import re

from mmjax.errors import UserError

# argument: the variable that JAX reads
COORDINATES = {
    "--coordinator": "JAX_COORDINATOR_ADDRESS",
    "--processes": "JAX_NUM_PROCESSES",
    "--process": "JAX_PROCESS_ID",
}
TPUS = ("/dev/accel*", "/dev/vfio/[0-9]*")
Given = tuple[str | None, int | None, int | None]  # coordinator, processes, process


@dataclasses.dataclass(frozen=True)
class Place:
    """One process of a run.

    Attributes:
      coordinator: HOST:PORT of process 0.
      processes: how many there are.
      process: which this is.
      devices: the local devices it takes; None for all.
    """

    coordinator: str
    processes: int
    process: int
    devices: tuple[int, ...] | None = None


def find(distributed: bool | None, given: Given, timeout: float) -> Place | None:
    """The place of this process; None where it is alone.

    Args:
      distributed: False: alone; True: not alone; None: as the environment says.
      given: what the arguments say; JAX's variables fill the gaps, then the cluster.
      timeout: seconds to wait for the coordinator's name, where a cluster has to make it known.

    Raises:
      UserError: something is missing or impossible.
    """
    if distributed is False:
        if any(value is not None for value in given):
            raise UserError(f"--no-distributed runs alone: leave out {', '.join(COORDINATES)}")
        return None
    told: list = [
        value if value is not None else os.environ.get(name)
        for value, name in zip(given, COORDINATES.values(), strict=True)
    ]
    devices = None
    if None in told and (distributed or any(told) or in_cluster()):
        *found, devices = _cluster(timeout)
        told = [value if value is not None else other for value, other in zip(told, found, strict=True)]
    if told == [None] * 3 and not distributed:
        return None
    return _checked(told, devices)


def in_cluster() -> bool:
    """Whether this is one task of several in a SLURM step, or beside a TPU, which may be one of a pod."""
    if int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        return True
    return os.environ.get("JAX_PLATFORMS") != "cpu" and any(map(glob.glob, TPUS))


def _cluster(timeout: float) -> tuple[str | None, int | None, int | None, tuple[int, ...] | None]:
    """What JAX finds of SLURM, TPU pods, GKE, Kubernetes and Open MPI: coordinator, processes, process, devices."""
    # Private, for the public function connects at once, and ends the process where it cannot.
    from jax._src.clusters import ClusterEnv

    detect = ClusterEnv.auto_detect_unset_distributed_params
    coordinator, processes, process, devices = detect(None, None, None, None, None, int(timeout))
    # JAX gives a SLURM task the one device of its number; a task that has the node to itself takes all.
    alone = re.fullmatch(r"1(\(x\d+\))?", os.environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    return coordinator, processes, process, None if devices is None or alone else tuple(devices)


def _checked(told: list, devices: tuple[int, ...] | None) -> Place:
    missing = [name for name, value in zip(COORDINATES, told, strict=True) if value is None]
    if missing:
        variables = ", ".join(COORDINATES[name] for name in missing)
        raise UserError(f"{', '.join(missing)}: nothing says this of the other processes; give it, or set {variables}")
    coordinator = str(told[0])
    try:
        processes, process = int(told[1]), int(told[2])
    except ValueError:
        raise UserError(f"--processes {told[1]}, --process {told[2]}: two numbers are needed") from None
    if not 0 <= process < processes:
        raise UserError(f"--process {process}: must lie from 0 to --processes - 1 = {processes - 1}")
    if not re.fullmatch(r".+:\d+", coordinator):
        raise UserError(f"--coordinator {coordinator}: write it as HOST:PORT")
    return Place(coordinator, processes, process, devices)
