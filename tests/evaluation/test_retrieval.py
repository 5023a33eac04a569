"""Retrieval equals brute force with many captions an item and ties, on any number of devices, for any tile size."""

import jax
import numpy as np
import pytest

from mmjax.errors import UserError
from mmjax.evaluation.ranking import wrong_before
from mmjax.evaluation.retrieval import Retrieval, rank, scores
from mmjax.mesh import MeshShape, make_mesh
from tests.evaluation.fakes import FakeSet, Lookup, unit


def reference(a, b, owner_a, owner_b, *, ties="lost", one_to_one=False):
    """Metrics from the full matrix, query by query. The keywords make mutants of it."""
    metrics = {"R@1": [], "R@5": [], "rank": [], "mAP": []}
    for i, row in enumerate(np.float64(a) @ np.float64(b).T):
        right = np.flatnonzero(owner_b == owner_a[i])[: 1 if one_to_one else None]
        wrong = np.delete(row, right)
        before = [np.sum(wrong > row[j] + 1e-6 if ties == "won" else wrong >= row[j] - 1e-6) for j in right]
        before.sort()
        metrics["R@1"].append(before[0] < 1)
        metrics["R@5"].append(before[0] < 5)
        metrics["rank"].append(before[0] + 1)
        metrics["mAP"].append(np.mean([(r + 1) / (r + 1 + n) for r, n in enumerate(before)]))
    out = {key: np.mean(value) for key, value in metrics.items()}
    return {"R@1": out["R@1"], "R@5": out["R@5"], "median_rank": np.median(metrics["rank"]), "mAP": out["mAP"]}


def five_captions():
    """Three images on the axes, five captions each; of image 0 one is exact, one tied with a wrong one; and so on."""
    x, y, z = np.eye(3)
    images = np.stack([x, y, z])
    captions = [
        [x, (x + y) / 2, y, z, x + z],
        [y, y, y, (x + y) / 2, y + z],
        [x, x, x, x, (x + z)],  # none of image 2's is the best for it alone
    ]
    return unit(images), unit(np.concatenate(captions)), np.arange(3), np.repeat(np.arange(3), 5)


def run(images, captions, items, owner, **options):
    data = FakeSet({"image": images, "caption": captions}, {"image": items, "caption": owner})
    return Retrieval(at=(1, 5)).run(Lookup(), np.float32(1), data, **options)


def test_hand_made_case_with_five_captions_an_image():
    images, captions, items, owner = five_captions()
    metrics = run(images, captions, items, owner)
    # image 0 scores its exact caption 1.0, and so does image 2's caption "x": tied with four wrong ones, rank 5.
    # image 1 has three exact captions, tied only with image 0's caption "y": rank 2. Image 2's best is (x + z), at
    # 0.707, behind image 0's "z" and tied with image 0's (x + z) and image 1's (y + z): rank 4.
    assert metrics["retrieval/image_to_text/R@1"] == 0
    assert metrics["retrieval/image_to_text/R@5"] == 1
    assert metrics["retrieval/image_to_text/median_rank"] == 4
    assert metrics["retrieval/image_to_text/queries"] == 3
    # captions that find their image alone at the top: "x" of image 0 and the three "y" of image 1.
    assert metrics["retrieval/text_to_image/R@1"] == pytest.approx(4 / 15)


@pytest.mark.parametrize("mutant", [{}, {"ties": "won"}, {"one_to_one": True}])
def test_equals_brute_force_and_rejects_mutants(mutant):
    images, captions, items, owner = five_captions()
    metrics = run(images, captions, items, owner)
    sides = {"image_to_text": (images, captions, items, owner), "text_to_image": (captions, images, owner, items)}
    references = {side: reference(*args, **mutant) for side, args in sides.items()}
    expected = {f"{side}/{key}": value for side in sides for key, value in references[side].items()}
    measured = {key: metrics[f"retrieval/{key}"] for key in expected}
    assert (measured == pytest.approx(expected)) is (not mutant)


def random_set(n=53, m=131, d=6, seed=0):
    """Coarse features, so that ties are many; every item has a caption or more. Both sizes are prime."""
    rng = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(n), rng.integers(0, n, m - n)])
    rng.shuffle(owner)
    images = rng.integers(-1, 2, (n, d)) + np.eye(d)[0] * 0.5
    captions = images[owner] + rng.integers(-1, 2, (m, d))
    captions[np.all(captions == 0, axis=1)] = 1
    return unit(images), unit(captions), np.arange(n), owner


@pytest.mark.parametrize(("rows", "columns"), [(4096, 4096), (7, 131), (53, 10), (1, 1)])
def test_tiles_of_any_size_count_the_same(rows, columns):
    images, captions, items, owner = random_set()
    counts = wrong_before(images, items, captions, owner, rows=rows, columns=columns)
    measured = scores(counts, (1, 5))
    del measured["queries"]
    assert measured == pytest.approx(reference(images, captions, items, owner))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (8, 1, 1), (2, 2, 2)])
def test_a_prime_number_of_rows_on_any_number_of_devices(shape):
    images, captions, items, owner = random_set()
    mesh = make_mesh(MeshShape(*shape), jax.devices()[: int(np.prod(shape))])
    assert run(images, captions, items, owner, mesh=mesh) == run(images, captions, items, owner)


def test_corrupt_items_are_neither_queries_nor_candidates():
    images, captions, items, owner = random_set()
    data = FakeSet({"image": images, "caption": captions}, {"image": items, "caption": owner}, corrupt=[3, 17])
    metrics = Retrieval().run(Lookup(), np.float32(1), data)
    kept = ~np.isin(owner, [3, 17])
    left = np.delete(images, [3, 17], axis=0)
    expected = reference(left, captions[kept], np.delete(items, [3, 17]), owner[kept])
    assert metrics["retrieval/image_to_text/mAP"] == pytest.approx(expected["mAP"])
    assert metrics["retrieval/image_to_text/queries"] == 51
    assert metrics["retrieval/text_to_image/queries"] == kept.sum()


def test_a_caption_whose_picture_is_lost_is_a_distractor_and_no_query():
    images, captions, items, owner = random_set()
    from mmjax.evaluation.predict import Embedded

    read = items != 5
    counts = rank(Embedded(captions, np.ones(len(owner), bool), owner), Embedded(images, read, items))
    assert len(counts) == np.sum(owner != 5)


def test_a_lost_row_is_an_error():
    images, captions, items, owner = random_set()
    data = FakeSet({"image": images, "caption": captions}, {"image": items, "caption": owner}, lose=[9])
    with pytest.raises(RuntimeError, match=r"52 rows scored, 0 skipped, of a set of 53: 1 rows are lost.*row 9"):
        Retrieval().run(Lookup(), np.float32(1), data)


def test_nothing_readable_is_a_clear_error():
    images, captions, items, owner = random_set()
    data = FakeSet({"image": images, "caption": captions}, {"image": items, "caption": owner}, corrupt=range(53))
    with pytest.raises(UserError, match="no row of stream 'image' could be read"):
        Retrieval().run(Lookup(), np.float32(1), data)


def test_a_model_that_gives_nan_never_wins():
    images, captions, items, owner = random_set()
    counts = wrong_before(images * np.nan, items, captions, owner)
    assert scores(counts, (1,))["R@1"] == 0


def test_a_model_that_gives_one_point_never_wins():
    images, captions, items, owner = random_set()
    counts = wrong_before(images * 0 + unit(np.ones(6)), items, captions * 0 + unit(np.ones(6)), owner)
    assert scores(counts, (1, 10))["R@10"] == 0


def test_memory_is_that_of_a_tile_not_of_the_matrix():
    from mmjax.evaluation.ranking import _count

    n, d, columns = 1 << 20, 64, 1024
    shape = jax.ShapeDtypeStruct
    args = [shape((1024, d), "float32"), shape((1024,), "int32"), shape((1024, 5), "int32")]
    args += [shape((n, d), "float32"), shape((n,), "int32")]
    memory = _count.lower(*args, columns=columns, out=None).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 16 * 1024 * columns * 4  # a few tiles; one row of tiles would be 4 GiB
