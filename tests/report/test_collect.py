"""What a report picks from a set: it agrees with the evaluators, shows hits and misses, and survives the disk."""

import jax
import numpy as np
import pytest

from mmjax.errors import UserError
from mmjax.evaluation.retrieval import Retrieval
from mmjax.mesh import MeshShape, make_mesh
from mmjax.report.collect import Side, collect, pick, principal_axes, spaced
from mmjax.report.data import load, save
from tests.evaluation.fakes import unit
from tests.report.fakes import fake_model


def test_hits_and_misses_half_and_half():
    data = collect(*fake_model(), {})
    for queries in (data.text_queries, data.image_queries):
        assert [query.rank == 1 for query in queries] == [True] * 4 + [False] * 4
        for query in queries:
            assert query.right[0] is (query.rank == 1)
            assert list(query.scores) == sorted(query.scores, reverse=True)
            if query.rank <= len(query.right):
                assert query.right.index(True) == query.rank - 1
            assert query.answer[0] == query.item


def test_a_perfect_model_has_no_misses_to_show():
    model, data = fake_model(noise=0.01)
    assert Retrieval().run(model.task, model.params, data)["retrieval/text_to_image/R@1"] == 1
    assert [query.rank for query in collect(model, data, {}).text_queries] == [1] * 8


def test_items_of_the_same_label_are_right():
    data = collect(*fake_model(noise=2.0, label=lambda item: item % 2), {})
    for query in data.text_queries:
        assert [item % 2 == query.item % 2 for item in query.items] == list(query.right)
    assert set(data.point_groups) == {"0", "1"}


def test_a_tie_with_a_wrong_candidate_is_shown_as_lost():
    x = unit(np.eye(3)[[0, 1, 2]])
    queries = Side(x[:1], np.array([0]), np.array([0], np.int32), ["q"])
    candidates = Side(x[[0, 0, 1]], np.array([0, 1, 2]), np.array([0, 1, 2], np.int32), [""] * 3)
    (query,) = pick(queries, candidates)
    assert (query.rank, query.items[0], query.right[:2]) == (2, 1, (False, True))


def test_every_picture_that_is_shown_is_there_and_small():
    data = collect(*fake_model(), {})
    named = {item for query in data.text_queries for item in (*query.items, query.answer[0])}
    named |= {query.item for query in data.image_queries} | set(data.matrix_items) | set(data.attention_items)
    assert named <= data.pictures.keys()
    assert named | set(data.point_items) <= data.captions.keys()
    assert all(picture.dtype == np.uint8 and max(picture.shape) <= 112 for picture in data.pictures.values())


def test_captions_stand_at_their_item_where_others_could_not_be_read():
    model, data = fake_model()
    data.corrupt = {0, 7}
    found = collect(model, data, {})
    assert found.size == 58
    assert all(f"of item {item}" in text for item, text in found.captions.items())
    assert all(f"of item {query.item}" in query.text for query in found.text_queries)


def test_the_same_on_eight_devices():
    model, data = fake_model()
    mesh = make_mesh(MeshShape(), jax.devices())
    a, b = collect(model, data, {}), collect(model, data, {}, mesh)
    assert [query.items for query in a.text_queries] == [query.items for query in b.text_queries]


def test_saved_and_loaded_is_the_same(tmp_path):
    assert load(tmp_path) is None
    data = collect(*fake_model(), {"prompts": "x"})
    save(tmp_path, data)
    again = load(tmp_path)
    assert again.text_queries == data.text_queries and again.captions == data.captions
    assert again.notes == {"prompts": "x"}
    np.testing.assert_array_equal(again.matrix, data.matrix)
    assert all((again.pictures[item] == picture).all() for item, picture in data.pictures.items())


def test_a_model_without_texts_has_no_examples():
    model, data = fake_model()
    del model.streams["caption"]
    with pytest.raises(UserError, match="reads no text"):
        collect(model, data, {})


def test_principal_axes_find_the_plane_that_the_points_lie_in():
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(8, 2)))[0]
    images = (rng.normal(size=(50, 2)) * [3, 1]) @ plane.T + 5
    points, explained, gap = principal_axes(np.float32(images), np.float32(images - 2))
    assert explained == pytest.approx(1, abs=1e-5)
    assert gap == pytest.approx(np.linalg.norm(np.full(8, 2)), abs=1e-4)
    np.testing.assert_allclose(points[:, 0], points[:, 1], atol=1e-4)  # each modality around its own mean
    distance = np.linalg.norm(images[0] - images[1])
    assert np.linalg.norm(points[0, 0] - points[1, 0]) == pytest.approx(distance, rel=1e-4)


def test_spaced_takes_what_there_is():
    assert spaced(0, 3).tolist() == []
    assert spaced(2, 3).tolist() == [0, 1]
    assert spaced(11, 3).tolist() == [0, 5, 10]
