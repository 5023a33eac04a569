"""What the documentation says is true: its commands run, its links lead somewhere, its figures are those measured.

A command stands in a ```bash or ```console block of a page, or on a line of its own in the docstring of a config. Each
is run here with a tiny budget, or belongs in `ELSEWHERE` with the test that runs it. `PATH/` in a command is the
reader's folder of real data; such a command needs MMJAX_TEST_DATA.

A figure is quoted as <!-- bench:NAME.key -->1.7<!-- /bench -->: the median of `key` in benchmarks/results/NAME.json,
rounded as written. `NAME.key.max` (min, n) quotes another statistic; with a % sign the file holds a fraction.
"""

import ast
import dataclasses
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FINETUNING = ROOT / "docs" / "finetuning.md"
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))

TINY = ["--config.steps=2", "--config.batch_size=16", "--config.evaluate.batch_size=256", "--config.log.every=1"]
UNSCORED = ["--config.evaluate.on=()", "--config.log.report=False"]  # the quickstart is scored and reported
QUICKSTART = "mmjax train --config configs/quickstart.py --workdir runs/quickstart"

# Pattern of a whole command: arguments that make it cheap. They run after QUICKSTART, in the same folder.
HERE = {
    r"mmjax (\w+ )?--help": [],
    r"mmjax train .*(fashion_mnist|flickr8k|world_[a-z]+|finetune).py.*": [*TINY, *UNSCORED],
    r"mmjax train (?!.*(_vit_|easy_vqa|daquar)).*": TINY,
    r"mmjax plan .*(h100|here).*": ["--config.batch_size=64"],
    r"mmjax evaluate .*": ["--limit", "16"],
    r"mmjax embed .*": ["--limit", "16"],
    r"mmjax (search|classify) .*": [],
    r"mmjax (caption|ask) (?!.*--word).*": [],
    r"mmjax average .*": [],
    r"mmjax (import|export) .*": [],
    r"mmjax report .*": [],
    r"mmjax launch .*": [],  # each with --dry-run; tests/launch runs all of them, on stand-ins of the clusters
    r"mmjax data (check|describe|convert|tokenizer) .*": [],
    # For real, CI runs `make test` and with it `make install`, and test_quickstart.py runs `make quickstart`.
    r"make( [a-z-]+)?": ["--dry-run"],
}
# Those that `make test-slow` alone runs: others like them run each time, and no other command needs what they leave.
SLOW = r"mmjax (train .*(world_relations|fashion_mnist).*|plan .*--search.*)"
# Pattern: the test that runs it.
ELSEWHERE: dict[str, str] = {
    r"mmjax train --config configs/(easy_vqa|daquar).py:.*": (
        "tests/training/test_question_configs.py::test_it_trains_and_is_scored"
    ),
    r"mmjax caption .*--word .*": "tests/inference/test_writing.py::test_the_attention_of_a_word_is_a_picture",
    r"mmjax train --config configs/(clip_vit_b16|clip_vit_l14|siglip_vit_so400m).py .*": (
        "tests/training/test_pod_configs.py::test_a_pod_config_trains"
    ),
    r"mmjax plan --config configs/clip_vit_b16.py --topology v5e:16x16": (
        "tests/planning/test_pods.py::test_one_of_them_is_compiled_each_time"
    ),
    r"mmjax plan --config configs/(clip_vit_l14|siglip_vit_so400m).py --topology v5[ep]:\w+": (
        "tests/planning/test_pods.py::test_the_others_are_compiled_at_leisure"
    ),
}


# --- commands


def commands_of_page(text: str) -> list[str]:
    """Commands of the fenced shell blocks; in a console block those after a `$`."""
    found = []
    for kind, block in re.findall(r"^```(bash|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        found += [line.removeprefix("$ ") for line in lines if kind == "bash" or line.startswith("$ ")]
    return clean(found)


def commands_of_config(text: str) -> list[str]:
    """Lines of a config's docstring that start with a command."""
    docstring = (ast.get_docstring(ast.parse(text), clean=False) or "").replace("\\\n", " ")
    return clean(re.findall(r"^ *((?:mmjax|make|python) .*)", docstring, re.MULTILINE))


def clean(lines: list[str]) -> list[str]:
    """Without comments and superfluous blanks."""
    return [command for line in lines if (command := shlex.join(shlex.split(line, comments=True)))]


def everything() -> dict[str, str]:
    """{command: where it stands first}."""
    found: dict[str, str] = {}
    for path in PAGES:
        for command in commands_of_page(path.read_text()):
            found.setdefault(command, path.relative_to(ROOT).as_posix())
    for path in CONFIGS:
        for command in commands_of_config(path.read_text()):
            found.setdefault(command, path.relative_to(ROOT).as_posix())
    return found


COMMANDS = everything()


def matching(table: dict, command: str):
    """The entry of the first pattern that matches the whole command, or None."""
    return next((value for pattern, value in table.items() if re.fullmatch(pattern, command)), None)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> pathlib.Path:
    """A folder as the reader has it after the quickstart, on a tiny budget."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("configs", "benchmarks", "Makefile", "pyproject.toml", "setup.py", "constraints.txt", "docs", ".venv"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    for name, text in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", FINETUNING.read_text(), re.M | re.DOTALL):
        (folder / name).write_text(text)
    run(QUICKSTART, TINY, folder)
    return folder


@pytest.fixture(scope="module")
def pretrained(workspace) -> None:
    """Small models of the same families where the pages name models on the Hub: a folder comes before a name."""
    from tests.interop.peers import PEERS, random_model, transformers, write

    def classifier():
        return transformers.ViTForImageClassification(PEERS["vit"].make().config)

    small = {
        "openai/clip-vit-base-patch32": PEERS["clip legacy"],
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": PEERS["open_clip"],
        "facebook/dinov2-base": PEERS["dinov2"],
        "google/vit-base-patch16-224": dataclasses.replace(PEERS["vit"], make=classifier),
    }
    for name, peer in small.items():
        write(peer, random_model(peer), workspace / name)


def run(command: str, extra: list[str], folder: pathlib.Path) -> None:
    """Runs a documented command in a folder, as a user would: one device, no test settings."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    if "--verify" in command:
        environment["PYTHONPATH"] = str(mended(folder))
    arguments = shlex.split(command) + extra
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def mended(folder: pathlib.Path) -> pathlib.Path:
    """Where a `sitecustomize` lies, which Python runs first: tests/interop/torch_peers.py says what it mends."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    lines = ("import sys", f"sys.path.append({str(ROOT)!r})", "from tests.interop.torch_peers import mend_torchvision")
    (site / "sitecustomize.py").write_text("\n".join((*lines, "mend_torchvision()", "")))
    return site


def parameters() -> list:
    """The commands that run here."""
    found = [command for command in COMMANDS if matching(HERE, command) is not None]
    slow = pytest.mark.slow
    return [pytest.param(command, marks=slow) if re.fullmatch(SLOW, command) else command for command in found]


@pytest.mark.parametrize("command", parameters())
def test_command_runs(command, workspace, request):
    if "PATH/" in command:
        command = command.replace("PATH/", f"{request.getfixturevalue('data_root')}/")
    if re.search(r"\b(hf|open_clip):|models/|exported/", command):
        request.getfixturevalue("pretrained")
    extra = matching(HERE, command)
    if command.startswith("mmjax launch ") and " --dry-run " not in command:
        command = command.replace(" -- ", " --dry-run -- ")
    if command == QUICKSTART:
        assert (workspace / "runs" / "quickstart" / "bundle").is_dir(), "the fixture has run it"
    else:
        run(command, extra, workspace)


def test_every_command_is_run_by_a_test():
    lost = {c: page for c, page in COMMANDS.items() if matching(HERE, c) is None and matching(ELSEWHERE, c) is None}
    assert not lost, "add them to HERE or ELSEWHERE"


def test_the_tests_named_here_exist():
    for pattern, test in ELSEWHERE.items():
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        assert any(isinstance(node, ast.FunctionDef) and node.name == name for node in ast.walk(tree)), test
        assert any(re.fullmatch(pattern, command) for command in COMMANDS), f"no page says {pattern} any more"


def test_make_quickstart_is_the_documented_command():
    recipe = subprocess.run(["make", "--dry-run", "quickstart"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f".venv/bin/{QUICKSTART}" in recipe.stdout


def test_each_config_opens_with_its_command():
    bare = [path.name for path in CONFIGS if not commands_of_config(path.read_text())]
    assert not bare


def test_commands_are_found():
    page = "```bash\nmake test  # all\nmmjax report \\\n  RUN\n```\n```console\n$ mmjax --help\nusage\n```"
    assert commands_of_page(page) == ["make test", "mmjax report RUN", "mmjax --help"]
    assert commands_of_config('"""A.\n\n    mmjax train --config a \\\n        --workdir b\n\nText\n"""') == [
        "mmjax train --config a --workdir b"
    ]


# --- figures


def wrong_figures(text: str, results: pathlib.Path) -> list[str]:
    """What is quoted otherwise than it was measured."""
    wrong = []
    for key, shown in re.findall(r"<!-- bench:(\S+) -->(.*?)<!-- /bench -->", text, re.DOTALL):
        number = re.search(r"-?[\d,]*\.?\d+", shown)
        try:
            value = measured(key, results) * (100 if "%" in shown else 1)
        except (KeyError, FileNotFoundError) as error:
            wrong.append(f"{key}: {type(error).__name__} {error}")
            continue
        written = number.group().replace(",", "") if number else ""
        expected = f"{value:.{len(written.partition('.')[2])}f}"
        if written != expected:
            wrong.append(f"{key}: the page says {shown.strip()!r}, the file {expected}")
    return wrong


def measured(key: str, results: pathlib.Path) -> float:
    name, _, what = key.partition(".")
    table = json.loads((results / f"{name}.json").read_text())["measurements"]
    if what not in table and what.rpartition(".")[2] in ("median", "min", "max", "n"):
        what, _, statistic = what.rpartition(".")
        return table[what][statistic]
    return table[what]["median"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_figures_are_those_measured(page):
    assert not wrong_figures(page.read_text(), ROOT / "benchmarks" / "results")


def test_a_wrong_figure_is_found(tmp_path):
    values = {"ratio": {"median": 1.72, "min": 1.5, "max": 2.0, "n": 5}, "R@1": {"median": 0.853, "n": 3}}
    (tmp_path / "x.json").write_text(json.dumps({"measurements": values}))

    def wrong(text: str) -> bool:
        return bool(wrong_figures(text, tmp_path))

    right = [
        "x.ratio -->1.7 ×",
        "x.ratio -->1.72",
        "x.ratio.max -->2",
        "x.R@1 -->85.3 %",
        "x.R@1 -->0.853",
        "x.ratio.n -->5",
    ]
    assert not any(wrong(f"<!-- bench:{text}<!-- /bench -->") for text in right)
    mutants = [
        "x.ratio -->1.8",
        "x.ratio.max -->1.7",
        "x.R@1 -->85.4 %",
        "x.gone -->1",
        "y.ratio -->1.7",
        "x.ratio -->soon",
    ]
    assert all(wrong(f"<!-- bench:{text}<!-- /bench -->") for text in mutants)


@pytest.mark.parametrize("page", READMES, ids=lambda path: path.name)
def test_no_figure_of_the_results_stands_outside_a_marker(page):
    _, _, rest = page.read_text().partition("## Results\n" if page.name == "README.md" else "## 结果\n")
    rows = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    assert rows, "the table of results is gone"
    for row in rows:
        cells = re.sub(r"<!-- bench:.*?<!-- /bench -->", "", row).split("|")[
            2:
        ]  # the first column says what is measured
        assert not re.search(r"\d", "".join(cells)), row


def test_the_readmes_say_the_same():
    english, chinese = (path.read_text() for path in READMES)
    assert commands_of_page(english) == commands_of_page(chinese)
    assert re.findall(r"bench:\S+ -->.*?<", english) == re.findall(r"bench:\S+ -->.*?<", chinese)


# --- links


def dead_links(page: pathlib.Path) -> list[str]:
    """Relative links and anchors that lead nowhere."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"", text):
        target, _, anchor = "".join(link).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = page.parent / target if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append("".join(link))
    return dead


def anchors(page: pathlib.Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    assert not dead_links(page)


def test_a_dead_link_is_found(tmp_path):
    page = tmp_path / "a.md"
    page.write_text(
        "# A head: `x`\n[ok](#a-head-x) [ok](https://x.y) [no](b.md) [no](#b) ![no](c.png)\n```\n[x](d.md)\n```\n"
    )
    assert dead_links(page) == ["b.md", "#b", "c.png"]
