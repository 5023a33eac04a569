"""Words of English captions as the COCO caption tools see them: the Penn Treebank's, without Java.

Those tools run Stanford's PTBTokenizer (CoreNLP 3.4.1, `-preserveLines -lowerCase`) and drop some punctuation from what
comes out. What it makes of captions is written anew here and in `treebank_rules`; the tests compare both programs.
"""

import re
from collections.abc import Iterator

from mmjax.evaluation.scorers.treebank_rules import CLITIC, NOT, compiled_rules

# What the tools drop after lower-casing. A bracket is `-lrb-` by then, not on the list, and stays as a word: so here.
_SIGNS = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
DROPPED = frozenset(_SIGNS | {"-LRB-", "-RRB-", "-LCB-", "-RCB-"})

# How the Treebank writes what it has no sign for.
NAMES = (
    {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", "&lt;": "<", "&gt;": ">"}
    | {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "¢": "cents", "£": "#", "€": "$", "¤": "$", "₠": "$"}
    | dict.fromkeys(("---", "----", *"\u2013\u2014\u2015\u0096\u0097", "&md;", "&mdash;", "&ndash;"), "--")
    | {"…": "...", "&quot;": "''", '"': "''", "&apos;": "'"}
)
QUOTES = str.maketrans(
    dict.fromkeys("“«\u0093", "``")
    | dict.fromkeys("”»\u0094", "''")
    | dict.fromkeys("‘‛‹\u0091", "`")
    | dict.fromkeys("’›\u0092", "'")
)


def words(caption: str) -> list[str]:
    """Lower-case words without most punctuation, as `PTBTokenizer.tokenize` of the COCO caption tools gives them.

    A word may hold no-break spaces, as in `3\\xa01/2`. Each caption is taken by itself. The Java program sees them all
    as one text and now and then looks over to the next, as at a "fig." before a caption that begins with a figure.
    """
    line = re.sub("[\n\r\v\f\u0085\u2028\u2029]|&nbsp;", " ", caption) + "\n"
    return [token for token in map(spelled, tokens(line)) if token not in DROPPED]


def tokens(line: str) -> Iterator[str]:
    """The pieces of a line that ends in a newline. What no rule knows, such as an emoji, is left out, as Java does."""
    plain, rules = compiled_rules()
    at = 0
    while at < len(line):
        match = plain.match(line, at) or _longest(rules, line, at)
        if match and match.lastindex:
            yield match[match.lastindex]
            at = match.end(match.lastindex)
        else:
            at += 1


def _longest(rules: tuple[re.Pattern[str], ...], line: str, at: int) -> re.Match[str] | None:
    """The match that reaches farthest, what it only looks at counted; among equals that of the first rule."""
    best = None
    for rule in rules:
        match = rule.match(line, at)
        if match and (best is None or match.end() > best.end()):
            best = match
    return best


def spelled(token: str) -> str:
    """A piece as the Treebank writes it."""
    token = token.lower()
    if token in NAMES:
        return NAMES[token]
    if len(token) > 1 and not token.strip(". \u00a0"):
        return "..."
    if re.fullmatch(rf"{NOT}|{CLITIC}|[^\w\s]+", token):
        token = token.translate(QUOTES).replace("&apos;", "'")
    token = token.replace("&amp;", "&").replace("\u00ad", "").replace(" ", "\u00a0")
    return token.replace("(", "-lrb-").replace(")", "-rrb-")
