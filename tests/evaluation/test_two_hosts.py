"""Two processes with two devices each give the numbers of one process, and account for each other's corrupt items."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from mmjax.evaluation.foils import Foils
from mmjax.evaluation.retrieval import Retrieval
from mmjax.evaluation.runner import evaluate
from tests.evaluation.fakes import FakeSet, Lookup, unit

PROGRAM = """
import json, sys
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{sys.argv[1]}", 2, int(sys.argv[2]))
from mmjax.mesh import MeshShape, make_mesh
from tests.evaluation.test_two_hosts import scores
print(json.dumps(scores(make_mesh(MeshShape()))))
"""


def scores(mesh):
    """Retrieval and foils on 37 items, two of them corrupt: one found by either host."""
    rng = np.random.default_rng(0)
    images = unit(rng.normal(size=(37, 8)))
    owner = np.repeat(np.arange(37), 3)
    captions = unit(images[owner] + 0.4 * rng.normal(size=(111, 8)))
    foils = unit(images + 0.5 * rng.normal(size=(37, 8)))
    texts = {f"true {i}": captions[3 * i] for i in range(37)} | {f"false {i}": foils[i] for i in range(37)}
    truths = [{"captions": (f"true {i}",), "foils": {"any": f"false {i}"}} for i in range(37)]
    features, owners = {"image": images, "caption": captions}, {"image": np.arange(37), "caption": owner}
    data = FakeSet(features, owners, truths, corrupt=[4, 9], texts=texts)
    task, params = Lookup(), np.ones((), np.float32)
    return evaluate(task, params, data, {"retrieval": Retrieval(), "foils": Foils()}, mesh)


@pytest.mark.timeout(180)
def test_two_hosts_give_the_numbers_of_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, port, str(i)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for i in range(2)
    ]
    outputs = [host.communicate(timeout=150) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], outputs[0][1].decode()[-2000:]
    found = [json.loads(out.decode().strip().splitlines()[-1]) for out, _ in outputs]
    assert found[0] == found[1] == pytest.approx(scores(None))
    assert found[0]["retrieval/image_to_text/queries"] == 35
    assert found[0]["skipped"] == 2, "one host found either"
