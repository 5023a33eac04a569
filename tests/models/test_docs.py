"""The page on models: its example runs as it stands, and its tables name what there is."""

import dataclasses
import pathlib
import re
import sys

import pytest

from mmjax.losses import LOSSES
from mmjax.models import TextTransformer, ViT

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "models.md").read_text()


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """The page's files in a package outside mmjax, under another name than that of any other test."""
    files = re.findall(r"```python\n# my_lab/(\w+)\.py\n(.*?)```", PAGE, re.DOTALL)
    folder = tmp_path / "lab_of_the_docs"
    folder.mkdir()
    for name, text in files:
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def test_the_example_runs_and_learns(outside):
    assert {path.stem for path in outside.iterdir()} == {"towers", "losses"}
    program = re.findall(r"```python\n(import jax\n.*?)```", PAGE, re.DOTALL)[-1]
    scope = {}
    exec(program.replace("my_lab.", f"{outside.name}."), scope)
    assert scope["values"][-1] < 0.8 * scope["values"][0]


def test_every_option_is_in_the_tables():
    keys = set(re.findall(r"`(\w+)`", PAGE))
    for encoder in (ViT, TextTransformer):
        options = {field.name for field in dataclasses.fields(encoder)} - {"parent", "name"}
        assert options <= keys
    assert set(LOSSES) <= keys
