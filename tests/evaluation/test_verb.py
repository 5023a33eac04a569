"""`mmjax evaluate`: what it evaluates on when little is said, what it prints, and how it refuses wrong use."""

import json
import shutil
from types import SimpleNamespace

import pytest

from mmjax.bundle import FORMAT
from mmjax.cli import main
from mmjax.errors import UserError
from mmjax.evaluation.verb import chosen, data_section, print_skipped, print_table

CONFIG = {"data": {"test": {"path": "x.tar", "caption": "en"}}, "evaluate": {"on": {"zero_shot": {"at": [1]}}}}


def test_the_runs_own_evaluators_and_their_options():
    assert chosen(None, None, {}) == {"retrieval": {}}
    assert chosen(None, None, CONFIG) == {"zero_shot": {"at": [1]}}
    assert chosen("foils,zero_shot", None, CONFIG) == {"foils": {}, "zero_shot": {"at": [1]}}
    assert chosen("zero_shot", "mnist", {"evaluate": {"on": ["zero_shot"]}}) == {"zero_shot": {"prompts": "mnist"}}
    with pytest.raises(UserError, match="add it to --on"):
        chosen("retrieval", "mnist", CONFIG)


def test_the_runs_own_test_set_unless_another_is_named():
    assert data_section(None, [], CONFIG) == {"path": "x.tar", "caption": "en"}
    assert data_section("y.tar", [], CONFIG) == "y.tar"
    options = ["caption=zh", "where={'split': 'test'}"]
    assert data_section("y.tar", options, CONFIG) == {"path": "y.tar", "caption": "zh", "where": {"split": "test"}}
    with pytest.raises(UserError, match="names no data.test"):
        data_section(None, [], {})
    with pytest.raises(UserError, match="KEY=VALUE"):
        data_section("y.tar", ["caption"], {})
    with pytest.raises(UserError, match="goes with --data"):
        data_section(None, ["caption=zh"], CONFIG)


def test_one_table_with_counts_whole_and_the_hash_as_such(capsys):
    sha = int("00ab12cd34ef", 16)
    print_table({"retrieval/text_to_image/R@1": 0.5, "skipped": 1200, "zero_shot/prompts_sha256": sha})
    lines = [line.split() for line in capsys.readouterr().out.strip().splitlines()]
    assert lines[1:] == [
        ["retrieval/text_to_image/R@1", "0.5000"],
        ["skipped", "1,200"],
        ["zero_shot/prompts_sha256", "00ab12cd34ef"],
    ]


def test_skipped_items_are_named_up_to_a_few(capsys):
    print_skipped([SimpleNamespace(id=f"{i}.jpg", reason="truncated") for i in range(7)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "skipped 0.jpg: truncated" and lines[-1] == "... and 2 more" and len(lines) == 6


def test_wrong_use_is_one_line(tmp_path, capsys):
    assert main(["evaluate", "--model", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "no bundle here" in error


def test_a_bundle_of_a_newer_format_is_refused(tiny_bundle, tmp_path, capsys):
    newer = shutil.copytree(tiny_bundle, tmp_path / "newer")
    meta = json.loads((newer / "bundle.json").read_text())
    (newer / "bundle.json").write_text(json.dumps(meta | {"format": FORMAT + 1}))
    assert main(["evaluate", "--model", str(newer), "--data", "world:scenes/val", "--limit", "4"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and f"bundle format {FORMAT + 1} is newer than this mmjax knows" in error


def test_from_a_bundle_to_numbers(tiny_bundle, tmp_path, capsys):
    file = tmp_path / "scores.json"
    command = ["evaluate", "--model", str(tiny_bundle), "--data", "world:scenes/val", "--limit", "37"]
    assert main([*command, "--on", "retrieval,foils", "--batch-size", "16", "--json", str(file)]) == 0
    scores = json.loads(file.read_text())
    assert scores["retrieval/image_to_text/queries"] == 37
    assert scores["retrieval/text_to_image/queries"] == 37 * 4
    assert 0 <= scores["foils/colour"] <= 1 and scores["foils/colour/count"] > 0
    assert "retrieval/text_to_image/R@1" in capsys.readouterr().out
    assert main([*command, "--on", "retrieval", "--workers", "1", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["retrieval/text_to_image/mAP"] == scores["retrieval/text_to_image/mAP"]
