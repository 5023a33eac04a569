"""Untrained models that write, in memory and on disk."""

import jax

from mmjax import bundle
from mmjax.config import build
from mmjax.data.streams import STREAMS
from mmjax.tasks import TASKS
from mmjax.training.assemble import complete

TEXT = {"name": "text", "tokenizer": "bytes"}
PICTURE = {"name": "image", "size": 32, "crop_scale": None}
SECTIONS = {
    "caption": {"image": PICTURE, "caption": {**TEXT, "length": 12}},
    "answer": {
        "image": PICTURE,
        "question": {**TEXT, "field": "question", "length": 24},
        "answer": {**TEXT, "field": "answer", "length": 8},
    },
}
TOWER = {"width": 16, "depth": 1, "heads": 2}


def make_writer(name, seed=0, **options):
    """A model of a few thousand random parameters that writes captions or answers of bytes."""
    sections = SECTIONS[name]
    streams = {key: build(section, STREAMS, key) for key, section in sections.items()}
    section = {
        "name": name,
        "towers": {"image": {"name": "vit", "patch": 8, **TOWER}, "text": {"name": "decoder", "mlp_dim": 32, **TOWER}},
        "streams": {key: "image" if key == "image" else "text" for key in sections},
        **options,
    }
    section = complete(section, streams)
    task = build(section, TASKS, "task")
    params = task.init(jax.random.key(seed), bundle.blank_batch(streams, 1))
    params = jax.tree.map(lambda x: 3 * x, params)  # far from uniform
    return bundle.Model(task, params, streams, {"task": section, "streams": sections, "config": {}})
