"""The way in: one function for all ways of choosing."""

import jax

from mmjax.decoding.beam import Race
from mmjax.decoding.check import check
from mmjax.decoding.loop import Choice, generate
from mmjax.decoding.options import Decoding
from mmjax.decoding.prompt import Generated, Prompt, Step, Take
from mmjax.decoding.trie import Trie


def decode(
    step: Step,
    take: Take,
    prompt: Prompt,
    options: Decoding,
    eos: tuple[int, ...],
    pad: int,
    key: jax.Array,
    answers: Trie | None = None,
) -> Generated:
    """Goes on from a prompt until every row has ended or holds `options.length` new tokens; to be called under jit.

    Args:
      step: see `Step`.
      take: see `Take`; called where there are beams.
      eos: ids that end a row; none, and all rows run to the full length.
      pad: id behind it.
      key: of draws.
      answers: nothing but one of them is written.

    Raises:
      UserError: the answers do not fit the options or the decoder.
    """
    check(options, prompt, answers)
    if options.beams > 1:
        return Race(options, eos, pad, answers).run(step, take, prompt)
    return generate(step, prompt, Choice(key, answers, options, eos, pad))
