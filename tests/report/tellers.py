"""Models that write what the test has chosen about each picture, and sets of captioned pictures and of questions."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from mmjax.batch import Example
from mmjax.data.evaluation import EvalData
from mmjax.data.streams import ImageStream
from mmjax.data.streams.text import TextStream
from mmjax.data.tokenizers.bytes import Bytes
from mmjax.decoding.prompt import Generated
from mmjax.errors import BadItem
from tests.evaluation.fakes import FakeSource

LENGTH = 90


@dataclasses.dataclass(frozen=True)
class Teller:
    """Writes row i of its parameters about the picture of item i; each token has the probability 0.5."""

    reads: tuple[str, ...] = ("image",)
    image: str = "image"
    text: str = "caption"

    def generate(self, params, batch, rng=None, *, decoding, answers=None):
        corner = batch["image"].data[:, 0, 0].astype(jnp.int32)
        ids = params[corner[:, 0] * 256 + corner[:, 1], 1 : decoding.length + 1]
        logprobs = jnp.log(0.5) * (ids > 0)
        return Generated(ids, ids > 0, logprobs, logprobs.sum(axis=1))


class Numbered(FakeSource):
    """Pictures whose first pixel holds the number of their item."""

    def __getitem__(self, index):
        truth = self.truth(index)
        picture = np.full((16, 16, 3), 90, np.uint8)
        picture[0, 0, :2] = divmod(index, 256)
        texts = {"caption": truth.get("captions"), "question": truth.get("question"), "answer": truth.get("answers")}
        return Example(str(index), {"image": picture} | {name: text for name, text in texts.items() if text})


STREAMS = {
    "image": ImageStream(size=16, crop_scale=None),
    "caption": TextStream("caption", length=LENGTH),
    "question": TextStream("question", length=LENGTH),
    "answer": TextStream("answer", length=LENGTH),
}


def script(texts):
    return jnp.asarray(np.stack([Bytes().encode(text, LENGTH)[0] for text in texts]))


def captioner(written, captions, task=None, params=None):
    """A model that writes `written` about items with such captions; a caption that is an exception is a bad item."""
    truths = [told if isinstance(told, BadItem) else {"captions": tuple(told)} for told in captions]
    streams = {name: STREAMS[name] for name in ("image", "caption")}
    return _model(task or Teller(), params if params is not None else script(written), streams, truths)


def answerer(written, answers, question="what is {item}?", task=None, params=None):
    """A model that writes `written` in answer to questions with such answers."""
    truths = [
        {"question": question.format(item=item), "answers": tuple(given), "question_type": "kind"}
        for item, given in enumerate(answers)
    ]
    streams = {name: STREAMS[name] for name in ("image", "question", "answer")}
    task = task or Teller(("image", "question"), text="answer")
    return _model(task, params if params is not None else script(written), streams, truths)


def _model(task, params, streams, truths):
    data = EvalData(Numbered(truths), streams, batch_size=8)
    return SimpleNamespace(task=task, params=params, streams=streams, config={}), data
