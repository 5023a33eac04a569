"""What a model writes about what a user hands it: whole texts in batches of few shapes, or one as it comes."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.batch import Batch
from mmjax.decoding import Decoding, Generated, Trie, stream
from mmjax.errors import UserError
from mmjax.items import Row, batch_of, bucket, chunks, read

UNFINISHED = "\ufffd"  # what a part of a character's bytes reads as


@dataclasses.dataclass(frozen=True)
class Written:
    """A text.

    Attributes:
      text: without the tokens that begin and end it.
      tokens: its pieces; the token that ends it is the empty one.
      logprobs: of each token, in nats.
    """

    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]

    @classmethod
    def of(cls, tokenizer: Any, ids: np.ndarray, logprobs: np.ndarray) -> "Written":
        """From the ids and log-probabilities of real tokens."""
        pieces = tuple(spelled(tokenizer, (int(i) for i in ids)))
        return cls("".join(pieces).rstrip(), pieces, tuple(float(x) for x in logprobs))


def write(
    task: Any,
    params: Any,
    tokenizer: Any,
    rows: Iterable[Mapping[str, Row]],
    decoding: Decoding,
    answers: Trie | None = None,
    batch_size: int = 16,
    key: jax.Array | None = None,
) -> Iterator[Written]:
    """A text for each row, in order.

    Args:
      tokenizer: of the text that is written.
      rows: each {stream: what `items.read` made}; taken as they are needed.
      answers: nothing but one of them is written.
      key: of draws; None where the likeliest tokens are taken.
    """
    run = program(task, decoding)
    for number, chunk in enumerate(chunks(rows, batch_size)):
        own = None if key is None else jax.random.fold_in(key, number)
        out = run(params, _batch(chunk, bucket(len(chunk), batch_size)), own, answers)
        for row in zip(*(np.asarray(x)[: len(chunk)] for x in (out.ids, out.mask, out.logprobs)), strict=True):
            ids, mask, logprobs = row
            yield Written.of(tokenizer, ids[mask], logprobs[mask])


def choose(
    task: Any, params: Any, listed: Sequence[str], rows: Iterable[Mapping[str, Row]], batch_size: int = 16
) -> Iterator[Written]:
    """As `write`, by a model that chooses among a list: each answer is one token, with log sigmoid of its logit."""
    run = chooser(task)
    for chunk in chunks(rows, batch_size):
        answers, logprobs = run(params, _batch(chunk, bucket(len(chunk), batch_size)))
        for answer, logprob in list(zip(answers.tolist(), logprobs.tolist(), strict=True))[: len(chunk)]:
            yield Written(listed[answer], (listed[answer],), (logprob,))


def write_one(
    task: Any,
    params: Any,
    tokenizer: Any,
    row: Mapping[str, Row],
    decoding: Decoding,
    answers: Trie | None = None,
    key: jax.Array | None = None,
) -> Iterator[tuple[str, float]]:
    """The pieces of one text as they come, with their log-probabilities; the token that ends it is the empty text."""
    prompt = reader(task, decoding.length)(params, _batch([row], 1))
    key = jax.random.key(0) if key is None else key
    logprobs: list[float] = []

    def ids() -> Iterator[int]:
        for tokens, chances in stream(task.step(params), prompt, decoding, task.ends, task.pad, key, answers):
            logprobs.append(float(chances[0]))
            yield int(tokens[0])

    for piece in spelled(tokenizer, ids()):
        yield piece, logprobs[-1]


def spelled(tokenizer: Any, ids: Iterable[int]) -> Iterator[str]:
    """The text of ids piece by piece, without blanks before it; a character of several tokens comes with the last."""
    held: list[int] = []
    shown = ""
    for number in ids:
        held.append(number)
        text = tokenizer.decode(held).lstrip()
        piece = "" if text.endswith(UNFINISHED) else text[len(shown) :]
        shown += piece
        yield piece


@functools.lru_cache(maxsize=16)
def program(task: Any, decoding: Decoding) -> Any:
    """The compiled predictor: an equal task finds it again."""

    def run(params: Any, batch: Batch, key: jax.Array | None, answers: Trie | None) -> Generated:
        return task.generate(params, batch, key, decoding=decoding, answers=answers)

    return jax.jit(run)


@functools.lru_cache(maxsize=16)
def chooser(task: Any) -> Any:
    """The compiled choice."""
    return jax.jit(lambda params, batch: task.choose(params, batch))


@functools.lru_cache(maxsize=16)
def reader(task: Any, length: int) -> Any:
    """The compiled reading of a picture and a prompt."""
    return jax.jit(lambda params, batch: task.read(params, batch, length))


def _batch(rows: list[Mapping[str, Row]], size: int) -> Batch:
    return batch_of({name: [row[name] for row in rows] for name in rows[0]}, size)


def answer_ids(text_stream: Any, text: str, begin: int | None) -> list[int]:
    """An answer as the ids that are to be written, its end included.

    Raises:
      UserError: it is empty, or too long for the stream.
    """
    check_whole("answer", text_stream, text)
    row = read("answer", text_stream, text)
    ids = [int(i) for i in row["data"][row["mask"]]]
    return ids[1:] if begin is not None else ids


def check_whole(name: str, text_stream: Any, text: str) -> None:
    """Refuses a text that the stream would cut.

    Args:
      name: of the text, for the message.
    """
    if not isinstance(text, str):
        raise UserError(f"a text is str, not {type(text).__name__}: {text!r}")
    length, whole = text_stream.length, text.lower() if text_stream.lowercase else text
    if text_stream.loaded().encode(whole, length + 1)[1].sum() > length:
        raise UserError(f"the {name} {text[:60]!r} has more tokens than this model has places for it, {length}")
