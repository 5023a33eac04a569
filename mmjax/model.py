"""A trained model with what it takes to feed it: what `mmjax.load` gives."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from mmjax.batch import Batch
from mmjax.decoding import Decoding, Trie
from mmjax.errors import UserError
from mmjax.items import Row, embed, is_one_item, read
from mmjax.writing import Written, answer_ids, check_whole, choose, write


@dataclasses.dataclass(frozen=True)
class Model:
    """A trained model with what it takes to feed it.

    Attributes:
      task: the task, whose methods are the predictors.
      params: the parameter tree.
      streams: {stream: transform} from raw values to arrays.
      config: {"task", "streams", "config"} sections, as saved.
    """

    task: Any
    params: Mapping[str, Any]
    streams: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def module(self) -> Any:
        """The plain Flax module of the task."""
        return self.task.model

    def embed(
        self, batch_size: int = 64, **items: Any
    ) -> Float[np.ndarray, "n d"] | dict[str, Float[np.ndarray, "_ d"]]:
        """Features float32 `[n, d]` of one stream, or of several as `{stream: features}`.

        `embed(image=["dog.jpg"])`, `embed(image=[...], text=["a dog", "a cat"])`. A picture is a path, the bytes of a
        file, uint8 `[h, w, 3]` or `[h, w]`, or a PIL image. `image` and `text` also stand for the first stream of that
        kind.

        Args:
          batch_size: rows that go through the device at once.
          items: for each stream a list of items, or an array of pictures.

        Raises:
          UserError: no such stream, one item where a list is wanted, or an item that cannot be read.
        """
        if not items:
            raise UserError("embed what? e.g. embed(image=[...]) or embed(text=[...])")
        features = {name: self._embed(name, values, batch_size) for name, values in items.items()}
        return features if len(features) > 1 else next(iter(features.values()))

    def similarity(self, batch_size: int = 64, **items: Any) -> Float[np.ndarray, "n m"]:
        """Cosines of two streams' items: `similarity(image=[...], text=[...])` has a row for each picture.

        Raises:
          UserError: not two streams, or as for `embed`.
        """
        if len(items) != 2:
            raise UserError("similarity takes two streams, e.g. similarity(image=[...], text=[...])")
        rows, columns = (unit(self._embed(name, values, batch_size)) for name, values in items.items())
        return rows @ columns.T

    def classify(
        self,
        images: Any,
        labels: Sequence[Any],
        templates: Sequence[str] = ("a photo of a {}.",),
        batch_size: int = 64,
    ) -> Float[np.ndarray, "n k"]:
        """Probabilities of k labels for n pictures; see `probabilities`.

        Args:
          images: as `embed` takes them.
          labels: texts.
          templates: texts with one `{}` for the label; a label is the mean of its texts.

        Raises:
          UserError: no label, a template without `{}`, or as for `embed`.
        """
        words = self.label_features(labels, templates, batch_size)
        return self.probabilities(self._embed("image", images, batch_size), words)

    def label_features(
        self, labels: Sequence[Any], templates: Sequence[str] = ("a photo of a {}.",), batch_size: int = 64
    ) -> Float[np.ndarray, "k d"]:
        """Each label's mean over the templates of its L2-normalised text features, normalised again."""
        if isinstance(labels, str) or not len(labels) or not templates:
            raise UserError("labels and templates are lists with at least one text, e.g. ['dog', 'cat']")
        if odd := [label for label in labels if not isinstance(label, str)]:
            raise UserError(f"a label is text, not {odd[0]!r}; e.g. ['dog', 'cat']")
        if bad := [template for template in templates if template.count("{}") != 1]:
            raise UserError(f"template {bad[0]!r}: it must hold exactly one {{}}, where the label goes")
        texts = [template.replace("{}", label) for label in labels for template in templates]
        features = unit(self._embed("text", texts, batch_size))
        return unit(features.reshape(len(labels), len(templates), -1).mean(axis=1))

    def probabilities(
        self, images: Float[np.ndarray, "n d"], labels: Float[np.ndarray, "k d"]
    ) -> Float[np.ndarray, "n k"]:
        """Softmax over the labels of scale * cosine; for a model with a bias, sigmoid(scale * cosine + bias) of each.

        So the k probabilities of a picture sum to 1, but not those of a model with a bias (SigLIP): it judges every
        label by itself.

        Raises:
          UserError: the model has no logit scale.
        """
        row = np.zeros(1, np.int32)
        scalars = self.task.encode(self.params, Batch({}, np.ones(1, bool), row, row), None)
        if "scale" not in scalars:
            raise UserError("this model has no logit scale: it was not trained to match pictures with texts")
        logits = float(scalars["scale"]) * (unit(images) @ unit(labels).T)
        if "bias" in scalars:
            return 1 / (1 + np.exp(-np.clip(logits + float(scalars["bias"]), -80, 80)))
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def caption(
        self, images: Any, decoding: Decoding | None = None, batch_size: int = 16, seed: int | None = None
    ) -> list[str]:
        """A text about each picture: `caption(["dog.jpg"])`.

        Args:
          images: as `embed` takes them.
          decoding: how texts are written: their length, beams, temperature; None takes the likeliest tokens.
          seed: of draws, where the temperature is not 0.

        Raises:
          UserError: the model writes no captions, or a picture cannot be read.
        """
        self.check_writes(asked=False)
        rows = ({self.task.image: row} for row in self._rows(self.task.image, images))
        return [one.text for one in self.write(rows, decoding, batch_size, seed)]

    def answer(
        self,
        images: Any,
        questions: Sequence[str],
        among: Sequence[str] | None = None,
        decoding: Decoding | None = None,
        batch_size: int = 16,
        seed: int | None = None,
    ) -> list[str]:
        """An answer to each question about the picture at its place: `answer(["dog.jpg"], ["what colour is it?"])`.

        Args:
          images: as `embed` takes them, as many as there are questions.
          among: the only answers that may be given; None for any.
          decoding, seed: as of `caption`.

        Raises:
          UserError: the model answers no questions; another number of questions; an empty question; answers that are
            none, come twice or are longer than `decoding.length`.
        """
        prompt = self.check_writes(asked=True)
        if is_one_item(images):
            raise UserError("images are a list, one for each question, e.g. answer([file], ['what is it?'])")
        images = list(images)
        if isinstance(questions, str) or len(questions) != len(images):
            raise UserError("questions are a list, one for each picture, e.g. answer([file], ['what is it?'])")
        pairs = zip(self._rows(self.task.image, images), map(self.question, questions), strict=True)
        rows = ({self.task.image: image, prompt: question} for image, question in pairs)
        return [one.text for one in self.write(rows, decoding, batch_size, seed, among)]

    def decoding(self) -> Decoding:
        """The likeliest tokens, as many as the texts that were learnt may have; of a list's answers, each is one."""
        return Decoding(getattr(self.streams[self.task.text], "longest", 1))

    def choices(self, among: Sequence[str]) -> Trie:
        """Answers as the model's own tokens, for whatever writes nothing else.

        Raises:
          UserError: no list, one that is empty, or an answer that comes twice or is too long to be written.
        """
        if isinstance(among, str) or not len(among):
            raise UserError("among is a list of answers with at least one, e.g. ['yes', 'no']")
        if twice := [answer for answer in among if list(among).count(answer) > 1]:
            raise UserError(f"among: the answer {twice[0]!r} stands there twice; keep one")
        stream = self.streams[self.task.text]
        return Trie.of([answer_ids(stream, text, self.task.begin) for text in among], self.task.ends)

    def question(self, text: str) -> Row:
        """A question as the model reads it.

        Raises:
          UserError: it is empty, or longer than what the model reads.
        """
        name = self.task.prompt
        check_whole(name, self.streams[name], text)
        return read(name, self.streams[name], text)

    def check_writes(self, asked: bool) -> str:
        """The stream of questions of a model that answers, or "" of one that writes unasked.

        Raises:
          UserError: the model is not of that kind.
        """
        if not hasattr(self.task, "generate") and not hasattr(self.task, "choose"):
            raise UserError("this model writes no texts; train one with the task caption or answer")
        prompt = getattr(self.task, "prompt", None)
        if asked and prompt is None:
            raise UserError(
                "this model answers no questions, it writes captions: use caption, or train the task answer"
            )
        if not asked and prompt is not None:
            raise UserError("this model answers questions, and writes nothing unasked: use answer")
        return prompt or ""

    def _rows(self, name: str, values: Any) -> Iterator[Row]:
        if is_one_item(values):
            raise UserError(f"{name} is a list of items, not one")
        return (read(name, self.streams[name], value) for value in values)

    def write(
        self,
        rows: Iterable[Any],
        decoding: Decoding | None,
        size: int,
        seed: int | None,
        among: Sequence[str] | None = None,
    ) -> Iterator[Written]:
        """Texts for rows, each {stream: what `items.read` made}; arguments as of `caption` and `answer`."""
        if hasattr(self.task, "choose"):
            if among is not None:
                raise UserError("this model chooses among answers of its own, which no other list replaces")
            return choose(self.task, self.params, self.streams[self.task.text].answers, rows, size)
        tokenizer = self.streams[self.task.text].loaded()
        answers = None if among is None else self.choices(among)
        key = jax.random.key(seed or 0)
        return write(self.task, self.params, tokenizer, rows, decoding or self.decoding(), answers, size, key)

    def stream_name(self, name: str) -> str:
        """The stream of this name, or the first one of this kind.

        Raises:
          UserError: there is neither.
        """
        if name in self.streams:
            return name
        for key, stream in self.streams.items():
            if stream.kind == name:
                return key
        raise UserError(f"this model has no stream {name!r}; it has {', '.join(self.streams)}")

    def _embed(self, name: str, values: Any, batch_size: int) -> np.ndarray:
        if is_one_item(values):
            raise UserError(f"{name} is a list of items: embed({name}=[...])")
        name = self.stream_name(name)
        stream = self.streams[name]
        rows = (read(name, stream, value) for value in values)
        return embed(self.task, self.params, name, stream, rows, batch_size)


def unit(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of length 1; a row of zeros stays as it is."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
