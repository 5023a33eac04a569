"""How a verb that writes is told to write."""

import argparse
from collections.abc import Sequence
from typing import Any

from mmjax.errors import UserError

OPTIONS = ("temperature", "top_k", "top_p", "beams")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of decoding."""
    parser.add_argument("--length", type=int, metavar="N", help="the most tokens of a text (default: as it was learnt)")
    parser.add_argument("--beams", type=int, default=1, metavar="N", help="keep the N likeliest texts (default: 1)")
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="draw tokens at this temperature (default: 0, none)"
    )
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="draw among the K likeliest tokens")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="draw among the likeliest of this share")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (default: 0)")


def decoding_of(args: argparse.Namespace, model: Any) -> Any:
    """The `Decoding` that the arguments ask for.

    Raises:
      UserError: a value out of range, or one that has no effect.
    """
    from mmjax.decoding import Decoding

    if args.temperature == 0 and (args.top_k or args.top_p < 1):
        raise UserError("--top-k and --top-p are of draws: give --temperature above 0 as well")
    longest = model.decoding().length
    length = longest if args.length is None else args.length
    if length > longest:
        raise UserError(f"--length {length}: the model learnt texts of up to {longest} tokens")
    return Decoding(length, **{name: getattr(args, name) for name in OPTIONS})


def as_json(written: Any) -> dict[str, Any]:
    """A text with the log-probability of each of its tokens."""
    tokens = [{"text": t, "logprob": x} for t, x in zip(written.tokens, written.logprobs, strict=True)]
    return {"text": written.text, "logprob": sum(written.logprobs), "tokens": tokens}


def on_one_line(text: str) -> str:
    """With one blank in place of line breaks and the like."""
    return " ".join(text.split())


def listed(text: str | None) -> Sequence[str] | None:
    """The answers of a comma-separated list; None for no list.

    Raises:
      UserError: there is none in it, or one stands there twice.
    """
    if text is None:
        return None
    answers = [part.strip() for part in text.split(",") if part.strip()]
    if not answers:
        raise UserError("--among: there is no answer in the list")
    if twice := [answer for answer in answers if answers.count(answer) > 1]:
        raise UserError(f"--among: the answer {twice[0]!r} stands there twice")
    return answers
