"""Every notebook runs from top to bottom, and shows what it is committed with."""

import dataclasses
import os
import pathlib
import re
import sys

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests.test_docs import mended

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


# Another machine rounds otherwise, so training ends elsewhere: by one of the five pictures that a notebook asks about.
CLOSE = 0.21


@dataclasses.dataclass(frozen=True)
class Shown:
    """What the cells of a notebook evaluate to: texts with a # for each figure with a point, and the figures."""

    texts: list[str]
    figures: list[float]


def shown(notebook: nbformat.NotebookNode) -> Shown:
    """Progress and warnings are the machine's, and figures such as 4.9e-07 rounding: neither counts."""
    results = [
        re.sub(r"\d\.\d+e-\d+", "tiny", output.get("data", {}).get("text/plain", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "execute_result"
    ]
    figures = [float(figure) for text in results for figure in re.findall(r"\d+\.\d+", text)]
    return Shown([re.sub(r"\d+\.\d+", "#", text) for text in results], figures)


def check(found: Shown, committed: Shown) -> None:
    """The same texts, and figures as far as they are alike on any machine."""
    assert found.texts == committed.texts
    np.testing.assert_allclose(found.figures, committed.figures, rtol=0, atol=CLOSE)


def execute(path: pathlib.Path, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """Runs a copy on one device in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(mended(folder)))
    monkeypatch.setenv("PATH", f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("XLA_FLAGS")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_it_is_committed_with(path, tmp_path, monkeypatch):
    committed = shown(nbformat.read(path, as_version=4))
    assert any(committed.texts), "commit notebooks with their outputs"
    check(shown(execute(path, tmp_path, monkeypatch)), committed)


def test_a_figure_that_is_another_is_told():
    before, after = (Shown(["#", "#"], [0.2, top1]) for top1 in (0.6, 0.2))
    check(before, before)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(after, before)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_one_that_learns_nothing_shows_something_else(path, tmp_path, monkeypatch):
    text = path.read_text()
    still = tmp_path / path.name
    still.write_text(re.sub(r'(\\"learning_rate\\": )[\d.e-]+', r"\g<1>0.0", text))
    assert still.read_text() != text
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(shown(execute(still, tmp_path, monkeypatch)), shown(nbformat.read(path, as_version=4)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_place_of_a_machine_is_committed(path):
    assert not re.search(r"/(tmp|home|root|work|Users)/", path.read_text())
