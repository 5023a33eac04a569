"""Two processes embed one folder: the rows of one, the corrupt items of both listed, one mistake told by both."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from mmjax.cli import main
from mmjax.inference.shards import read_features, read_rows
from tests.distributed.ports import free_port

ROOT = pathlib.Path(__file__).parents[2]
OPTIONS = ["--data", "tests.data.toys:Toy", "--data-option", "bad=(1, 3, 4)", "--max-skip-rate", "0.5"]


def two_hosts(*arguments):
    """Both exit codes and what both printed on stderr."""
    address = f"127.0.0.1:{free_port()}"
    fixed = {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_NUM_PROCESSES": "2"}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-m", "mmjax.cli", "embed", "--distributed", *arguments],
            env=os.environ | fixed | {"JAX_COORDINATOR_ADDRESS": address, "JAX_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        for i in range(2)
    ]
    outputs = [host.communicate(timeout=150) for host in hosts]
    return [host.returncode for host in hosts], [err.decode() for _, err in outputs]


@pytest.mark.timeout(400)
def test_two_hosts_write_what_one_writes(clip, tmp_path):
    options = ["--model", clip, *OPTIONS, "--batch-size", "8", "--shard-rows", "8"]
    codes, errors = two_hosts(*options, "--out", str(tmp_path / "two"))
    assert codes == [0, 0], errors
    assert main(["embed", *options, "--out", str(tmp_path / "one")]) == 0
    names = [sorted(f.relative_to(tmp_path / x) for f in (tmp_path / x).rglob("*.*")) for x in ("one", "two")]
    assert names[0] == names[1]
    for name in (str(name) for name in names[0] if name.suffix == ".parquet"):
        one, two = tmp_path / "one" / name, tmp_path / "two" / name
        np.testing.assert_allclose(read_features(one), read_features(two), atol=1e-5)
        assert list(read_rows(one).id) == list(read_rows(two).id)
    for name in ("skipped.jsonl", "manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "two/skipped.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines if line["stream"] == "image"] == [1, 3, 4]
    codes, errors = two_hosts(*options, "--out", str(tmp_path / "two"), "--dtype", "float16")
    assert codes == [2, 2] and all("holds embeddings with --dtype float32" in error for error in errors)
    (tmp_path / "file").touch()
    codes, errors = two_hosts(*options, "--out", str(tmp_path / "file" / "below"))
    assert codes == [2, 2] and all("file/below: Not a directory" in error for error in errors)
