"""The page: self-contained, escaped, and whole whatever part of the run is missing."""

import html.parser
import json
import re

import numpy as np
import pytest

from mmjax.report import curves
from mmjax.report.collect import collect
from mmjax.report.page import render
from mmjax.report.verb import write_report
from tests.report.fakes import fake_model, fake_run

EVIL = '<script>alert("{item}")</script><img src=x onerror=alert(1)> & "quoted" {caption}'
VOID = {"img", "meta", "br", "line", "input"}


class Checker(html.parser.HTMLParser):
    """Counts tags, collects attributes, and fails on a tag that is not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, tag


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "my <run> & co"
    folder.mkdir()
    fake_run(folder)
    return folder


@pytest.fixture(scope="module")
def evil():
    return collect(*fake_model(text=EVIL), {"prompts": "<b>bold</b>"})


def test_untrusted_text_stays_text(run, evil):
    (run / "evaluation.json").write_text(json.dumps({"zero_shot/class/<script>": 0.5, "retrieval/<i>": 1}))
    (run / "environment.json").write_text(json.dumps({"devices": "<script>x</script>"}))
    (run / "config.json").write_text(json.dumps({"a": {"<script>": "</td><script>"}}))
    page = render(run, [evil])
    checked = Checker(page)
    assert not {"script", "iframe", "object", "b>"} & set(checked.tags)
    assert not [name for name, _ in checked.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(&quot;" in page
    assert "a&lt;b&gt;.jpg" in page


def test_the_page_asks_nothing_of_the_network(run, evil):
    page = render(run, [evil])
    links = [
        value for name, value in Checker(page).attributes if name in ("src", "href", "xlink:href", "data", "srcset")
    ]
    assert links and all(link.startswith(("data:image/", "#")) for link in links)
    assert not re.search(r"url\((?!#)", page) and "@import" not in page
    assert "default-src 'none'" in page


def test_figures_follow_the_theme(run, evil):
    page = render(run, [evil])
    assert "#0101" not in page  # every stand-in colour became one of the page's
    assert "prefers-color-scheme: dark" in page and "stroke: var(--c0)" in page


def test_every_section_is_there(run, evil):
    page = render(run, [evil])
    for title in ("Results", "Learning", "Speed", "Retrieval", "Similarity", "Embedding map", "Attention", "Config"):
        assert f"<h2>{title}</h2>" in page
    assert "600 steps · batch 256 · 8 x cpu · 4.0 minutes" in page
    assert "64.0%" in page  # the tile of R@1
    assert 'class="missing"' not in page


PARTS = ("metrics.jsonl", "timing.jsonl", "evaluation.json", "environment.json", "config.json", "skipped.jsonl")


@pytest.mark.parametrize("file", PARTS)
@pytest.mark.parametrize("content", [None, "", "{broken"])
def test_a_broken_part_is_said_and_does_no_harm(tmp_path, file, content):
    if content is not None:
        (tmp_path / file).write_text(content)
    page = render(tmp_path, ["no bundle"])
    Checker(page)
    assert page.count("<section") == 7
    assert "Not shown: no bundle." in page


def test_an_item_that_two_hosts_have_listed_is_one(run):
    (run / "skipped_1.jsonl").write_text((run / "skipped.jsonl").read_text().replace('"step": 3', '"step": 9') * 2)
    assert "Items skipped: 1." in render(run, [])


def test_a_missing_part_hides_nothing_else(run):
    (run / "metrics.jsonl").unlink()
    page = render(run, [])
    assert "metrics.jsonl is missing" in page
    assert "examples / s" in page and "64.0%" in page


def test_write_report_keeps_the_examples_and_says_why_there_are_none(run):
    model, data = fake_model()
    page = write_report(run, model, data)
    assert page == run / "report.html" and (run / "report_data.npz").is_file()
    assert "Not shown" not in page.read_text()
    del model.streams["caption"]
    assert "Not shown: the model reads no text" in write_report(run, model, data).read_text()


def test_report_verb_remakes_the_page_from_what_is_kept(run, capsys):
    from mmjax.cli import main

    write_report(run, *fake_model())
    first = (run / "report.html").read_text()
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == first
    assert capsys.readouterr().out.strip().endswith("report.html")


def test_report_verb_without_a_run_is_wrong_use(tmp_path, capsys):
    from mmjax.cli import main

    assert main(["report", str(tmp_path / "none")]) == 2
    assert "no such run folder" in capsys.readouterr().err


def test_charts_share_what_belongs_together():
    line = {"step": 1, "train/loss": 1.0, "train/image-caption": 1.0, "train/scale": 14.0}
    line |= {"eval/retrieval/a_to_b/R@1": 0.1, "eval/retrieval/a_to_b/median_rank": 3.0, "eval/foils/x/count": 5}
    line |= {"eval/caption/true": 0.5, "eval/caption/BLEU-4": 0.2, "eval/caption/CIDEr-D": 3.0}
    line |= {"eval/answer/type/count": 0.5, "eval/answer/type/shape": 0.6, "eval/answer/type/shape/count": 100}
    found = dict(curves.charts(curves.series([line, {**line, "step": 2, "train/loss": 2.0, "train/scale": 15.0}])))
    evaluated = ["retrieval/a to b", "retrieval/a to b (rank)", "caption", "caption (CIDEr-D)", "answer/type"]
    assert list(found) == ["loss", "scale", *evaluated]
    assert list(found["caption"]) == ["true", "BLEU-4"] and list(found["answer/type"]) == ["count", "shape"]


def test_long_runs_are_averaged_and_gaps_stay():
    steps, values = np.arange(10_000.0), np.ones(10_000)
    values[5000] = np.nan
    x, y = curves.thin(steps, values, points=100)
    assert len(x) == 100 and np.isnan(y).sum() == 1 and np.nanmax(y) == 1


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 2.0}\n{"step": 2, "tra')
    assert len(curves.read(tmp_path / "metrics.jsonl")) == 1
