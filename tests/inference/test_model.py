"""`Model.embed`, `similarity` and `classify`: what may be handed over, in which shapes, and what comes back."""

import io
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from mmjax import items
from mmjax.errors import UserError
from mmjax.items import bucket
from tests.inference.conftest import make_model

TEXTS = [f"caption {i}" for i in range(11)]


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 48, 40, 3), dtype=np.uint8)


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_paths_bytes_arrays_and_pictures_are_one(model, pixels, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(png(pixels[0]))
    values = [str(path), path, path.read_bytes(), pixels[0], Image.fromarray(pixels[0])]
    features = model.embed(image=values)
    assert features.shape == (5, 16) and features.dtype == np.float32
    np.testing.assert_allclose(features, features[:1].repeat(5, 0), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_a_pil_picture_is_treated_as_its_file_would_be(model, pixels, tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(pixels[0]).convert("RGBA").save(tmp_path / "turned.png", exif=tags)
    with Image.open(tmp_path / "turned.png") as picture:
        a, b = model.embed(image=[tmp_path / "turned.png", picture])
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_one_stream_is_an_array_and_several_are_a_dict(model, pixels):
    both = model.embed(image=pixels, text=TEXTS)
    assert list(both) == ["image", "text"] and both["image"].shape == (3, 16) and both["text"].shape == (11, 16)
    np.testing.assert_array_equal(both["text"], model.embed(caption=TEXTS))
    assert model.embed(text=[]).shape == (0, 16)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11])
def test_batching_changes_nothing(model, count):
    alone = np.concatenate([model.embed(text=[text]) for text in TEXTS[:count]])
    np.testing.assert_allclose(model.embed(text=TEXTS[:count], batch_size=4), alone, atol=1e-6)


def test_a_stream_compiles_once_for_full_batches_and_once_a_bucket():
    model = make_model(scale_init=3.0)  # a task of its own, so a program of its own
    for count in (9, 10, 11, 12, 20, 27):
        model.embed(text=[f"{i}" for i in range(count)], batch_size=8)
    sizes = {8, *(bucket(count % 8, 8) for count in (9, 10, 11, 12, 20, 27))}
    assert items.program(model.task, "caption")._cache_size() == len(sizes) == 4


def test_buckets_are_powers_of_two_below_the_largest():
    assert [bucket(n, 48) for n in (1, 2, 3, 5, 9, 33, 48)] == [1, 2, 4, 8, 16, 48, 48]


def test_similarity_is_the_matrix_of_cosines(model, pixels):
    cosines = model.similarity(image=pixels, text=TEXTS)
    assert cosines.shape == (3, 11)
    np.testing.assert_allclose(cosines, model.embed(image=pixels) @ model.embed(text=TEXTS).T, atol=1e-6)
    np.testing.assert_allclose(model.similarity(text=TEXTS, image=pixels), cosines.T, atol=1e-6)


def test_a_softmax_model_classifies_by_softmax(model, pixels):
    templates = ("a {}", "two {}s")
    found = model.classify(pixels, ["dog", "cat", "owl"], templates)
    texts = model.embed(text=[t.replace("{}", label) for label in ("dog", "cat", "owl") for t in templates])
    classes = texts.reshape(3, 2, -1).mean(1)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    expected = jax.nn.softmax(model.embed(image=pixels) @ classes.T / 0.07, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_a_model_with_a_bias_judges_each_label_by_itself(sigmoid_model, pixels):
    found = sigmoid_model.classify(pixels, ["dog", "cat"])
    texts = sigmoid_model.embed(text=["a photo of a dog.", "a photo of a cat."])
    logits = 10 * sigmoid_model.embed(image=pixels) @ texts.T - 2
    np.testing.assert_allclose(found, jax.nn.sigmoid(logits), atol=1e-5)
    np.testing.assert_allclose(sigmoid_model.classify(pixels, ["dog"])[:, 0], found[:, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda m: m.embed(), "embed what"),
        (lambda m: m.embed(sound=[]), "no stream 'sound'; it has image, caption"),
        (lambda m: m.embed(text="a dog"), "text is a list of items"),
        (lambda m: m.embed(text=3), "text is a list of items"),
        (lambda m: m.embed(image=np.zeros((40, 48, 3), np.uint8)), "image is a list of items"),
        (lambda m: m.embed(image=np.zeros((40, 48), np.uint8)), "image is a list of items"),
        (lambda m: m.embed(image=Image.new("RGB", (40, 48))), "image is a list of items"),
        (lambda m: m.classify(Image.new("RGB", (40, 48)), ["dog"]), "image is a list of items"),
        (
            lambda m: m.embed(image=[np.zeros((0, 48, 3), np.uint8)]),
            r"ndarray\[0, 48, 3\]: it is empty",
        ),
        (lambda m: m.embed(image=np.zeros((1, 40, 0, 3), np.uint8)), r"ndarray\[40, 0, 3\]: it is empty"),
        (lambda m: m.embed(image=[Image.new("RGB", (0, 48))]), "image Image: it is empty"),
        (lambda m: m.embed(image=["a\0.png"]), r"image 'a\\x00.png': a path holds no zero byte"),
        (lambda m: m.embed(text=["a", ""]), "caption '': caption is empty"),
        (lambda m: m.embed(text=[3]), "a text is str, not int"),
        (lambda m: m.embed(text=["a"], batch_size=0), "batch_size must be at least 1"),
        (lambda m: m.embed(image=[pathlib.Path("gone.jpg")]), "image 'gone.jpg': No such file"),
        (lambda m: m.embed(image=[b"junk"]), "image bytes of 4: not an image"),
        (lambda m: m.embed(image=[np.zeros((4, 4), np.float32)]), r"ndarray\[4, 4\]: the image is an array float32"),
        (lambda m: m.similarity(image=[]), "takes two streams"),
        (lambda m: m.classify([], []), "at least one text"),
        (lambda m: m.classify([], [1, 2]), "a label is text, not 1"),
        (lambda m: m.classify([], "dog"), "labels and templates are lists"),
        (lambda m: m.classify([], ["dog"], ("a dog",)), "exactly one {}"),
    ],
)
def test_wrong_use_is_one_line(model, use, message):
    with pytest.raises(UserError, match=message) as error:
        use(model)
    assert "\n" not in str(error.value)
