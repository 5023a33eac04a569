"""The table in docs/weights.md is the one that the measurements give."""

import json
import pathlib
import re

import pytest

from mmjax.interop import FAMILIES

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "weights.md"
RESULT = ROOT / "benchmarks" / "results" / "weights.json"


@pytest.fixture
def weights(monkeypatch):
    """The benchmark, which is a script and imports what lies beside it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import weights

    return weights


def test_the_table_is_that_of_the_measurements(weights):
    page = PAGE.read_text()
    assert page == weights.with_table(page, weights.table(RESULT)), "run: python benchmarks/weights.py --table"


def test_another_measurement_gives_another_table(weights, tmp_path):
    result = json.loads(RESULT.read_text())
    result["measurements"]["clip/full/gradients"]["max"] *= 2
    other = tmp_path / "weights.json"
    other.write_text(json.dumps(result))
    assert weights.table(other) != weights.table(RESULT)


def test_every_family_is_measured_in_both_sizes():
    measured = json.loads(RESULT.read_text())["measurements"]
    for family in FAMILIES:
        for size in ("small", "full"):
            assert {f"{family}/{size}/{what}" for what in ("blocks", "features", "gradients")} <= measured.keys()


def test_variants_count_with_their_family(weights):
    record = {
        "clip/blocks": 1e-6,
        "clip legacy/blocks": 2e-6,
        "full clip/blocks": 3e-6,
        "dinov2_registers/blocks": 4e-6,
    }
    assert weights.grouped(record) == {
        "clip/small/blocks": [1e-6, 2e-6],
        "clip/full/blocks": [3e-6],
        "dinov2_registers/small/blocks": [4e-6],
    }


def test_the_family_that_is_shown_is_the_one_in_the_code():
    file, shown = re.search(
        r"```python\n# (mmjax/interop/families/\w+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL
    ).groups()
    code = (ROOT / file).read_text().splitlines()
    assert [line for line in shown.splitlines() if line.strip() != "..." and line not in code] == []
