"""What does not go together, found before anything compiles."""

from mmjax.decoding.options import Decoding
from mmjax.decoding.prompt import Prompt
from mmjax.decoding.trie import Trie
from mmjax.errors import UserError


def check(options: Decoding, prompt: Prompt, answers: Trie | None) -> None:
    """Refuses a list of answers that could not be kept to.

    Raises:
      UserError: the option or the list, and why.
    """
    if answers is None:
        return
    vocabulary = prompt.logits.shape[-1]
    if answers.largest >= vocabulary:
        raise UserError(
            f"answers: id {answers.largest}, but the decoder's vocabulary has {vocabulary}; use its own tokenizer"
        )
    if options.length < answers.longest:
        raise UserError(
            f"decoding.length={options.length} is too short for the answers; the longest has {answers.longest} tokens"
        )
    if options.no_repeat_ngram:
        raise UserError(f"decoding.no_repeat_ngram={options.no_repeat_ngram} may forbid every answer; set it to 0")
