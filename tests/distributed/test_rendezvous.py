"""Processes wait for each other, and who does not come is named by those that did."""

import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from mmjax.distributed.place import Place
from mmjax.distributed.rendezvous import meet
from mmjax.errors import RunError
from tests.distributed.ports import free_port

ROOT = pathlib.Path(__file__).parents[2]


def outcomes(places, timeout, before=lambda: None):
    """What `meet` said to each process: nothing, or its error."""
    said = dict.fromkeys(range(len(places)), "nothing yet")

    def one(number):
        try:
            meet(places[number], timeout)
            said[number] = ""
        except RunError as error:
            said[number] = str(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in said]
    for thread in threads:
        thread.start()
    before()
    for thread in threads:
        thread.join()
    return [said[number] for number in said]


def places(processes, *present):
    coordinator = f"localhost:{free_port()}"
    return [Place(coordinator, processes, process) for process in present]


def test_all_are_there():
    assert outcomes(places(4, 2, 3, 0, 1), 20.0) == [""] * 4


def test_the_port_is_free_afterwards():
    both = places(2, 0, 1)
    assert outcomes(both, 20.0) == outcomes(both, 20.0) == ["", ""]


def test_the_missing_are_named_to_all_who_came():
    said = outcomes(places(5, 0, 3), 0.7)
    assert said[0] == said[1] and said[0].startswith(
        "processes 1, 2, 4 of 5 did not join within 0.7 s; look at the log"
    )


def test_many_missing_are_counted():
    assert outcomes(places(20, 0), 0.2)[0].startswith("processes 1, 2, 3, 4, 5, 6, 7, 8 and 11 more of 20 did not")


def test_a_missing_coordinator_is_named():
    (said,) = outcomes(places(2, 1), 0.3)
    assert said.startswith("process 0 of 2 was not there at localhost:") and "Connection refused" in said


def test_another_count_is_named():
    two, three = places(2, 0), places(3, 1)
    said = outcomes([two[0], Place(two[0].coordinator, 3, 1)], 20.0)
    assert three and said == [f"process 1 on {socket.gethostname()} is one of 3 processes, process 0 of 2"] * 2


def test_strangers_are_passed_over():
    both = places(2, 0, 1)
    port = int(both[0].coordinator.rpartition(":")[2])

    def knock():
        for line in (b"GET / HTTP/1.1\r\n\r\n", b'{"process": 1}\n', b""):
            for _ in range(50):
                try:
                    with socket.create_connection(("localhost", port)) as stranger:
                        stranger.sendall(line)
                    break
                except OSError:
                    time.sleep(0.01)

    assert outcomes(both, 20.0, knock) == ["", ""]


def test_a_port_that_is_taken():
    taken = socket.create_server(("", free_port()))
    with taken, pytest.raises(RunError, match="Address already in use; choose another port"):
        meet(Place(f"localhost:{taken.getsockname()[1]}", 2, 0), 1.0)


def test_a_process_that_never_starts(tmp_path):
    """The whole command: within the time limit, in one line, exit code 1."""
    options = ["--config", "tests/training/toy.py", "--workdir", str(tmp_path / "run"), "--join-timeout", "2"]
    options += ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process", "0"]
    command = [sys.executable, "-m", "mmjax.cli", "train", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("mmjax train: process 1 of 2 did not join within 2 s; look at the log there")
    assert not (tmp_path / "run").exists()
