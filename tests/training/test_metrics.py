"""The journal survives kills and resumes without a line lost or doubled."""

import json

from mmjax.training.metrics import Journal, read


def test_a_resume_drops_what_lies_beyond_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = Journal(path, after=0)
    for step in range(1, 6):
        first.write(step, {"loss": step / 2})
    first.close()
    second = Journal(path, after=3)
    second.write(4, {"loss": 2.0})
    second.close()
    assert read(path) == [{"step": s, "loss": s / 2} for s in (1, 2, 3, 4)]


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    assert [line["step"] for line in read(path)] == [1]
    Journal(path, after=9).close()
    assert path.read_text() == '{"step": 1, "loss": 1.0}\n'


def test_non_finite_numbers_become_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path, after=0)
    journal.write(1, {"loss": float("nan"), "norm": float("inf"), "rate": 0.1})
    journal.close()
    strict = json.loads(path.read_text(), parse_constant=lambda name: 1 / 0)
    assert strict == {"step": 1, "loss": None, "norm": None, "rate": 0.1}
