"""An evaluation set: every row there, in order, whatever is broken and however many hosts read it."""

import numpy as np
import pytest

from mmjax.data.evaluation import EvalData
from mmjax.data.streams import ImageStream, PatchStream, TextStream
from mmjax.errors import BadItem, UserError
from tests.data.toys import Toy

STREAMS = {
    "image": ImageStream(size=8, crop_scale=(0.3, 0.5), shift=2),
    "caption": TextStream(length=16, word_dropout=0.5),
    "foil": TextStream(field="foil", length=16),
}


SEVEN = Toy(7)


def data(source=SEVEN, batch_size=4, **options):
    return EvalData(source, STREAMS, batch_size, **options)


def rows(batches):
    """All rows of some batches, end to end: valid, index, group, data."""
    batches = list(batches)
    (name,) = batches[0].streams
    parts = [(b.valid, b.index, b.group, b[name].data, b[name].present) for b in batches]
    return [np.concatenate(x) for x in zip(*parts, strict=True)]


def texts(pixels_or_ids):
    tokenizer = STREAMS["caption"].loaded()
    return [tokenizer.decode(row.tolist()) for row in pixels_or_ids]


def test_images_have_one_row_an_item_in_order():
    valid, index, group, pixels, present = rows(data().batches("image"))
    assert data().count("image") == 7 and len(valid) == 8
    assert valid.tolist() == present.tolist() == [True] * 7 + [False]
    assert index[:7].tolist() == group[:7].tolist() == data().owner("image").tolist() == list(range(7))
    assert pixels[:7].max((1, 2, 3)).tolist() == list(range(7)), "evaluation crops and shifts nothing"
    assert not pixels[7].any()


def test_patches_come_with_mask_and_position():
    found = EvalData(SEVEN, {"image": PatchStream(patch=4, max_patches=6)}, 4)
    images = [batch["image"] for batch in found.batches("image")]
    assert [image.position.shape for image in images] == [(4, 6, 2)] * 2
    assert np.concatenate([image.mask.sum(axis=1) for image in images]).tolist() == [4] * 7 + [0]
    assert images[0].position[0].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize(("stream", "prefix"), [("caption", ""), ("foil", "not ")])
def test_texts_have_a_row_for_every_text(stream, prefix):
    valid, index, group, ids, _ = rows(data().batches(stream))
    assert data().count(stream) == 14 and valid.sum() == 14 and len(valid) == 16
    assert index[:14].tolist() == list(range(14))
    assert group[:14].tolist() == data().owner(stream).tolist() == [i // 2 for i in range(14)]
    assert texts(ids[:14]) == [f"{prefix}{word} {i}" for i in range(7) for word in ("one", "two")]


def test_limit_takes_the_first_items():
    assert (data(limit=3).count("image"), data(limit=3).count("caption")) == (3, 6)
    assert data(limit=99).count("image") == 7


@pytest.mark.parametrize("stream", ["image", "caption"])
@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_each_global_batch(stream, hosts):
    whole = list(data().batches(stream))
    shares = [list(data().batches(stream, host, hosts)) for host in range(hosts)]
    assert {len(share) for share in shares} == {len(whole)}
    for number, batch in enumerate(whole):
        np.testing.assert_array_equal(batch.index, np.concatenate([share[number].index for share in shares]))
        np.testing.assert_array_equal(batch.valid, np.concatenate([share[number].valid for share in shares]))
        np.testing.assert_array_equal(
            batch[stream].data, np.concatenate([share[number][stream].data for share in shares])
        )


@pytest.mark.parametrize("hosts", [1, 2])
def test_parts_begin_their_own_batches(hosts):
    parts = [range(2, 7), range(10, 11), range(12, 14)]
    shares = [list(data().batches("caption", host, hosts, parts)) for host in range(hosts)]
    found = [np.concatenate([share[n].index for share in shares]) for n in range(4)]
    valid = [np.concatenate([share[n].valid for share in shares]) for n in range(4)]
    assert [index[ok].tolist() for index, ok in zip(found, valid, strict=True)] == [[2, 3, 4, 5], [6], [10], [12, 13]]
    assert {len(share) for share in shares} == {4} and not list(data().batches("caption", parts=[]))
    np.testing.assert_array_equal(shares[0][0]["caption"].data[0], rows(data().batches("caption"))[3][2])


def test_what_was_skipped_is_taken_once():
    broken = data(Toy(7, bad=(2, 5)))
    for parts, bad in (([range(0, 4)], [2]), ([range(4, 7)], [5]), ([range(0, 7)], [2, 5])):
        list(broken.batches("image", parts=parts))
        assert [skip.index for skip in broken.take_skipped()] == bad
    assert broken.skipped == []


def test_bad_items_keep_their_rows_and_are_listed_once():
    broken = data(Toy(7, bad=(2, 5)))
    for _ in range(2):
        valid, *_ = rows(broken.batches("image"))
        assert np.flatnonzero(~valid).tolist() == [2, 5, 7]
        valid, _, group, *_ = rows(broken.batches("caption"))
        assert broken.count("caption") == 5 * 2 + 2
        assert group[:12][~valid[:12]].tolist() == [2, 5]
    assert [(skip.index, skip.id, skip.reason) for skip in broken.skipped] == [
        (i, f"item-{i}", f"item {i} is broken") for i in (2, 5)
    ]


def test_an_item_without_a_caption_is_a_bad_row_of_the_captions_alone():
    mute = data(Toy(4, mute=(1,)))
    assert rows(mute.batches("image"))[0].all()
    assert not mute.skipped
    assert mute.count("caption") == 7
    assert rows(mute.batches("caption"))[0].tolist() == [True, True, False, True, True, True, True, False]
    assert [(skip.index, skip.reason) for skip in mute.skipped] == [(1, "no caption")]


def test_an_item_without_a_picture_is_listed():
    blind = data(Toy(4, blind=(3,)))
    assert rows(blind.batches("image"))[0].tolist() == [True, True, True, False]
    assert [skip.index for skip in blind.skipped] == [3]


def test_texts_of_no_item():
    valid, index, _, ids, _ = rows(data().text_batches("caption", ["a", "bb", "a", "c", "d"]))
    assert valid.tolist() == [True] * 5 + [False] * 3
    assert index[:5].tolist() == list(range(5))
    assert texts(ids[:5]) == ["a", "bb", "a", "c", "d"]
    with pytest.raises(BadItem, match="empty"):
        list(data().text_batches("caption", [""]))


def test_workers_change_nothing():
    for a, b in zip(rows(data().batches("caption")), rows(data(workers=1).batches("caption")), strict=True):
        np.testing.assert_array_equal(a, b)


def test_truth_is_the_sources():
    assert data().truth(3) == {"label": 3}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data(batch_size=0), "batch_size and limit"),
        (lambda: data(limit=0), "batch_size and limit"),
        (lambda: data(workers=-1), "workers must not be negative"),
        (lambda: data(Toy(0)), "toy: the source is empty"),
        (lambda: data().count("sound"), "no stream 'sound'; the streams are image, caption, foil"),
        (lambda: list(data().batches("image", 0, 3)), "does not divide among 3 hosts"),
    ],
)
def test_impossible_sets_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("hosts", [1, 2])
def test_items_come_whole_once_and_in_order(hosts):
    """Several streams in one row, the first text of each; hosts have parts of each batch."""
    parts = [list(data().item_batches(("image", "caption"), host, hosts)) for host in range(hosts)]
    batches = [b for pair in zip(*parts, strict=True) for b in pair]
    valid, index = (np.concatenate([getattr(b, key) for b in batches]) for key in ("valid", "index"))
    assert index[valid].tolist() == list(range(7)) and len(valid) == 8
    pixels, ids = (np.concatenate([b[name].data for b in batches]) for name in ("image", "caption"))
    assert pixels[valid].max((1, 2, 3)).tolist() == list(range(7))
    assert texts(ids[valid]) == [SEVEN.captions(i)[0] for i in range(7)]


def test_an_item_without_one_of_the_streams_is_bad():
    streams = {**STREAMS, "sound": TextStream(field="sound", length=16)}
    found = EvalData(SEVEN, streams, 4)
    assert not np.concatenate([b.valid for b in found.item_batches(("image", "sound"))]).any()
    assert [skip.reason for skip in found.skipped] == ["no sound"] * 7
    with pytest.raises(UserError, match="no stream 'smell'"):
        list(found.item_batches(("image", "smell")))
    with pytest.raises(UserError, match="does not divide among 3 hosts"):
        list(found.item_batches(("image",), 0, 3))
