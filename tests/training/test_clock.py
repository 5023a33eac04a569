"""Goodput over several starts of a run: what was lost is wall time, and no progress."""

import pytest

from mmjax.training.clock import PARTS, Clock


def line(at, wall, **shares):
    return {"step": at, "wall_seconds": wall, **{f"goodput/{part}": shares.get(part, 0.0) for part in PARTS}}


def test_a_first_start_has_no_past():
    clock = Clock()
    clock.go_on([], 0)
    assert clock.wall() < 5 and not any(clock.seconds.values())


def test_a_resume_counts_what_was_kept_as_progress_and_what_was_lost_as_time():
    clock = Clock()
    clock.go_on([line(10, 1e6, step=0.5, data=0.25), line(20, 2e6, step=0.6, data=0.2)], 15)
    assert clock.wall() == pytest.approx(2e6, abs=5)
    goodput = clock.goodput()
    assert goodput["goodput/step"] == pytest.approx(0.25, rel=1e-4)  # of the two million seconds half a million
    assert goodput["goodput/data"] == pytest.approx(0.125, rel=1e-4)


def test_a_run_that_lost_everything_has_only_lost_time():
    clock = Clock()
    clock.go_on([line(10, 1e6, step=0.5)], 0)
    assert clock.wall() == pytest.approx(1e6, abs=5) and clock.goodput()["goodput/step"] == 0


def test_rates_are_those_of_this_start():
    clock = Clock()
    clock.go_on([line(10, 1e6, step=0.5)], 10)
    clock.resume_at(10)
    with clock.part("step"):
        pass
    assert clock.interval(11, 100, 0.0)["seconds_per_step"] < 5
