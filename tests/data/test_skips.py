"""The ledger of bad items: each listed once, also over a resume; a run stops when they are too many, and only then."""

import json

import numpy as np
import pytest

from mmjax.batch import Batch
from mmjax.data.host_batch import HostBatch, Skip
from mmjax.data.loader import Loader
from mmjax.data.skips import SkipLedger
from mmjax.data.streams import ImageStream
from mmjax.errors import RunError
from tests.data.toys import Toy


def batch(bad=(), rows=10, seen=10, source="toy", step=0, host=0, hosts=1):
    valid = np.arange(rows) >= len(bad)
    index = np.zeros(rows, np.int32)
    skips = [Skip(step, source, i, f"item-{i}", "broken — 坏") for i in bad]
    return HostBatch(step, Batch({}, valid, index, index), skips, source, seen, host, hosts)


def ledger(folder, rate=0.01, **items):
    return SkipLedger(folder / "skipped.jsonl", rate, items or {"toy": 10_000})


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_each_bad_item_is_listed_once(tmp_path):
    kept = ledger(tmp_path)
    for step in range(3):
        kept.add(batch((4, 5), step=step, seen=10 * (step + 1)))
    assert lines(tmp_path / "skipped.jsonl") == [
        {"step": 0, "source": "toy", "index": i, "id": f"item-{i}", "reason": "broken — 坏"} for i in (4, 5)
    ]
    assert kept.count == 2


def test_a_clean_run_writes_nothing(tmp_path):
    ledger(tmp_path).add(batch())
    assert not (tmp_path / "skipped.jsonl").exists()


def test_a_resume_goes_on_with_the_list(tmp_path):
    ledger(tmp_path).add(batch((4, 5)))
    with (tmp_path / "skipped.jsonl").open("a") as file:
        file.write('{"step": 1, "source": "to')  # what kill -9 leaves
    again = ledger(tmp_path)
    again.add(batch((5, 6), step=1))
    assert [line["index"] for line in lines(tmp_path / "skipped.jsonl")] == [4, 5, 6]
    assert again.count == 3


def test_it_stops_above_the_rate_and_names_the_first(tmp_path):
    kept = ledger(tmp_path)
    kept.add(batch(range(10, 19), seen=990))
    kept.add(batch((10,), seen=1000))
    with pytest.raises(RunError) as error:
        kept.add(batch((30, 31, 32), seen=1010))
    message = str(error.value)
    assert "toy: 12 of the 1010 items seen are bad, more than data.max_skip_rate 0.01" in message
    assert "item-10: broken" in message and "item-12" in message and "item-13" not in message
    assert str(tmp_path / "skipped.jsonl") in message


def test_few_rows_say_nothing_about_the_rate(tmp_path):
    ledger(tmp_path).add(batch((1, 2, 3), seen=999))


def test_a_small_source_is_judged_once_it_was_all_seen(tmp_path):
    kept = ledger(tmp_path, toy=40)
    kept.add(batch((1,), seen=30))
    with pytest.raises(RunError, match="1 of the 40 items"):
        kept.add(batch((1,), seen=50))


def test_a_source_that_is_all_bad_stops_at_once(tmp_path):
    with pytest.raises(RunError, match="10 of the 10 items"):
        ledger(tmp_path).add(batch(range(10)))


def test_sources_are_judged_apart(tmp_path):
    kept = ledger(tmp_path, toy=10_000, other=10_000)
    kept.add(batch((1,), seen=5000))
    with pytest.raises(RunError, match="other: "):
        kept.add(batch(range(20), rows=30, seen=1500, source="other"))


def test_passing_again_over_the_same_bad_items_changes_no_rate(tmp_path):
    kept = ledger(tmp_path, toy=200)
    for epoch in range(1, 9):
        kept.add(batch((1, 2), seen=200 * epoch))


def test_every_host_has_a_list_and_none_stops_alone(tmp_path):
    hosts = [ledger(tmp_path) for _ in range(2)]
    hosts[0].add(batch(range(10, 30), seen=1000, host=0, hosts=2))
    hosts[1].add(batch((2, 3), seen=1000, host=1, hosts=2))
    assert [line["index"] for line in lines(tmp_path / "skipped_1.jsonl")] == [2, 3]
    for kept, first in zip(hosts, ("item-10", "item-2"), strict=True):
        with pytest.raises(RunError, match=rf"22 of the 1000 items seen .*{first}.*skipped\*\.jsonl"):
            kept.judge(lambda counts: counts - counts + 22)


def test_a_bad_item_on_one_of_many_hosts_is_no_rate(tmp_path):
    """Of 1,024 rows its host read eight: an eighth of its own share, a thousandth of all."""
    kept = ledger(tmp_path)
    kept.add(batch((1,), seen=1024, host=5, hosts=128))
    kept.judge(lambda counts: counts)


@pytest.mark.parametrize(("share", "stops"), [(0.008, False), (0.013, True)])
def test_hosts_that_have_listed_each_others_items_judge_the_same_rate(tmp_path, share, stops):
    """Items change hosts from epoch to epoch, so in the end every host lists nearly all bad ones."""
    length, hosts, rows = 2000, 4, 40
    bad = tuple(range(0, length, round(1 / share)))
    plan = Loader((Toy(length, bad=bad),), [1.0], {"image": ImageStream(size=8)}, rows, prefetch=0).plan
    kept = [ledger(tmp_path, toy=length) for _ in range(hosts)]
    stopped = False
    for step in range(4 * length // rows):
        for host in range(hosts):
            kept[host].add(plan.make(step, host, hosts))
        if step * rows >= length:
            total = sum(len(lines(path)) for path in tmp_path.glob("skipped*.jsonl"))
            try:
                kept[0].judge(lambda counts, total=total: np.full_like(counts, total))
            except RunError:
                stopped = True
    assert stopped is stops


def test_what_an_earlier_start_met_later_does_not_count_yet(tmp_path):
    ledger(tmp_path).add(batch((1, 2), seen=1000, step=90))
    again = ledger(tmp_path)
    again.add(batch(range(10, 19), seen=1000, step=40))
    with pytest.raises(RunError, match="11 of the 1000"):
        again.add(batch((10,), seen=1000, step=91))


def test_an_interrupted_run_judges_as_one_that_was_not(tmp_path):
    """Bad items 3, 13, 23, ... of 200: above 1 %, so both stop at the same step with the same list."""
    made = Loader((Toy(200, bad=tuple(range(3, 200, 10))),), [1.0], {"image": ImageStream(size=8)}, 10, prefetch=0)
    stops = []
    for name, interruptions in (("a", ()), ("b", (4, 11))):
        folder = tmp_path / name
        folder.mkdir()
        kept, step = ledger(folder, toy=200), 0
        with pytest.raises(RunError):
            while True:
                kept.add(made.plan.make(step, 0, 1))
                if step in interruptions:
                    interruptions, kept, step = interruptions[1:], ledger(folder, toy=200), step - 2
                step += 1
        stops.append((step, lines(folder / "skipped.jsonl")))
    assert stops[0] == stops[1]
