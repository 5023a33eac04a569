"""Untrained models on disk, a softmax one and one with a bias, and a folder of photographs."""

import jax
import numpy as np
import pytest
from PIL import Image

from mmjax import bundle
from mmjax.config import build
from mmjax.data.streams import STREAMS
from mmjax.tasks import TASKS

SECTIONS = {
    "image": {"name": "image", "size": 32, "crop_scale": None},
    "caption": {"name": "text", "tokenizer": "bytes", "length": 64},
}
PROJECTIONS = ("project_image", "project_text")
TOWER = {"width": 16, "depth": 1, "heads": 2}


def make_model(seed=0, **options):
    """A model of a few thousand random parameters for 32-pixel pictures and texts of bytes."""
    streams = {name: build(section, STREAMS, name) for name, section in SECTIONS.items()}
    section = {
        "name": "align",
        "dim": 16,
        "towers": {
            "image": {"name": "vit", "patch": 8, **TOWER},
            "text": {"name": "text", **TOWER, "vocabulary": 259, "length": streams["caption"].length},
        },
        "streams": {"image": "image", "caption": "text"},
        "pairs": (("image", "caption"),),
        **options,
    }
    task = build(section, TASKS, "task")
    params = task.init(jax.random.key(seed), bundle.blank_batch(streams, 1))
    return bundle.Model(task, params, streams, {"task": section, "streams": SECTIONS, "config": {}})


def broken(model):
    """The model with a parameter in each tower that is no number, as after a training that diverged."""
    lost = {name: {"kernel": np.full_like(model.params[name]["kernel"], np.nan)} for name in PROJECTIONS}
    return bundle.Model(model.task, {**model.params, **lost}, model.streams, model.config)


@pytest.fixture(scope="session")
def model():
    return make_model()


@pytest.fixture(scope="session")
def sigmoid_model():
    return make_model(loss="sigmoid", scale_init=10.0, bias_init=-2.0)


@pytest.fixture(scope="session")
def clip(model, tmp_path_factory):
    """The softmax model as a bundle folder."""
    return str(bundle.save(tmp_path_factory.mktemp("models") / "clip", model))


@pytest.fixture(scope="session")
def siglip(sigmoid_model, tmp_path_factory):
    """The model with a bias as a bundle folder."""
    return str(bundle.save(tmp_path_factory.mktemp("models") / "siglip", sigmoid_model))


@pytest.fixture
def photos(tmp_path):
    """A folder of five pictures without captions, one of them in a subfolder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for i, name in enumerate(("a.jpg", "b.png", "c.jpg", "d.jpg", "more/e.jpg")):
        pixels = np.random.default_rng(i).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((90, 60)).save(folder / name)
    return folder
