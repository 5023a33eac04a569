"""The page of a model that writes: texts beside pictures, words over maps, whatever of it there is."""

import dataclasses
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.errors import UserError
from mmjax.report import told_grids
from mmjax.report.collect_told import collect_told
from mmjax.report.page import render, worst_first
from mmjax.report.told import Text
from mmjax.report.verb import write_report
from tests.report.fakes import fake_model, fake_run
from tests.report.tellers import Teller, answerer, captioner
from tests.report.test_page import EVIL, Checker


@pytest.fixture
def run(tmp_path):
    fake_run(tmp_path)
    return tmp_path


def looked_at(told, words=("<b>red</b>", "球")):
    """As if the model told where it looked for some words of its first text."""
    texts = [dataclasses.replace(told.texts[0], words=words), *told.texts[1:]]
    maps = np.random.default_rng(0).random((len(words), 4, 4)).astype(np.float32)
    return dataclasses.replace(told, texts=texts, maps={texts[0].item: maps}, no_maps="")


def evil_answers():
    written = [EVIL.format(item=item, caption=0)[:60] for item in range(20)]
    return answerer(
        written, [[EVIL.format(item=item, caption=1)] for item in range(20)], question=EVIL.replace("{caption}", "")
    )


def test_untrusted_text_stays_text(run):
    told = looked_at(collect_told(*evil_answers(), (), {"<script>": "<b>bold</b>"}))
    (run / "evaluation.json").write_text(json.dumps({"answer/type/<script>": 0.5, "answer/type/<script>/count": 3}))
    page = render(run, [told])
    checked = Checker(page)
    assert not {"script", "iframe", "object", "b>"} & set(checked.tags)
    assert not [name for name, _ in checked.attributes if name.startswith("on")]
    assert page.count("&lt;script&gt;alert(&quot;") >= 24 and "&lt;b&gt;red&lt;/b&gt;" in page
    links = [value for name, value in checked.attributes if name in ("src", "href")]
    assert links and all(link.startswith(("data:image/", "#")) for link in links)


def test_answers_stand_beside_their_pictures_and_words_over_maps(run):
    told = looked_at(
        collect_told(*answerer(["红色", "no"], [["红色"] * 7 + ["blue"] * 3, ["yes"]]), (), {"by": "rule"})
    )
    (run / "evaluation.json").write_text(json.dumps({"answer/accuracy": 0.75, "answer/type/colour": 0.25}))
    page = render(run, [told])
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles[3:5] == ["Answers", "Words"] and not {"Retrieval", "Examples", "Attention"} & set(titles)
    assert "<q>what is 0?</q>" in page and "红色 × 7" in page and "球" in page
    assert page.count("✓ right") == 2 and page.count("✗ wrong") == 1  # the right one is also looked at
    assert "<b>75.0%</b><span>answers right" in page and "accuracy per type of question" in page and "rule" in page
    assert 'class="missing"' not in page


def test_photographs_are_shown_without_a_verdict(run):
    told = collect_told(*captioner(["a dog"], [("a brown dog", "one dog")]), (), {})
    page = render(run, [told])
    assert "<h2>Captions</h2>" in page and "<li>a brown dog</li><li>one dog</li>" in page
    assert "✓" not in page and "✗" not in page and "Evenly spaced" in page
    assert "Not shown: Teller does not tell where it looks for a word." in page


def test_the_less_likely_a_token_the_darker():
    text = Text(0, "", ("a", " <dog"), (0.9, 0.25), (), None, "", ())
    first, second = 'style="--p:0.90" title="90.0%">a</span>', 'style="--p:0.25" title="25.0%">&lt;dog</span>'
    assert told_grids.shade(text) == f'<span class="said"><span {first} <span {second}</span>'
    assert "(nothing)" in told_grids.shade(dataclasses.replace(text, pieces=(), chances=()))


def test_a_question_of_type_count_is_no_count():
    scores = {"count": 0.9, "count/count": 1200, "colour": 0.5, "colour/count": 7, "shape": 0.7}
    assert list(worst_first(scores).items()) == [
        ("colour", "0.5000 of 7"),
        ("shape", "0.7000"),
        ("count", "0.9000 of 1,200"),
    ]


def test_headline_scores_of_captions_are_shares_but_cider(run):
    scores = {"caption/true": 0.951, "caption/CIDEr-D": 1.234, "caption/BLEU-4": 0.3}
    (run / "evaluation.json").write_text(json.dumps(scores))
    tiles = re.findall('tile"><b>(.*?)</b><span>(.*?)</span>', render(run, []))
    assert tiles == [("95.1%", "captions true"), ("1.23", "CIDEr-D"), ("30.0%", "BLEU-4")]


@dataclasses.dataclass(frozen=True)
class Both(Teller):
    """Writes and embeds, as CoCa does."""

    def embed(self, params, batch, rng=None):
        (name, stream), *_ = batch.streams.items()
        data = stream.data.reshape(len(stream.data), -1)[:, :64]
        return {name: data / jnp.linalg.norm(data.astype(jnp.float32), axis=1, keepdims=True)}


def test_a_task_that_does_both_shows_both_and_the_page_is_remade_from_what_is_kept(run, capsys):
    from mmjax.cli import main

    model, data = captioner([f"a {i}" for i in range(20)], [(f"one {i}",) for i in range(20)], task=Both())
    page = write_report(run, model, data)
    first = page.read_text()
    for title in ("Captions", "Words", "Retrieval", "Similarity", "Embedding map", "Attention"):
        assert f"<h2>{title}</h2>" in first
    page.unlink()
    assert main(["report", str(run)]) == 0 and page.read_text() == first
    assert capsys.readouterr().out.strip().endswith("report.html")


def test_a_captioner_is_remade_too(run):
    from mmjax.cli import main

    page = write_report(run, *answerer(["a"] * 4, [["a"], ["b"]] * 2))
    first = page.read_text()
    page.unlink()
    assert main(["report", str(run)]) == 0 and page.read_text() == first
    assert {file.name for file in run.glob("report_*")} == {"report_told.npz"}


@pytest.mark.parametrize(
    ("method", "there", "gone"), [("generate", "Retrieval", "Captions"), ("embed", "Captions", "Retrieval")]
)
def test_a_part_that_fails_hides_no_other(run, method, there, gone):
    def fails(*args, **options):
        raise UserError("a <reason>")

    task = type("Broken", (Both,), {method: fails})()
    model, data = captioner([f"a {i}" for i in range(8)], [(f"one {i}",) for i in range(8)], task=task)
    page = write_report(run, model, data).read_text()
    assert f"<h2>{there}</h2>" in page and f"<h2>{gone}</h2>" not in page
    assert "<h2>Examples</h2>" in page and "Not shown: a &lt;reason&gt;." in page and "64.0%" in page


def test_a_model_that_embeds_alone_has_no_texts(run):
    page = write_report(run, *fake_model()).read_text()
    assert "<h2>Retrieval</h2>" in page and "<h2>Captions</h2>" not in page and "Not shown" not in page
