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


def make_writer(name, seed=0, answers_of=None, **options):
    """A model of a few thousand random parameters that writes captions or answers of bytes, or chooses from a list."""
    sections = SECTIONS["answer" if name == "choose" else name]
    if answers_of is not None:
        sections = {**sections, "answer": {"name": "answers", "answers": answers_of}}
    streams = {key: build(section, STREAMS, key) for key, section in sections.items()}
    section = {
        "name": name,
        "towers": {"image": {"name": "vit", "patch": 8, **TOWER}, "text": {"name": "decoder", "mlp_dim": 32, **TOWER}},
        "streams": {
            key: "image" if key == "image" else "text" for key in sections if sections[key]["name"] != "answers"
        },
        **options,
    }
    section = complete(section, streams)
    task = build(section, TASKS, "task")
    params = task.init(jax.random.key(seed), bundle.blank_batch(streams, 1))
    params = jax.tree.map(lambda x: 3 * x, params)  # far from uniform
    return bundle.Model(task, params, streams, {"task": section, "streams": sections, "config": {}})
