"""A task that writes what the test has chosen, and a set whose items it writes about."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from mmjax.batch import Batch, Stream
from mmjax.data.tokenizers.bytes import Bytes
from mmjax.decoding.prompt import Generated
from tests.evaluation.fakes import FakeSet, FakeSource

LENGTH = 260


@dataclasses.dataclass(frozen=True)
class Scripted:
    """Writes row `index` of its parameters; a text of n tokens has the log-probability -n."""

    reads: tuple[str, ...] = ("image",)

    def generate(self, params, batch, rng=None, *, decoding, answers=None):
        ids = params[batch.index]
        mask = ids > 0
        logprobs = -mask.astype(jnp.float32)
        return Generated(ids, mask, logprobs, logprobs.sum(axis=1))

    def score(self, params, batch, rng=None):
        tokens = batch["caption"].mask.sum(axis=1).astype(jnp.float32)
        return {"logprob": -0.5 * tokens, "tokens": tokens}


def script(texts):
    """Parameters that make `Scripted` write these texts."""
    return jnp.asarray(np.stack([Bytes().encode(text, LENGTH)[0] for text in texts]))


class WrittenSet(FakeSet):
    """Items with the given truths; those in `corrupt` come as invalid rows and are listed, those in `lose` are not."""

    def __init__(self, truths, corrupt=(), lose=(), batch_size=8):
        self.truths, self.bad, self.corrupt, self.batch_size = truths, {*corrupt, *lose}, corrupt, batch_size
        self.source, self.items, self.skipped = FakeSource(truths), len(truths), []
        text = SimpleNamespace(kind="text", longest=LENGTH - 1, loaded=Bytes)
        self.streams = {"image": SimpleNamespace(kind="image"), "caption": text, "answer": text}

    def item_batches(self, streams, host=0, hosts=1):
        mine = [i for i in self.corrupt if i % hosts == host]
        self.skipped += [SimpleNamespace(index=i) for i in mine]
        rows = self.batch_size // hosts
        for start in range(0, self.items, self.batch_size):
            index = np.arange(start + host * rows, start + (host + 1) * rows)
            valid = (index < self.items) & ~np.isin(index, list(self.bad))
            index = np.where(valid, index, 0).astype(np.int32)
            pixels = Stream(np.zeros((rows, 1, 1, 3), np.uint8), valid)
            told = [Bytes().encode(self.truths[i].get("captions", ("x",))[0], LENGTH) for i in index]
            text = Stream(np.stack([ids for ids, _ in told]), valid, np.stack([mask for _, mask in told]))
            every = {"image": pixels, "caption": text}
            yield Batch({name: every[name] for name in streams}, valid, index, index)
