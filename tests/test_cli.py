"""The command line: dispatch, exit codes, one-line errors, and a start that imports nothing heavy."""

import json
import os
import subprocess
import sys
import types

import pytest

from mmjax import __version__, cli
from mmjax.errors import UserError

HEAVY = {"jax", "jaxlib", "numpy", "flax", "transformers", "tokenizers", "grain", "rich", "ml_collections", "PIL"}


def mmjax(*arguments: str) -> subprocess.CompletedProcess:
    """The real program, without what conftest.py set up for tests."""
    return subprocess.run([sys.executable, "-m", "mmjax.cli", *arguments], capture_output=True, text=True, timeout=120)


@pytest.fixture
def verb(monkeypatch):
    """Puts a verb `toy` in place, with the given run function; returns what main(["toy", ...]) returns."""

    def install(run=lambda args: 0, overrides=False):
        def add_arguments(parser):
            parser.add_argument("--width", type=int, default=1, help="how wide")
            if overrides:
                parser.set_defaults(overrides={})

        module = types.SimpleNamespace(__doc__="A toy.", add_arguments=add_arguments, run=run)
        monkeypatch.setitem(sys.modules, "mmjax_toy", module)
        monkeypatch.setitem(cli.VERBS, "toy", ("mmjax_toy", "a toy"))
        return lambda *arguments: cli.main(["toy", *arguments])

    return install


def test_help_lists_every_verb_and_an_example():
    done = mmjax("--help")
    assert done.returncode == 0 and done.stderr == ""
    assert all(f"  {name}" in done.stdout for name in cli.VERBS)
    assert "mmjax train --config" in done.stdout


def test_nothing_at_all_is_wrong_use(capsys):
    assert cli.main([]) == 2
    assert "usage" in capsys.readouterr().out


def test_version():
    assert mmjax("--version").stdout == f"mmjax {__version__}\n"


@pytest.mark.parametrize("statement", ["import mmjax", "import mmjax.cli; mmjax.cli.main(['--help'])"])
def test_starting_imports_nothing_heavy(statement):
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert HEAVY.isdisjoint(json.loads(done.stdout.splitlines()[-1]))


def test_an_unknown_verb_names_the_nearest():
    done = mmjax("trian")
    assert done.returncode == 2
    assert done.stderr.startswith("mmjax: unknown verb trian; did you mean train?; verbs: train, ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", cli.VERBS)
def test_every_listed_verb_exists_and_its_help_has_an_example(name):
    done = mmjax(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"mmjax {name} " in done.stdout.split("\n", 1)[1], "no example after the usage line"
    module = __import__(cli.VERBS[name][0], fromlist=["run"])
    assert callable(module.run)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_exit_code_is_the_verbs(verb, code):
    assert verb(lambda args: code)() == code


def test_a_user_error_is_one_line(verb, capsys):
    def run(args):
        raise UserError("no-such.jsonl: no such file")

    assert verb(run)() == 2
    assert capsys.readouterr().err == "mmjax toy: no-such.jsonl: no such file\n"


def test_a_place_that_cannot_be_used_is_one_line(verb, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert verb(lambda args: (tmp_path / "file" / "below").mkdir())() == 2
    assert capsys.readouterr().err == f"mmjax toy: {tmp_path}/file/below: Not a directory\n"


def test_trouble_without_a_place_keeps_its_traceback(verb):
    def run(args):
        raise OSError("something of a library's")

    with pytest.raises(OSError, match="of a library"):
        verb(run)()


def test_an_interrupt_exits_with_130(verb):
    def run(args):
        raise KeyboardInterrupt

    assert verb(run)() == 130


def test_a_bug_keeps_its_traceback(verb):
    with pytest.raises(ZeroDivisionError):
        verb(lambda args: 1 // 0)()


def test_overrides_reach_the_verb_that_takes_them(verb):
    seen = []
    toy = verb(lambda args: seen.append(args) or 0, overrides=True)
    assert toy("--config.a.b=1", "--width", "3", "--config.text=x=y --z", "--config.empty=", "--config.a.b=2") == 0
    assert seen[0].overrides == {"a.b": "2", "text": "x=y --z", "empty": ""}
    assert seen[0].width == 3
    toy()
    assert seen[1].overrides == {}, "one call's overrides must not reach the next"


@pytest.mark.parametrize(
    ("arguments", "overrides", "message"),
    [
        (["--widht=3"], False, "mmjax toy: unknown argument --widht=3; did you mean --width? (see mmjax toy --help)\n"),
        (["--config.a=1"], False, "mmjax toy: unknown argument --config.a=1 (see"),
        (["--config.a", "1"], True, "mmjax toy: --config.a: write it as --config.key=value (see"),
        (["--config.=1"], True, "write it as --config.key=value"),
        (["stray"], True, "unknown argument stray (see"),
        (["--wid", "3"], True, "unknown argument --wid; did you mean --width?"),
        (["--width", "wide"], False, "argument --width: invalid int value: 'wide' (see"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(verb, capsys, arguments, overrides, message):
    with pytest.raises(SystemExit) as stop:
        verb(overrides=overrides)(*arguments)
    text = capsys.readouterr().err
    assert stop.value.code == 2 and message in text and text.count("\n") == 1


def test_subcommands_refuse_in_the_same_way(capsys):
    parser = cli.Parser(prog="mmjax data")
    check = parser.add_subparsers(required=True).add_parser("check")
    check.add_argument("--workers")
    with pytest.raises(SystemExit):
        parser.parse_args(["check", "--wrokers=2"])
    assert "mmjax data check: unknown argument --wrokers=2; did you mean --workers?" in capsys.readouterr().err
