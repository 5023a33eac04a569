"""How captions are cut into words before they are scored. A score means nothing without the name of its cut."""

import functools
import unicodedata
import warnings
from collections.abc import Callable
from typing import Any, Literal

from mmjax.errors import UserError
from mmjax.evaluation.scorers import treebank

Cut = Literal["words", "characters", "jieba"]

# To be stored with each score. A change of what comes out is a new number.
VERSIONS: dict[Cut, str] = {"words": "coco-ptb-3.4.1/1", "characters": "characters/1", "jieba": "jieba-0.42.1/1"}


def cutter(cut: Cut) -> Callable[[str], list[str]]:
    """The function from a caption to its words.

    `words`: English, as the COCO caption tools; it leaves a run of Chinese whole, as they do.
    `characters`: Chinese, one word per character; a run of other letters or of figures is one word.
    `jieba`: Chinese, words as jieba 0.42.1 cuts them, with its own dictionary and its guesses at unknown words.
    The latter two drop what holds no letter, figure or symbol, and lower the case.
    """
    return {"words": treebank.words, "characters": characters, "jieba": jieba_words}[cut]


def characters(caption: str) -> list[str]:
    """Chinese and Japanese characters one by one, other words whole: "2只dog。" is 2, 只, dog."""
    spaced = "".join(c if _is_in_run(c) else f" {c} " for c in caption.lower())
    return [word for word in spaced.split() if _has_content(word)]


def jieba_words(caption: str) -> list[str]:
    """Words as jieba's dictionary, which knows "T恤", and its model of unknown words have them; then lower case."""
    return [word.strip().lower() for word in _jieba().cut(caption) if _has_content(word)]


def _is_in_run(character: str) -> bool:
    """Letters but ideographs and kana, marks, figures."""
    kind = unicodedata.category(character)
    return kind[0] in "LMN" and not ("\u2e80" <= character < "\ua000" or character >= "\U00020000")


def _has_content(word: str) -> bool:
    return any(unicodedata.category(character)[0] in "LNS" for character in word)


@functools.cache
def _jieba() -> Any:
    """jieba's tokenizer, filled here: by itself it would log, and load its cache from wherever /tmp/jieba.cache is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pkg_resources, and of escapes in its regular expressions
        try:
            import jieba
        except ImportError:
            raise UserError("words of Chinese captions need jieba: pip install 'mmjax[scores]'") from None
    tokenizer = jieba.Tokenizer()
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return tokenizer
