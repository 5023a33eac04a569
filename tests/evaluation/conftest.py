"""An untrained model on disk."""

import jax
import pytest

from mmjax import bundle
from mmjax.config import build
from mmjax.data.streams import STREAMS
from mmjax.tasks import TASKS

STREAM_SECTIONS = {
    "image": {"name": "image", "size": 32, "crop_scale": None},
    "caption": {"name": "text", "tokenizer": "bytes", "length": 64},
}
TOWER = {"width": 16, "depth": 1, "heads": 2}


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    """A bundle folder of a model of a few thousand parameters for 32-pixel pictures and texts of bytes."""
    streams = {name: build(section, STREAMS, name) for name, section in STREAM_SECTIONS.items()}
    task_section = {
        "name": "align",
        "dim": 16,
        "towers": {
            "image": {"name": "vit", "patch": 8, **TOWER},
            "text": {"name": "text", **TOWER, "vocabulary": 259, "length": streams["caption"].length},
        },
        "streams": {"image": "image", "caption": "text"},
        "pairs": (("image", "caption"),),
    }
    task = build(task_section, TASKS, "task")
    params = task.init(jax.random.key(0), bundle.blank_batch(streams, 1))
    config = {"task": task_section, "streams": STREAM_SECTIONS, "config": {"data": {"test": "world:scenes/val"}}}
    return bundle.save(tmp_path_factory.mktemp("model"), bundle.Model(task, params, streams, config))
