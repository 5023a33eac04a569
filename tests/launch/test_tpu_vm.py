"""`mmjax launch tpu-vm` against a stand-in of gcloud that writes down what it is asked and plays a part."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from mmjax import cli
from mmjax.launch import tpu_vm
from tests.launch.standins import calls, install, path_with

# `states` and `codes` hold what the next describes say and the next runs end with; the last of each stays.
GCLOUD = """
    def following(name):
        words = (here / name).read_text().split()
        if len(words) > 1:
            (here / name).write_text(" ".join(words[1:]))
        return words[0]

    if "describe" in arguments:
        print(following("states"))
    elif any("mmjax.cli" in argument for argument in arguments):
        if (here / "hang").exists():
            (here / "running").touch()
            while not (here / "told").exists():
                time.sleep(0.01)
        sys.exit(int(following("codes")))
    elif any(argument.startswith("--command=kill") for argument in arguments):
        (here / "told").touch()
    elif any(word in arguments for word in (here / "refused").read_text().split()):
        sys.exit("gcloud: no")
"""
OPTIONS = ["--name", "t", "--zone", "z", "--accelerator-type", "v5litepod-16", "--runtime-version", "v2", "--spot"]


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """A gcloud whose describes and runs go as told. Returns its folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", path_with(folder))
    monkeypatch.setattr(tpu_vm, "POLL", 0.01)

    def make(states, codes, refused=""):
        install(folder, "gcloud", GCLOUD)
        for name, text in (("states", states), ("codes", codes), ("refused", refused)):
            (folder / name).write_text(text)
        return folder

    return make


def launch(tmp_path, *options):
    source = ["--pip", "mmjax[tpu,cloud]"] if "--tree" not in options else []
    place = [*OPTIONS, *source, "--logs", str(tmp_path / "logs"), *options]
    return cli.main(["launch", "tpu-vm", *place, "--", "train", "--workdir", "gs://bucket/run"])


def story(folder):
    """What gcloud was asked for, a word a call; describes of one wait count once."""
    words = []
    for call in calls(folder, "gcloud"):
        arguments = shlex.split(call)
        assert arguments[:2] == ["compute", "tpus"] and "--zone=z" in arguments
        commands = [argument for argument in arguments if argument.startswith("--command=")]
        if commands:
            assert "--worker=all" in arguments
            word = "stop" if "=kill" in commands[0] else "run" if "mmjax.cli" in commands[0] else "install"
        else:
            word = arguments[3]
        words += [word] if word != "describe" or words[-1:] != ["describe"] else []
    return " ".join(words)


def test_the_whole_way(tmp_path, cloud):
    folder = cloud("WAITING_FOR_RESOURCES PROVISIONING ACTIVE", "0")
    assert launch(tmp_path) == 0
    assert story(folder) == "create describe install run delete"
    create, run = (shlex.split(calls(folder, "gcloud")[i]) for i in (0, -2))
    assert create[2:] == [
        *("queued-resources", "create", "t", "--node-id=t", "--accelerator-type=v5litepod-16"),
        *("--runtime-version=v2", "--spot", "--zone=z"),
    ]
    assert f"--output-directory={tmp_path}/logs" in run and "--command=while kill" in " ".join(run)
    assert "-m mmjax.cli train --workdir gs://bucket/run --distributed" in " ".join(run)


def test_a_checkout_is_sent_as_it_stands(tmp_path, cloud):
    tree = tmp_path / "tree"
    for folder in ("mmjax", "configs"):
        (tree / folder).mkdir(parents=True)
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "mmjax/changed.py"):
        (tree / file).touch()
    folder = cloud("ACTIVE", "0")
    assert launch(tmp_path, "--tree", str(tree), "--project", "p") == 0
    assert story(folder) == "create describe scp install run delete"
    archive = tmp_path / "logs" / "mmjax_tree.tar.gz"
    packed = subprocess.run(["tar", "--list", "--file", archive], capture_output=True, text=True, check=True).stdout
    assert "mmjax/changed.py" in packed.split()
    assert all("--project=p" in call for call in calls(folder, "gcloud"))


def test_preempted_in_the_middle(tmp_path, cloud, capsys):
    """The run breaks off, the resource is suspended: deleted, made anew, installed anew, run again."""
    folder = cloud("ACTIVE SUSPENDED WAITING_FOR_RESOURCES ACTIVE", "255 0")
    assert launch(tmp_path, "--restarts", "1") == 0
    again = "create describe install run"
    assert story(folder) == f"{again} describe delete {again} delete"
    assert "the TPU is gone (SUSPENDED); starting again from the last checkpoint, 1 of 1" in capsys.readouterr().err


def test_a_failure_on_a_living_tpu_is_run_again_there(tmp_path, cloud):
    folder = cloud("ACTIVE", "1 75 0")
    assert launch(tmp_path, "--restarts", "2") == 0
    assert story(folder) == "create describe install run describe run describe run delete"


def test_it_gives_up_after_the_restarts_and_deletes(tmp_path, cloud, capsys):
    folder = cloud("ACTIVE", "1")
    assert launch(tmp_path, "--restarts", "1") == 1
    assert story(folder) == "create describe install run describe run describe delete"
    assert "the run ended with exit code 1; logs in" in capsys.readouterr().err


def test_wrong_use_is_not_run_again(tmp_path, cloud):
    folder = cloud("ACTIVE", "2")
    assert launch(tmp_path, "--restarts", "5") == 2
    assert story(folder) == "create describe install run delete"


@pytest.mark.parametrize(("refused", "told"), [("create", "create delete"), ("ssh", "create describe install delete")])
def test_what_gcloud_refuses_ends_it_and_leaves_nothing(tmp_path, cloud, capsys, refused, told):
    folder = cloud("ACTIVE", "0", refused)
    assert launch(tmp_path) == 1
    assert story(folder) == told and "failed (exit code 1); its reason stands above" in capsys.readouterr().err


def test_a_request_that_cannot_be_met(tmp_path, cloud, capsys):
    folder = cloud("WAITING_FOR_RESOURCES FAILED", "0")
    assert launch(tmp_path, "--restarts", "3") == 1
    assert story(folder) == "create describe delete" and "t: the request ended as FAILED" in capsys.readouterr().err


def test_keep_leaves_it_and_says_so(tmp_path, cloud, capsys):
    folder = cloud("ACTIVE", "0")
    assert launch(tmp_path, "--keep") == 0
    assert story(folder) == "create describe install run"
    assert "queued-resources delete t --force --quiet --zone=z ends it" in capsys.readouterr().err


def test_a_signal_has_the_workers_save_and_the_tpu_deleted(tmp_path, cloud):
    folder = cloud("ACTIVE", "75")
    (folder / "hang").touch()
    options = [*OPTIONS, "--pip", "mmjax", "--logs", str(tmp_path / "logs"), "--restarts", "3"]
    command = [sys.executable, "-m", "mmjax.cli", "launch", "tpu-vm", *options, "--", "train", "--workdir", "gs://b/r"]
    launcher = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    while not (folder / "running").exists():
        assert launcher.poll() is None
        time.sleep(0.02)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(30) == 75
    assert story(folder) == "create describe install run stop delete"


def test_a_dry_run_prints_the_commands_and_runs_none(tmp_path, cloud, capsys):
    folder = cloud("ACTIVE", "0")
    assert launch(tmp_path, "--dry-run") == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert not calls(folder, "gcloud") and not (tmp_path / "logs").exists()
    assert launch(tmp_path) == 0
    assert [line.removeprefix("gcloud ") for line in printed] == calls(folder, "gcloud")


def test_wrong_use_is_one_line(tmp_path, capsys, monkeypatch):
    assert launch(tmp_path, "--tree", str(tmp_path)) == 2
    assert "no checkout of mmjax: there is no pyproject.toml" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launch(tmp_path) == 2
    assert "gcloud: no such command here; install it, or take --dry-run" in capsys.readouterr().err
