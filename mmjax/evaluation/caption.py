"""Captions that a task writes, against those of people, and against the scene where that is known."""

import dataclasses
import importlib.util
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from mmjax.bundle import find, load, of_pytorch
from mmjax.data.evaluation import EvalData
from mmjax.data.world.parse import complete_of, true_of
from mmjax.decoding import Decoding
from mmjax.errors import UserError
from mmjax.evaluation.predict import EvalSet, Metrics, embed_set, embed_texts, truths
from mmjax.evaluation.scorers.captions import caption_scores
from mmjax.evaluation.scorers.clip_score import PREFIX, clip_score, ref_clip_score
from mmjax.evaluation.scorers.words import VERSIONS, Cut
from mmjax.evaluation.written import check_writes, score_set, settings, write_set


@dataclasses.dataclass(frozen=True)
class Captions:
    """BLEU, ROUGE-L and CIDEr against all captions of an item; perplexity of its first; CLIPScore if asked for.

    Of generated scenes also `caption/true`, the share of captions that hold in them, and `caption/complete`, of those
    that tell of all things as well; one that is no sentence of the world's language counts as false.

    Attributes:
      text: the stream that is written.
      length, beams, length_penalty, no_repeat_ngram: see `Decoding`; a length of None is that of the texts learnt.
      tokenize: how texts are split for scoring: "words" as the COCO tools do it; of Chinese "characters" or "jieba".
      overlap: whether to score against people's captions, for which `pip install 'mmjax[scores]'` is needed.
      clip: a model with an image and a text tower, see `mmjax.load`, that gives CLIPScore and RefCLIPScore.
    """

    text: str = "caption"
    length: int | None = None
    beams: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram: int = 0
    tokenize: Cut = "words"
    overlap: bool = True
    clip: str | None = None

    def __post_init__(self) -> None:
        self._decoding(1)  # refused here, before anything trains
        if self.clip is not None and not of_pytorch(self.clip):
            find(pathlib.Path(self.clip))  # a bundle that is not there is refused here as well
        if self.overlap and importlib.util.find_spec("pycocoevalcap") is None:
            raise UserError("evaluating captions needs pip install 'mmjax[scores]'; or set overlap=False")

    def decoding(self, data: EvalSet) -> Decoding:
        """How captions are written."""
        return self._decoding(data.streams[self.text].longest)

    def _decoding(self, longest: int) -> Decoding:
        length = longest if self.length is None else self.length
        return Decoding(
            length, beams=self.beams, length_penalty=self.length_penalty, no_repeat_ngram=self.no_repeat_ngram
        )

    def run(self, task: Any, params: Any, data: EvalSet, mesh: Mesh | None = None) -> Metrics:
        check_writes(task, data, self.text)
        if not hasattr(task, "score"):
            raise UserError(f"{type(task).__name__} writes no captions; leave caption out of the evaluation")
        written = write_set(task, params, data, self.text, self.decoding(data), mesh)
        known = {item: truth for item, truth in truths(data, written).items() if truth.get("captions")}
        if not known:
            raise UserError("caption: no item of this data has captions; leave it out of the evaluation")
        texts = {item: written[item].text for item in known}
        metrics: Metrics = {"caption/tokens": float(np.mean([len(one.logprobs) for one in written.values()]))}
        if self.overlap:
            scores = caption_scores(list(texts.values()), [known[i]["captions"] for i in texts], self.tokenize)
            metrics |= {f"caption/{name}": value for name, value in scores.items()}
        if all("scene" in truth for truth in known.values()):
            metrics |= judged(texts, known)
        metrics["caption/perplexity"] = perplexity(score_set(task, params, data, self.text, mesh))
        if self.clip is not None:
            metrics |= clip_scores(self.clip, texts, known, data, mesh)
        return metrics | {"caption/count": len(known)}

    def notes(self, data: EvalSet) -> dict[str, str]:
        """What the scores were measured with."""
        return {
            "captions written with": settings(self.decoding(data)),
            **({"captions compared by": f"{self.tokenize}, {VERSIONS[self.tokenize]}"} if self.overlap else {}),
            **({"CLIPScore by": f"{self.clip}, after {PREFIX!r}"} if self.clip else {}),
        }


def judged(texts: Mapping[int, str], known: Mapping[int, Mapping[str, Any]]) -> Metrics:
    """Shares of the captions that hold in their scenes, and that tell of all things there as well."""
    pairs = [(text, known[item]["scene"]) for item, text in texts.items()]
    true = float(np.mean([bool(true_of(*pair)) for pair in pairs]))
    return {"caption/true": true, "caption/complete": float(np.mean([bool(complete_of(*pair)) for pair in pairs]))}


def perplexity(scores: Mapping[int, tuple[float, float]]) -> float:
    """exp of the mean surprise at each token of all texts, given their log-probabilities and tokens."""
    logprob, tokens = (sum(column) for column in zip(*scores.values(), strict=True))
    return math.exp(-logprob / max(tokens, 1.0))


def clip_scores(
    source: str, texts: Mapping[int, str], known: Mapping[int, Mapping[str, Any]], data: EvalSet, mesh: Mesh | None
) -> Metrics:
    """CLIPScore and RefCLIPScore of written captions by another model, which reads the pictures in its own way."""
    model = load(source, mesh)
    own = EvalData(data.source, model.streams, data.batch_size, limit=data.items)
    image, text = model.stream_name("image"), model.stream_name("text")
    pictures = embed_set(model.task, model.params, own, image, mesh)
    items = [item for item in texts if pictures.valid[item] and texts[item].strip()]
    if not items:
        raise UserError("CLIPScore: no caption was written for a picture that could be read")
    owner = np.array([n for n, item in enumerate(items) for _ in known[item]["captions"]], np.int32)
    told = [texts[item] for item in items] + [one for item in items for one in known[item]["captions"]]
    features = embed_texts(model.task, model.params, own, text, [PREFIX + one for one in told], mesh)
    candidates, references = features[: len(items)], features[len(items) :]
    images = pictures.features[items]
    return {
        "caption/CLIPScore": float(np.mean(clip_score(images, candidates))),
        "caption/RefCLIPScore": float(np.mean(ref_clip_score(images, candidates, references, owner))),
    }
