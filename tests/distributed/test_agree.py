"""Hosts that are about to train different things say so, and what differs: by real processes."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from mmjax.data.fingerprint import fingerprint
from tests.distributed.ports import free_port
from tests.my_lab.sources import Shades

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import argparse, json, os, pathlib
from mmjax import distributed
from mmjax.errors import UserError
from mmjax.start import start_jax
parser = argparse.ArgumentParser()
distributed.add_arguments(parser)
start_jax()
with distributed.joined(parser.parse_args()):
    from mmjax.distributed.agree import agree
    import jax
    me, said = jax.process_index(), []
    for facts in ({"a": 1, "b": "x"}, {"a": me, "b": "x"}, {"a": 1} if me else {"b": 2}, dict.fromkeys("abcde", me)):
        try:
            agree(f"facts {len(said)}", facts)
            said.append("")
        except UserError as error:
            said.append(str(error))
print(json.dumps(said))
"""


def pair(*command, own=lambda process: {}):
    """Two processes of one command, each with its own variables. Returns [(exit code, stdout, stderr)]."""
    place = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--process"]
    fixed = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    started = [
        subprocess.Popen(
            [sys.executable, *command, *place, str(i)],
            cwd=ROOT,
            env=fixed | own(i),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in started]
    return [(process.returncode, *output) for process, output in zip(started, outputs, strict=True)]


def train(folder, *options, own=lambda process: {}):
    config = ["--config", "tests/training/toy.py:task", "--workdir", str(folder), "--config.steps=4"]
    return pair("-m", "mmjax.cli", "train", *config, *options, own=own)


def test_what_differs_is_named_on_all(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    results = pair(str(tmp_path / "program.py"))
    assert [code for code, _, _ in results] == [0, 0], results[0][2]
    said = [json.loads(out.splitlines()[-1]) for _, out, _ in results]
    assert said[0] == said[1] and said[0][0] == ""
    assert said[0][1].startswith("facts 1: process 1 on ") and said[0][1].endswith(": a is 1, not 0")
    assert said[0][2].endswith(": a is 1, not (not there); b is (not there), not 2")
    assert said[0][3].endswith("c is 1, not 0 and 2 more")


def test_other_data(tmp_path):
    """Two folders of one name, as on hosts whose disks are not the same."""
    for name, caption in (("0", "a dog"), ("1", "a cat")):
        (tmp_path / name / "pictures").mkdir(parents=True)
        lines = [json.dumps({"file": f"{i}.png", "caption": caption}) + "\n" for i in range(40)]
        (tmp_path / name / "pictures" / "captions.jsonl").write_text("".join(lines))

    def own(process):
        (tmp_path / f"home{process}").symlink_to(tmp_path / str(process))
        return {"HOME": str(tmp_path / f"home{process}")}

    options = ["--config.data.train={'path': '~/pictures'}", "--config.evaluate.every=0"]
    results = train(tmp_path / "run", *options, own=own)
    for code, _, err in results:
        assert code == 2 and "mmjax train: data: process 1 on" in err and ".content is" in err, err


def test_another_config(tmp_path):
    """The same command, but the file that it names is another one on the second host."""
    for process, rate in enumerate((0.1, 0.2)):
        (tmp_path / str(process)).mkdir()
        text = (ROOT / "tests/training/toy.py").read_text().replace("3e-3", str(rate))
        (tmp_path / str(process) / "toy.py").write_text(text)
    code = "import os, sys; os.chdir(os.environ['HERE']); from mmjax.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["-c", code, "train", "--config", "toy.py", "--workdir", str(tmp_path / "run")]
    for code, _, err in pair(*command, own=lambda process: {"HERE": str(tmp_path / str(process))}):
        assert code == 2 and "mmjax train: config: process 1 on" in err, err
        assert err.rstrip().endswith("optimizer.learning_rate is 0.2, not 0.1")


def test_other_arguments(tmp_path):
    code = "import os, sys; from mmjax.cli import main; sys.exit(main(sys.argv[1:] + os.environ['MORE'].split()))"
    command = ["-c", code, "train", "--config", "tests/training/toy.py", "--workdir", str(tmp_path / "run")]
    for code, _, err in pair(*command, own=lambda process: {"MORE": "--resume force" if process else ""}):
        assert code == 2 and "mmjax train: arguments: process 1 on" in err, err
        assert err.rstrip().endswith("--resume is force, not auto")


def test_other_code(tmp_path):
    other = tmp_path / "mmjax"
    shutil.copytree(ROOT / "mmjax", other, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "losses" / "pairs.py").open("a") as stream:
        stream.write("# mended on this host alone\n")
    code = "import sys; from mmjax.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["-P", "-c", code, "train", "--config", "tests/training/toy.py", "--workdir", str(tmp_path / "run")]
    results = pair(*command, own=lambda process: {"PYTHONPATH": str(tmp_path)} if process else {})
    for code, _, err in results:
        assert code == 2 and "mmjax train: code: process 1 on" in err and "mmjax/losses/pairs.py is" in err, err


@pytest.mark.parametrize("other", [Shades(length=41), Shades(length=40, offset=1)])
def test_a_fingerprint_tells_sources_apart(other):
    assert fingerprint(Shades(length=40)) == fingerprint(Shades(length=40)) != fingerprint(other)
    assert fingerprint(Shades(length=0)) == {"items": 0, "content": fingerprint(Shades(length=0))["content"]}
