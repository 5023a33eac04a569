"""What `open_clip` does to a text before its tokenizer sees it (`open_clip/tokenizer.py`, after openai/CLIP)."""

import html
import string
from typing import Literal

from mmjax.errors import UserError

Clean = Literal["whitespace", "lower", "canonicalize"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean(text: str, how: Clean) -> str:
    """Mends mojibake, resolves HTML entities, makes every run of blanks one space; then lower case or canonical form.

    Args:
      how: as `clean` in open_clip's `tokenizer_kwargs`. "canonicalize" also takes out ASCII punctuation, as SigLIP's
        authors do.

    Raises:
      UserError: ftfy is not installed.
    """
    try:
        import ftfy
    except ImportError:
        raise UserError(f"a tokenizer with clean {how!r} needs ftfy, as open_clip does: pip install ftfy") from None
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    if how == "canonicalize":
        text = text.replace("_", " ").translate(_PUNCTUATION)
    text = text if how == "whitespace" else text.lower()
    return " ".join(text.split())
