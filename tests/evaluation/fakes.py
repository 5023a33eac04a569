"""A task and a set whose features are chosen by the test: what an evaluator makes of them can be checked by hand."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np

from mmjax.batch import Batch, Stream
from mmjax.errors import BadItem


@dataclasses.dataclass(frozen=True)
class Lookup:
    """Task whose features are the stream's own data."""

    def embed(self, params, batch, rng=None):
        return {name: stream.data * params for name, stream in batch.streams.items()}


class FakeSource:
    """A source as far as evaluators ask for it: what its items are, without pictures."""

    name = "fake"

    def __init__(self, truths):
        self.truths = truths

    def __len__(self):
        return len(self.truths)

    def __getitem__(self, index):
        raise BadItem("no pictures here")

    def captions(self, index):
        return self.truth(index)["captions"]

    def truth(self, index):
        if isinstance(self.truths[index], Exception):
            raise self.truths[index]
        return self.truths[index]


class FakeSet:
    """Streams given as features; `owner` and `truth` as given; items in `corrupt` come as invalid rows.

    Their truth is an exception to raise where it cannot be read.
    """

    def __init__(self, features, owners, truths=(), corrupt=(), batch_size=8, texts=None, lose=()):
        self.features, self.owners, self.truths, self.corrupt = features, owners, truths, set(corrupt)
        self.batch_size, self.texts, self.lose, self.skipped = batch_size, texts or {}, set(lose), []
        self.source = FakeSource(truths)
        self.items = 1 + max(max(owner) for owner in owners.values())

    def count(self, stream):
        return len(self.features[stream])

    def owner(self, stream):
        return np.asarray(self.owners[stream], np.int32)

    def truth(self, index):
        return self.source.truth(index)

    def batches(self, stream, host=0, hosts=1):
        owner = self.owner(stream)
        valid = ~np.isin(owner, list(self.corrupt | self.lose))
        listed = {skip.index for skip in self.skipped}
        mine = {i for i in self.corrupt if i % hosts == host}  # a host lists only what it failed to read itself
        self.skipped += [SimpleNamespace(index=i) for i in sorted(mine - listed)]
        rows = self.batch_size // hosts
        for batch in self._batches(stream, self.features[stream], valid):
            yield jax.tree.map(lambda x: x[host * rows : (host + 1) * rows], batch)

    streams = {}  # noqa: RUF012

    def item_batches(self, streams, host=0, hosts=1):
        raise AssertionError("this evaluator reads one stream at a time")

    def text_batches(self, stream, texts):
        features = np.stack([self.texts[text] for text in texts])
        yield from self._batches(stream, features, np.ones(len(texts), bool))

    def _batches(self, stream, features, valid):
        for start in range(0, len(features), self.batch_size):
            rows = np.arange(start, start + self.batch_size)
            inside = rows < len(features)
            at = np.minimum(rows, len(features) - 1)
            ok = inside & valid[at]
            data = np.where(ok[:, None], features[at], np.nan).astype(np.float32)
            index = np.where(inside, rows, 0).astype(np.int32)
            yield Batch({stream: Stream(data, present=ok)}, valid=ok, index=index, group=index)


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)
