"""The global batches of a step are the same on any number of hosts and workers, and from any start."""

import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from mmjax.bundle import blank_batch
from mmjax.data.loader import Loader
from mmjax.data.pipeline import Ahead
from mmjax.data.streams import ImageStream, PatchStream, TextStream
from mmjax.errors import UserError
from tests.data.toys import Failing, Platform, Toy

STREAMS = {
    "image": ImageStream(size=8, crop_scale=(0.3, 0.9), shift=1),
    "caption": TextStream(length=12, word_dropout=0.2),
    "other": TextStream(length=12, choice=1),
}
MIXTURE = (Toy(10, bad=(3,)), Toy(7, "second", mute=(2,)))


TEN = (Toy(10),)


def loader(sources=TEN, weights=None, batch_size=8, **options):
    options = {"streams": STREAMS, "seed": 5, "prefetch": 0, **options}
    return Loader(sources, weights or [1.0] * len(sources), batch_size=batch_size, **options)


def take(made, count, start=0, host=0, hosts=1):
    with made.batches(start, host, hosts) as batches:
        return [next(batches) for _ in range(count)]


def same(a, b):
    """Batches are equal in every array."""
    jax.tree.map(np.testing.assert_array_equal, a, b)


def joined(hosts, count, **options):
    """Global batches, put together from what each host reads."""
    parts = [take(loader(MIXTURE, [2, 1], **options), count, host=host, hosts=hosts) for host in range(hosts)]
    whole = [jax.tree.map(lambda *x: np.concatenate(x), *(p.batch for p in step)) for step in zip(*parts, strict=True)]
    return whole, [sorted((s.index, s.reason) for p in step for s in p.skips) for step in zip(*parts, strict=True)]


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_the_same_global_batches(hosts):
    whole, skips = joined(1, 9)
    shared, others = joined(hosts, 9)
    for a, b in zip(whole, shared, strict=True):
        same(a, b)
    assert skips == others and any(skips)


def test_threads_and_workers_change_nothing():
    alone = joined(1, 5)[0]
    for options in ({"prefetch": 3}, {"workers": 2, "prefetch": 1}):
        for a, b in zip(alone, joined(1, 5, **options)[0], strict=True):
            same(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_whole_grid_of_hosts_and_workers(hosts, workers):
    for a, b in zip(joined(1, 6)[0], joined(hosts, 6, workers=workers, prefetch=2)[0], strict=True):
        same(a, b)


@pytest.mark.parametrize("workers", [0, 1])
def test_patches_come_with_mask_and_position(workers):
    streams = {"image": PatchStream(patch=4, max_patches=6), "caption": TextStream(length=12)}
    source = Toy(6, bad=(1,), blind=(2,))
    (made,) = take(loader((source,), batch_size=6, streams=streams, workers=workers), 1)
    batch = made.batch
    image, row = batch["image"], int(np.flatnonzero(batch.index == 4)[0])
    assert image.data.shape == (6, 6, 48) and image.position.shape == (6, 6, 2) and image.mask.shape == (6, 6)
    assert image.position[row, :4].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] and image.position.dtype == np.int32
    assert image.mask.sum(axis=1).tolist() == [0 if i in (1, 2) else 4 for i in batch.index]
    for array in (image.data, image.mask, image.position):
        assert not array[~image.present].any()
    blank = blank_batch(streams, 6)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), blank) == jax.tree.map(lambda x: (x.shape, x.dtype), batch)


@pytest.mark.parametrize("start", [1, 4, 7])
def test_a_later_start_gives_the_same_batches(start):
    made = loader(MIXTURE, [2, 1])
    for a, b in zip(take(made, 10)[start:], take(made, 10 - start, start), strict=True):
        assert (a.step, a.source, a.seen, a.skips) == (b.step, b.source, b.seen, b.skips)
        same(a.batch, b.batch)


@pytest.mark.parametrize(("length", "batch_size"), [(1, 4), (3, 8), (10, 4), (8, 8), (13, 5)])
def test_every_epoch_shows_every_item_once(length, batch_size):
    batches = take(loader((Toy(length),), batch_size=batch_size), -(-4 * length // batch_size))
    index = np.concatenate([item.batch.index for item in batches])
    for epoch in range(4):
        assert sorted(index[epoch * length : (epoch + 1) * length]) == list(range(length))


def test_a_batch_has_one_source_and_a_mixture_its_shares():
    batches = take(loader(MIXTURE, [2, 1]), 9)
    assert [item.source for item in batches].count("toy") == 6
    for item in batches:
        assert item.batch.index.max() < (10 if item.source == "toy" else 7)
    for name, length in (("toy", 10), ("second", 7)):
        mine = [item for item in batches if item.source == name]
        assert [item.seen for item in mine] == [8 * (i + 1) for i in range(len(mine))]
        assert sorted(np.concatenate([item.batch.index for item in mine])[:length]) == list(range(length))


def test_random_choices_belong_to_the_item_and_the_epoch_not_to_the_batch():
    rows = {}
    for batch_size in (4, 8):
        batches = take(loader((Toy(12, size=30),), batch_size=batch_size), 48 // batch_size)
        for item in batches:
            for row, index in enumerate(item.batch.index.tolist()):
                rows.setdefault((batch_size, index), []).append(item.batch["caption"].data[row])
    for index in range(12):
        np.testing.assert_array_equal(rows[4, index], rows[8, index])
        assert len({tuple(row) for row in rows[4, index]}) > 1, "another epoch, another choice"


def test_a_bad_item_is_a_blank_row_and_shifts_nothing():
    good, spoiled = (take(loader((Toy(10, bad=bad),)), 5) for bad in ((), (3, 4)))
    for a, b in zip(good, spoiled, strict=True):
        np.testing.assert_array_equal(a.batch.index, b.batch.index)
        bad = np.isin(a.batch.index, (3, 4))
        np.testing.assert_array_equal(b.batch.valid, ~bad)
        assert [(skip.step, skip.source, skip.index, skip.id, skip.reason) for skip in b.skips] == [
            (b.step, "toy", i, f"item-{i}", f"item {i} is broken") for i in a.batch.index[bad]
        ]
        for name in STREAMS:
            assert not b.batch[name].data[bad].any() and not b.batch[name].present[bad].any()
            np.testing.assert_array_equal(b.batch[name].data[~bad], a.batch[name].data[~bad])


def test_sources_of_one_name_are_told_apart():
    made = loader((Toy(10), Toy(7, bad=(1,))))
    assert made.items == {"toy #1": 10, "toy #2": 7}
    assert {skip.source for item in take(made, 4) for skip in item.skips} == {"toy #2"}


def test_a_missing_stream_is_absent_and_the_row_stays_valid():
    for item in take(loader((Toy(10, mute=(3,), blind=(4,)),)), 3):
        index = item.batch.index
        assert item.batch.valid.all() and not item.skips
        np.testing.assert_array_equal(item.batch["caption"].present, index != 3)
        np.testing.assert_array_equal(item.batch["image"].present, index != 4)
        assert not item.batch["caption"].mask[index == 3].any()


def test_an_item_with_none_of_the_streams_is_bad():
    skips = [skip for item in take(loader((Toy(4, mute=(1,), blind=(1,)),)), 1) for skip in item.skips]
    assert {(skip.index, skip.reason) for skip in skips} == {(1, "it has none of the streams caption, image")}


def groups(group, source, **options):
    (item,) = take(loader((source,), batch_size=24, group=group, **options), 1)
    return item.batch.index, item.batch.group, item.batch


def test_groups_by_index():
    index, group, _ = groups("index", Toy(10))
    np.testing.assert_array_equal(index, group)


def test_groups_by_label():
    index, group, _ = groups("label", Toy(10, repeats=5))
    np.testing.assert_array_equal(group, index // 5)


def test_groups_by_the_text_that_was_chosen():
    streams = {"image": ImageStream(size=8), "caption": TextStream(length=12)}
    index, group, batch = groups("caption", Toy(12, repeats=3, mute=(4,)), streams=streams)
    texts = [tuple(row) for row in batch["caption"].data]
    has = np.flatnonzero(index != 4)
    for a in has:
        for b in has:
            assert (group[a] == group[b]) == (texts[a] == texts[b])
    assert (group[has] >= 0).all()
    assert (group[index == 4] == -6).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(sources=()), "0 sources"),
        (dict(weights=[1, 2]), "1 sources and 2 weights"),
        (dict(weights=[-1]), "weights must be positive"),
        (dict(sources=(Toy(0),)), "toy: the source is empty"),
        (dict(batch_size=0), "batch_size must be at least 1"),
        (dict(workers=-1), "not negative"),
        (dict(seed=-1), "not negative"),
        (dict(group="caption", streams={"image": ImageStream()}), "no stream is a text stream"),
    ],
)
def test_impossible_loaders_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        loader(**options)


def test_a_batch_that_does_not_divide_among_hosts_is_refused():
    with pytest.raises(UserError, match="batch_size 8 does not divide among 3 hosts"):
        loader().batches(0, 0, 3)


def test_labels_that_are_missing_are_refused():
    with pytest.raises(UserError, match="no label"):
        take(loader((NoLabel(),), group="label"), 1)


class NoLabel(Toy):
    def truth(self, index):
        return {}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bug_in_a_source_surfaces(workers):
    with pytest.raises(ZeroDivisionError, match="a bug in a source"):
        take(loader((Failing(),), workers=workers, prefetch=1), 1)


def test_workers_keep_off_the_accelerator():
    made = loader((Platform(),), streams={"image": ImageStream(size=8, crop_scale=None)}, workers=1, prefetch=1)
    assert (take(made, 1)[0].batch["image"].data == 7).all()


def test_prefetch_is_bounded():
    class Counting:
        made = 0

        def __len__(self):
            return 1000

        def __getitem__(self, number):
            Counting.made += 1
            return number

    with Ahead(Counting(), workers=0, prefetch=3) as batches:
        assert [next(batches) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert Counting.made <= 5 + 3


SCRIPT = """
from mmjax.bundle import blank_batch
from mmjax.data.loader import Loader
from mmjax.data.streams import TextStream
from tests.data.toys import Toy

def main():
    loader = Loader((Toy(),), [1.0], {"caption": TextStream()}, 4, workers=WORKERS)
    with loader.batches() as batches:
        last = next(batches)
    print(last.step)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_the_interpreter_ends_in_silence(workers, tmp_path, request):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("WORKERS", str(workers)))
    done = subprocess.run(
        [sys.executable, str(script)], env={"PYTHONPATH": str(request.config.rootpath)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


SIGNALLED = """
import os, pathlib, signal, time
from mmjax.bundle import blank_batch
from mmjax.data.loader import Loader
from mmjax.data.streams import TextStream
from tests.data.toys import Toy

def main():
    signal.signal(signal.SIGTERM, lambda *_: None)
    loader = Loader((Toy(),), [1.0], {"caption": TextStream()}, 4, workers=1)
    with loader.batches() as batches:
        next(batches)
        os.killpg(0, signal.SIGTERM)
        time.sleep(0.5)
        for _ in range(9):
            step = next(batches).step
        children = [task.joinpath("children").read_text() for task in pathlib.Path("/proc/self/task").iterdir()]
        print(step, *children, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_workers_outlive_signals_to_the_group_but_not_their_parent(tmp_path, request):
    script = tmp_path / "script.py"
    script.write_text(SIGNALLED)
    environment = {"PYTHONPATH": str(request.config.rootpath)}
    run = [sys.executable, str(script)]
    with subprocess.Popen(run, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        step, *workers = parent.stdout.readline().split()
    assert step == "9" and workers
    deadline = time.monotonic() + 20
    while alive := [pid for pid in workers if pathlib.Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"workers {alive} are still there"
        time.sleep(0.1)
