"""The script of `mmjax launch slurm` is run for real, by stand-ins of sbatch, srun and scontrol."""

import re
import subprocess
import textwrap

import pytest

from mmjax import cli
from tests.launch.standins import calls, install, path_with
from tests.training import test_resume as runs

# Queues the job again as often as scontrol asks for it, as SLURM does after `requeue`.
SBATCH = """
    script = sys.stdin.read()
    (here / "script").write_text(script)
    queued = here / "queued"
    queued.touch()
    while queued.exists():
        queued.unlink()
        done = subprocess.run(["bash", here / "script"], env=os.environ | {"SLURM_JOB_ID": "7"})
    print("Submitted batch job 7")
    (here / "code").write_text(str(done.returncode))
"""
SCONTROL = """
    assert arguments == ["requeue", "7"], arguments
    (here / "queued").touch()
"""
# One task a node. It ends with the highest exit code, as srun does.
SRUN = """
    import re
    nodes = int(re.search(r"--nodes=(\\d+)", (here / "script").read_text())[1])
    options = {a.partition("=")[0]: a.partition("=")[2] for a in arguments if a.startswith("--")}
    command = arguments[next(i for i, a in enumerate(arguments) if not a.startswith("-")):]
    step = {"SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": str(nodes), "SLURM_STEP_NUM_TASKS": str(nodes)}
    step |= {"SLURM_STEP_TASKS_PER_NODE": f"1(x{nodes})", "SLURM_LOCALID": "0"}
    tasks = []
    for task in range(nodes):
        log = open(options["--output"].replace("%t", str(task)), "a")
        step["SLURM_PROCID"] = str(task)
        tasks.append(subprocess.Popen(command, env=os.environ | step, stdout=log, stderr=log))
"""
WAIT = """
    codes = [task.wait() for task in tasks]
    sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Installs the stand-ins; srun does `meanwhile` while its tasks run. Returns their folder."""

    def make(meanwhile=""):
        folder = tmp_path / "bin"
        folder.mkdir()
        install(folder, "sbatch", SBATCH)
        install(folder, "scontrol", SCONTROL)
        install(folder, "srun", textwrap.dedent(SRUN) + textwrap.dedent(meanwhile) + textwrap.dedent(WAIT))
        monkeypatch.setenv("PATH", path_with(folder))
        return folder

    return make


def submit(tmp_path, program, *options):
    """Launches a program of one line in place of python on two nodes. Returns the exit code of the launcher."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/bash\n{program}\n")
    python.chmod(0o755)
    nodes = ["--nodes", "2", "--python", str(python), *options]
    return cli.main(["launch", "slurm", *nodes, "--", "train", "--workdir", str(tmp_path / "run 1")])


def test_every_node_has_its_process_and_log(tmp_path, cluster):
    folder = cluster()
    assert submit(tmp_path, 'echo "$SLURM_PROCID" "$@"') == 0
    for task in range(2):
        log = tmp_path / "run 1" / "logs" / f"process_{task}.log"
        assert log.read_text() == f"{task} -m mmjax.cli train --workdir {tmp_path}/run 1 --distributed\n"
    assert (folder / "code").read_text() == "0" and not calls(folder, "scontrol")


ONCE = '[ -e "{mark}" ] && exit 0; sleep 0.3; touch "{mark}"; exit {code}'


@pytest.mark.parametrize(("code", "requeued", "steps"), [(75, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_what_becomes_of_an_exit_code(tmp_path, cluster, code, requeued, steps):
    """75 is queued again, a failure tried again at once, wrong use neither."""
    folder = cluster()
    assert submit(tmp_path, ONCE.format(mark=tmp_path / "mark", code=code), "--restarts", "1") == 0
    assert len(calls(folder, "scontrol")) == requeued and len(calls(folder, "srun")) == steps
    assert (folder / "code").read_text() == ("2" if code == 2 else "0")


def test_it_gives_up_after_the_restarts(tmp_path, cluster):
    folder = cluster()
    assert submit(tmp_path, "exit 3", "--restarts", "2") == 0
    assert len(calls(folder, "srun")) == 3 and (folder / "code").read_text() == "3"


def test_preempted_before_a_process_can_save(tmp_path, cluster):
    """Python that still starts up dies of SIGTERM; the script has got it too, and knows what it means."""
    told = "if not (here / 'told').exists(): (here / 'told').touch(); os.kill(os.getppid(), 15); tasks[0].terminate()"
    folder = cluster(told)
    mark = tmp_path / "mark"
    assert submit(tmp_path, f'[ -e "{mark}" ] && exit 0; sleep 0.5; touch "{mark}"; exit 143') == 0
    assert len(calls(folder, "scontrol")) == 1 and (folder / "code").read_text() == "0"


@pytest.mark.slow
def test_two_nodes_that_are_preempted_once(tmp_path, cluster, monkeypatch):
    """A real training finds its other process by SLURM's variables, saves when told to, and is queued again."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
    lines = "(run / 'metrics.jsonl').exists() and len((run / 'metrics.jsonl').read_text().splitlines()) > 3"
    folder = cluster(f"""
    run = pathlib.Path({str(tmp_path / "run")!r})
    if not (here / "told").exists():
        while not ({lines}):
            assert tasks[0].poll() is None
            time.sleep(0.02)
        (here / "told").touch()
        for task in tasks:
            task.terminate()
    """)
    options = ["--config", f"{runs.CONFIG}:task", "--workdir", str(tmp_path / "run"), "--config.steps=400"]
    options += ["--config.checkpoint.every=1000"]
    assert cli.main(["launch", "slurm", "--nodes", "2", "--", "train", *options]) == 0
    log = (tmp_path / "run" / "logs" / "process_0.log").read_text()
    assert len(calls(folder, "scontrol")) == 1 and "stopped at step" in log, log
    assert re.search(r"process +host +devices\n0 .*\n1 ", log)


def test_the_script(capsys):
    options = ["--nodes", "4", "--gpus-per-node", "8", "--time", "1:00:00", "--partition", "a", "--cpus-per-task", "3"]
    options += ["--sbatch=--mail-type=FAIL", "--setup", "module load cuda", "--account", "me", "--logs", "/a b"]
    assert cli.main(["launch", "slurm", *options, "--dry-run", "--", "train", "--workdir", "gs://bucket/run"]) == 0
    script = capsys.readouterr().out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    lines = script.splitlines()
    for line in ("nodes=4", "ntasks-per-node=1", "gpus-per-node=8", "time=1:00:00", "partition=a", "account=me"):
        assert f"#SBATCH --{line}" in lines
    for line in ("requeue", "signal=TERM@120", "open-mode=append", "mail-type=FAIL"):
        assert f"#SBATCH --{line}" in lines
    assert "#SBATCH '--output=/a b/job_%j.log'" in lines
    assert lines.index("export SRUN_CPUS_PER_TASK=3") + 1 == lines.index("module load cuda")


def test_no_cluster_here(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["launch", "slurm", "--nodes", "2", "--", "train", "--workdir", str(tmp_path)]) == 2
    assert "sbatch: no such command here" in capsys.readouterr().err
    assert cli.main(["launch", "slurm", "--nodes", "2", "--sbatch", "x", "--", "train", "--workdir", "x"]) == 2
    assert "write it as an option of sbatch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nodes", "0"], "--nodes must be at least 1, got 0"),
        (["--nodes", "1", "--cpus-per-task", "0"], "--cpus-per-task must be at least 1, got 0"),
        (["--nodes", "1", "--restarts", "-1"], "--restarts must be at least 0, got -1"),
        (["--nodes", "1", "--time", "banana"], "--time banana: write minutes, HH:MM:SS or D-HH:MM:SS"),
    ],
)
def test_mistakes_are_one_line(options, message, capsys):
    assert cli.main(["launch", "slurm", *options, "--dry-run", "--", "train", "--workdir", "run"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("time", ["30", "90:00", "24:00:00", "1-12", "1-12:30", "7-00:00:00", "UNLIMITED"])
def test_every_time_that_slurm_reads(time, capsys):
    options = ["--nodes", "1", "--time", time, "--dry-run"]
    assert cli.main(["launch", "slurm", *options, "--", "train", "--workdir", "run"]) == 0
    assert f"#SBATCH --time={time}" in capsys.readouterr().out
