"""Small towers that write: sections, batches and parameters for the tests of tasks with a decoder."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.batch import Batch, Stream
from mmjax.config import build
from mmjax.tasks import TASKS

SIZE, WORDS, BEGIN, EOS, PAD = 16, 23, 1, 2, 0
IMAGE = {"name": "vit", "patch": 8, "width": 32, "depth": 1, "heads": 2}
TEXT = {
    "name": "decoder", "vocabulary": WORDS, "length": 24, "width": 32, "depth": 1, "heads": 2, "mlp_dim": 64,
    "begin": BEGIN, "eos": EOS, "pad": PAD,
}  # fmt: skip


def make_task(name="caption", image=(), text=(), **options):
    """A task of two small towers."""
    streams = {"image": "image", "caption": "text"}
    if name == "answer" or options.get("prompt"):
        streams = {"image": "image", "question": "text", "answer": "text"}
    section = {"name": name, "streams": streams, **options}
    section["towers"] = {"image": {**IMAGE, **dict(image)}, "text": {**TEXT, **dict(text)}}
    return build(section, TASKS, "config.task")


def texts(rng, rows, length, begin=True, shortest=3):
    """Texts of random lengths: begin, words, end, padding of a value that must not matter."""
    data = rng.integers(3, WORDS, (rows, length)).astype(np.int32)
    ends = rng.integers(shortest - 1, length, rows)
    data[np.arange(rows), ends] = EOS
    if begin:
        data[:, 0] = BEGIN
    return Stream(jnp.asarray(data), jnp.ones(rows, bool), jnp.asarray(np.arange(length) <= ends[:, None]))


def make_batch(rows=4, seed=0, length=8, questions=6, **replaced):
    """Pictures with captions, questions and answers."""
    rng = np.random.default_rng(seed)
    pixels = jnp.asarray(rng.integers(0, 256, (rows, SIZE, SIZE, 3)).astype(np.uint8))
    streams = {
        "image": Stream(pixels, jnp.ones(rows, bool)),
        "caption": texts(rng, rows, length),
        "question": texts(rng, rows, questions),
        "answer": texts(rng, rows, length),
    }
    index = jnp.arange(rows, dtype=jnp.int32)
    return Batch(streams | replaced, jnp.ones(rows, bool), index, index)


def make_params(task, batch, seed=0, scale=0.3):
    """Parameters of every size: none is zero or one, so that none can hide."""
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [jnp.float32(scale * rng.normal(size=leaf.shape)) for leaf in leaves])
