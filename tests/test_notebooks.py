"""Every notebook runs from top to bottom, and shows what it is committed with."""

import os
import pathlib
import re
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from tests.test_docs import mended

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells evaluate to, by cell; figures to one place, for the last digits are the machine's."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output["output_type"] != "execute_result":
                continue  # progress and warnings are the machine's
            text = output.get("data", {}).get("text/plain", "")
            text = re.sub(r"\d\.\d+e-\d+", "tiny", text)
            texts.append(re.sub(r"\d+\.\d+", lambda match: f"{float(match[0]):.0f}", text))
    return texts


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
    committed = nbformat.read(path, as_version=4)
    assert any(shown(committed)), "commit notebooks with their outputs"
    assert shown(execute(path, tmp_path, monkeypatch)) == shown(committed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_place_of_a_machine_is_committed(path):
    assert not re.search(r"/(tmp|home|root|work|Users)/", path.read_text())
