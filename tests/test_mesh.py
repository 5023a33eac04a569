"""The mesh follows the network, and a batch's rows follow the mesh: whatever host a place belongs to, none is lost."""

import json
import os
import subprocess
import sys

import numpy as np

from tests.distributed.ports import free_port

SCRIPT = """
import sys
import jax, numpy as np
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from jax.sharding import AxisType, Mesh
from mmjax.batch import Batch
from mmjax.mesh import AXES, check_batch, put_batch
devices = np.array(jax.devices())[[2, 0, 1, 3]].reshape(SHAPE)
mesh = Mesh(devices, AXES, axis_types=(AxisType.Auto,) * 3)
check_batch(8, mesh)
index = np.arange(4, dtype=np.int32) + 4 * int(sys.argv[2])
batch = put_batch(Batch({}, np.ones(4, bool), index, index * 10), mesh)
whole = jax.jit(lambda b: (b.index, b.group), out_shardings=jax.NamedSharding(mesh, jax.P()))(batch)
print(*(np.asarray(x).tolist() for x in whole), sep=";")
"""


def run(shape):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    address, script = f"127.0.0.1:{free_port()}", SCRIPT.replace("SHAPE", str(shape))
    start = lambda i: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", script, address, str(i)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    both = [start(i) for i in range(2)]
    return [(*process.communicate(timeout=120), process.returncode) for process in both]


def test_rows_of_interleaved_hosts_all_arrive():
    for out, error, code in run((4, 1, 1)):
        assert code == 0, error
        index, group = (np.array(json.loads(part)) for part in out.splitlines()[-1].split(";"))
        assert sorted(index) == list(range(8))
        np.testing.assert_array_equal(group, index * 10)  # each row stayed whole
        np.testing.assert_array_equal(index, [4, 5, 0, 1, 2, 3, 6, 7])  # by the places of a host's devices


def test_a_tensor_axis_across_hosts_is_refused():
    assert all("tensor=2 spans hosts" in error and code == 1 for _, error, code in run((2, 1, 2)))
