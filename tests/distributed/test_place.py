"""Where a process finds what it needs to know of the others: arguments, JAX's variables, SLURM, Kubernetes' TPUs."""

import pytest

from mmjax.distributed.place import Place, find
from mmjax.errors import UserError

NOBODY = (None, None, None)
SLURM = {
    "SLURM_JOB_ID": "5",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
JAX = {"JAX_COORDINATOR_ADDRESS": "here:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}


@pytest.fixture
def environment(monkeypatch):
    def install(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return install


@pytest.mark.parametrize(
    ("variables", "given", "place"),
    [
        ({}, NOBODY, None),
        ({}, ("a:7", 2, 0), Place("a:7", 2, 0)),
        (JAX, NOBODY, Place("here:1", 4, 3)),
        (JAX, (None, None, 2), Place("here:1", 4, 2)),
        (SLURM, NOBODY, Place("node07:61445", 2, 1)),
        (SLURM, ("other:7", None, None), Place("other:7", 2, 1)),
        (SLURM | JAX, NOBODY, Place("here:1", 4, 3)),
        # An interactive step, and a batch script, are one task, however many the job may start.
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, NOBODY, None),
        # Two tasks on a node share its devices.
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2"}, NOBODY, Place("node07:61445", 2, 1, (0,))),
    ],
)
def test_the_place_of_a_process(environment, variables, given, place):
    environment(variables)
    assert find(None, given, 1.0) == place


def test_no_distributed_is_alone_whatever_is_set(environment):
    environment(JAX | SLURM)
    assert find(False, NOBODY, 1.0) is None


@pytest.mark.parametrize(
    ("distributed", "variables", "given", "message"),
    [
        (True, {}, NOBODY, "--coordinator, --processes, --process: .*set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES"),
        (None, {}, ("a:7", None, 0), "^--processes: .*set JAX_NUM_PROCESSES$"),
        (None, JAX | {"JAX_NUM_PROCESSES": "two"}, NOBODY, "--processes two, --process 3: two numbers"),
        (None, JAX | {"JAX_PROCESS_ID": "4"}, NOBODY, "--process 4: must lie from 0 to --processes - 1 = 3"),
        (None, {}, ("nowhere", 2, 0), "--coordinator nowhere: write it as HOST:PORT"),
        (False, {}, ("a:7", 2, 0), "--no-distributed runs alone: leave out --coordinator"),
    ],
)
def test_half_a_place_is_refused(environment, distributed, variables, given, message):
    environment(variables)
    with pytest.raises(UserError, match=message):
        find(distributed, given, 1.0)
