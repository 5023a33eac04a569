"""The package as a whole: what `import mmjax` costs, what is installed, which way imports point, how long files get."""

import ast
import fnmatch
import importlib.metadata
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tomllib

import pytest

import mmjax

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CODE = sorted(
    [*(ROOT / "mmjax").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "configs").rglob("*.py")]
)


def test_import_costs_nothing():
    """`import mmjax` stays under 50 ms: the bare interpreter's start is measured beside it and taken off."""
    code = "import time; start = time.perf_counter(); import mmjax; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT) for _ in range(5)]
    assert statistics.median(float(run.stdout) for run in runs) < 0.05


def test_public_names_are_imported_when_used():
    from mmjax import bundle

    assert mmjax.load is bundle.load and mmjax.save is bundle.save and mmjax.Model is bundle.Model
    assert set(mmjax.__all__) <= set(dir(mmjax))


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'mmjax' has no attribute 'lod'"):
        _ = mmjax.lod


def test_the_installed_version_is_the_packages():
    assert importlib.metadata.version("mmjax") == mmjax.__version__, "run `make install` again"


def test_every_requirement_is_pinned():
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    wanted = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["test"]
    names = {re.match(r"[\w.-]+", requirement).group() for requirement in wanted}

    def plain(items):
        return {re.sub(r"[-_.]+", "-", item).lower() for item in items}

    assert plain(names) <= plain(pinned)


def test_only_the_tests_install_torch():
    heavy = re.compile(r"^(torch|open_clip|timm)")
    assert not [name for name in PROJECT["project"]["dependencies"] if heavy.match(name)]


def test_every_data_file_is_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["mmjax"]
    files = [path.relative_to(ROOT / "mmjax").as_posix() for path in (ROOT / "mmjax").rglob("*") if path.is_file()]
    data = [name for name in files if not name.endswith((".py", ".pyc"))]
    lost = [name for name in data if not any(fnmatch.fnmatch(f"./{name}", f"*{p.lstrip('*')}") for p in patterns)]
    assert not lost, f"add to package-data in pyproject.toml: {lost}"


def test_every_folder_of_code_is_a_package():
    folders = {path.parent for path in (ROOT / "mmjax").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def lint_imports(folder: pathlib.Path) -> subprocess.CompletedProcess:
    program = pathlib.Path(sys.executable).with_name("lint-imports")
    command = [program, "--no-cache", "--no-logo", "--config", ROOT / "pyproject.toml"]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("file", "statement", "broken"),
    [
        ("losses/wrong.py", "import mmjax.models.layers", "Imports point down only BROKEN"),
        ("models/wrong.py", "def late():\n    import mmjax.training", "Imports point down only BROKEN"),
        ("evaluation/wrong.py", "import mmjax.training", "Imports point down only BROKEN"),
        ("models/wrong.py", "import mmjax.data", "Only what stands above tasks reads data BROKEN"),
        ("data/wrong.py", "import mmjax.models", "data imports none of the upper rooms BROKEN"),
        ("data/wrong.py", "import jax", "no accelerator library but through mmjax.batch BROKEN"),
        ("batch.py", "import mmjax.data", "are the ground floor BROKEN"),
        ("new_room.py", "import mmjax.batch", "mmjax.new_room"),
    ],
)
def test_the_import_rules_reject(tmp_path, file, statement, broken):
    """`make imports` checks the real tree; here each rule is shown a tree that breaks it."""
    shutil.copytree(ROOT / "mmjax", tmp_path / "mmjax", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "mmjax" / file).open("a") as stream:
        stream.write(f"\n{statement}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1 and broken in " ".join(done.stdout.split()), done.stdout + done.stderr


def test_files_and_functions_stay_short():
    long = []
    for path in CODE:
        text = path.read_text()
        if (lines := text.count("\n")) > 400:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (lines := node.end_lineno - node.lineno + 1) > 60:
                long.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert not long


def test_public_definitions_have_docstrings():
    bare = []
    for path in (ROOT / "mmjax").rglob("*.py"):
        tree = ast.parse(path.read_text())
        if path.read_text().strip() and not ast.get_docstring(tree):
            bare.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            verb = path.stem in ("verb", "verbs") and getattr(node, "name", "") in (
                "add_arguments",
                "run",
            )  # see cli.py
            if public and not verb and not ast.get_docstring(node):
                bare.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not bare
