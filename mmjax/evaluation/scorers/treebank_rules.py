"""The rules of the Treebank's words, one regular expression each, for `treebank`.

A rule's group is the token; what it matches beyond the group is only looked at. All ignore case but in `(?-i:...)`.
"""

import functools
import re
import unicodedata
from collections.abc import Callable

# Abbreviations keep their full stop. These hold on to it even before a letter: "etc.x" is "etc." and "x".
FIRM = (
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Mon|Tues?|Wed|Thu(?:rs)?|Fri"
    "|Ala|Ariz|Calif|Colo|Conn|Ct|Dak|Fla|Ga|Ind|Kans?|Ky|Md|Mich|Minn|Mo|Mont|Neb|Nev|Okla|Penn|Tenn|Va|Vt|Wisc?|Wyo"
    "|Inc|Cos?|Corp|Pp?tys?|Ltd|Plc|Rt|Bancorp|Bhd|Assn|Univ|Intl|Sys|tel|est|ext|sq|Jr|Sr|Bros|Esq|(?:Ed|Ph)\\.D"
    "|Blvd|Rd|etc|al|seq|Bldg"
)
CAPITALISED = "Az|Ark|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash"  # firm if the first letter is a capital
LOOSE = (
    "Dept|ft|Ste?|Ave|Drs?|Mrs?|Ms|Profs?|Sens?|Reps?|Attys?|Lt|Col|Gen|Messrs|Govs?|Adm|Rev|Maj|Sgt|Cpl|Pvt|Capt|Pres"
    "|Lieut|Hon|Brig|Co?mdr|Pfc|Spc|Supts?|Det|Mt|Adj|Adv|Asst|Assoc|Ens|Insp|Mlle|Mme|Msgr|Sfc|Invt|Elec|Natl|M[ft]g"
    "|vs|Alex|Wm|Jos|Cie|cf|Treas|Ph|a\\.k\\.a|[A-Z]"
)
BEFORE_NUMBERS = "nos?|figs?|prop|arts?|pp|op|ca"
# A single letter before one of these ends its sentence: "plan B. The".
OPENERS = (
    "About|According|Additionally|After|An?|As|At|But|Earlier|Here?|Her|However|If|In|It|Last|Many|More|M[rs]\\.|Now"
    "|Once|One|Other|Our|She|Since|So|Some|Such|That|Then?|There|These|They|This|We|When|While|What|Yet|You|He"
)

APOSTROPHE = r"(?:['\u0092\u2019]|&apos;)"
INNER_APOSTROPHE = r"(?:['\u0091\u0092\u2018\u2019\u201B]|&apos;)"
SPACE = r"[ \t\u00A0\u2000-\u200A\u3000]"
CLITIC = rf"{APOSTROPHE}(?:[msd]|re|ve|ll)"
NOT = rf"n{INNER_APOSTROPHE}t"
NUMBER = r"(?:\d+(?:[.:,\u00AD\u066B\u066C]\d+)*|\d*(?:[.,:\u00AD\u066B\u066C]\d+)+)"
ACRONYM = r"(?:[A-Z](?:\.[A-Z])+|(?:Canada|Sino|Korean|EU|Japan|non)-U\.S|U\.S\.-(?:U\.K|U\.S\.S\.R))"
NO_URL = r" \t\n\"<>|(){}"  # in a character class, as is the next
NO_URL_END = NO_URL + r".!?,\-"
NO_MAIL = NO_URL + r"\u00A0"
SYMBOLS = (
    r"+%&~^|\\¦§¨©¬®¯°±-³´-º×÷\u0387\u05BE\u05C0\u05C3\u05C6\u05F3\u05F4\u060C\u061B\u061E\u066A\u066D\u0964\u0965"
    r"\u2016\u2017\u2020-\u2023\u2030-\u2038\u203B\u203E-\u2042\u2044\u207A-\u207F\u208A-\u208E\u2100-\u214F"
    r"\u2190-\u2BFF\u3012\u30FB\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65"
)


@functools.cache
def compiled_rules() -> tuple[re.Pattern[str], tuple[re.Pattern[str], ...]]:
    """A rule for the commonest case, made for speed, and all rules."""
    letters, solid = _ranges(_in_word), f"[{_ranges(_is_solid)}]"
    letter = f"(?:[{letters}\u00ad]|&[aeiou](?:acute|grave|uml);)"
    rules = word_rules(letter) + apostrophe_rules(letter) + number_rules() + compound_rules(solid)
    rules += address_rules(letters) + sign_rules()
    plain = r"\s*((?!(?:cannot|gonna|wanna|gotta|lemme|gimme)\b)[a-z]{2,})(?=\s)"
    return re.compile(plain, re.I | re.A), tuple(re.compile(rule, re.I) for rule in rules)


def word_rules(letter: str) -> list[str]:
    """Words of letters, abbreviations, and words that were two once."""
    word = rf"{letter}(?:{letter}|\d)*(?:[.!?]{letter}(?:{letter}|\d)*)*"
    return [
        rf"(can)not|({APOSTROPHE}t)(?:was|is)|(gon|wan)na|(got)ta|(lem|gim)me",
        rf"({word}){CLITIC}",
        rf"([A-Z\u00AD]*[A-MO-Z]\u00AD*){NOT}",
        *_and_before_comma(word),
        rf"([A-Z])\.{SPACE}+(?-i:{OPENERS}){SPACE}",
        rf"((?:{FIRM}|(?=(?-i:[A-Z]))(?:{CAPITALISED}))\.)(?:[\s\S]{{2}})?",
        rf"((?:{ACRONYM}|{LOOSE})\.)",
        rf"((?:{BEFORE_NUMBERS})\.){SPACE}?\d",
        rf"({ACRONYM})(?:{SPACE}|\n)",
    ]


def apostrophe_rules(letter: str) -> list[str]:
    """Words that begin, end or go on with an apostrophe, and what is left after a word was cut before one."""
    return [
        rf"({APOSTROPHE}n{APOSTROPHE}?|[ldj]{APOSTROPHE}|(?:dunkin|somethin|ol){APOSTROPHE})",
        rf"({APOSTROPHE}(?:em|till?|cause|[2-9]0s))",
        rf"((?-i:[A-HJ-XZn]){INNER_APOSTROPHE}{letter}{{2,}})",
        rf"({letter}+[aeiouy]{INNER_APOSTROPHE}(?:[aeiou]|(?-i:[A-Z])){letter}*)",
        rf"(cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l|cap{APOSTROPHE}n|c{APOSTROPHE}est)",
        rf"(y{APOSTROPHE}){letter}",
        rf"({CLITIC})[^A-Z]",
        rf"({APOSTROPHE}\d\d)(?:{SPACE}|\n)",
        r"(')[A-Z][^ \t\u00A0]",
        rf"({NOT}|{CLITIC})",
    ]


def number_rules() -> list[str]:
    """Numbers, dates, fractions, telephone numbers."""
    gap = r"[- \u00A0]"
    return [
        r"(\d{1,2}[-/]\d{1,2}[-/]\d{2,4})",
        rf"([-+]?{NUMBER})",
        r"([\u207A\u207B\u208A\u208B]?(?:[\u2070\u00B9\u00B2\u00B3\u2074-\u2079]+|[\u2080-\u2089]+))",
        rf"((?:\d{{1,4}}{gap})?\d{{1,4}}(?:\\?/|\u2044)\d{{1,4}}|[\u00BC-\u00BE\u2153-\u215E])",
        rf"((?:\(\d{{2,3}}\)[ \u00A0]?|(?:\+\+?)?(?:\d{{2,4}}{gap})?\d{{2,4}}{gap})\d{{3,4}}{gap}?\d{{3,5}})",
        r"((?:(?:\+\+?)?\d{2,4}\.)?\d{2,4}\.\d{3,4}\.\d{3,5})",
    ]


def compound_rules(solid: str) -> list[str]:
    """What hyphens, strokes and ampersands hold together."""
    part = rf"(?:[dol]{INNER_APOSTROPHE}{solid})?{solid}+"
    run = r"[A-Z0-9]+(?:-[A-Z]+){0,2}"
    return [
        *_and_before_comma(rf"{part}(?:[-_\u058A\u2010\u2011]{part})*"),
        *_and_before_comma(rf"[A-Z0-9][A-Z0-9.,\u00AD]*(?:-(?:{ACRONYM}\.|[A-Z0-9\u00AD]+))+"),
        *_and_before_comma(r"(?-i:[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+)"),
        rf"({run}(?:\\?/{run}){{1,2}})",
        r"(-(?:RRB|LRB|RCB|LCB|RSB|LSB)-|pro-|anti-|c\+\+|[cf]\#)",
    ]


def address_rules(letters: str) -> list[str]:
    """Addresses of the web and of mail, names and tags of networks."""
    path = rf"(?:/[^{NO_URL}]+[^{NO_URL_END}])?"
    return [
        rf"(https?://[^{NO_URL}]+[^{NO_URL_END}])",
        rf"(www\.(?:[^{NO_URL_END}]+\.)+[A-Z]{{2,4}}{path})",
        # "," to "_" is a range there, surely by accident: it leaves out figures and capitals.
        rf"((?:(?-i:[^ \t\n\"`'<>|!(){{}},-_$])+\.)+(?:com|net|org|edu){path})",
        rf"((?:<|&lt;)?[A-Z0-9][^{NO_MAIL}]*@(?:[^{NO_MAIL}.]+\.)*[^{NO_MAIL}.]+(?:>|&gt;)?)",
        rf"(@[A-Z_][A-Z_0-9]*|\#[{letters}\u00ad]+)",
    ]


def sign_rules() -> list[str]:
    """Punctuation, brackets, symbols, faces, tags."""
    return [
        r"(</?[A-Z][A-Z0-9_:.-]* */?>|<[!?][A-Z-][^>]*>)",
        r"(&(?:MD|mdash|ndash|amp|lt|gt|quot|apos|HT|TL|UR|LR|QC|QL|QR|odq|cdq|\#[0-9]+);|[\u0096\u0097\u2013-\u2015])",
        r"((?-i:[A-Z]*)\$|\#|[¢£¤¥\u0080\u20A0\u20AC\u060B\u0E3F\u20A4\uFFE0\uFFE1\uFFE5\uFFE6])",
        r"([<>]?[:;=][-o*']?[()DP@|\\{\[\]])[^A-Z0-9]",
        r"([-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\))",
        r"(-+|@+|\#+|_+|\*+|(?:\\\*){1,3}|[?!]+|\.{3,5}|(?:\.[ \u00A0]){2,4}\.|<<|>>)",
        rf"([`‘’‚‛“”„‟‹›«»\u0091-\u0094]{{1,2}}|''|{APOSTROPHE})",
        rf"([\"(){{}}\[\]<>=/.,:;¡¿…\u0085\u037E\u0589\u061F\u06D4\u0700-\u0702\u07FA\u3001\u3002{SYMBOLS}])",
    ]


def _and_before_comma(token: str) -> list[str]:
    """The token, and the token with a full stop within a sentence, which belongs to an abbreviation: "dbl., twin"."""
    return [rf"({token})", rf"({token}\.)[,;:\u3001]"]


def _in_word(character: str) -> bool:
    """A letter, or a mark on one, of the scripts that have been in Unicode for long."""
    kind = unicodedata.category(character)
    return kind[0] == "L" or (kind[0] == "M" and character < "\u0ed0")


def _is_solid(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] == "L" or kind == "Nd"


def _ranges(wanted: Callable[[str], bool]) -> str:
    """The inside of a character class: all wanted characters of the basic plane. Beyond it Java sees no character."""
    inside = [code for code in range(0x10000) if wanted(chr(code))]
    starts = [code for before, code in zip([-2, *inside], inside, strict=False) if code != before + 1]
    ends = [code for code, after in zip(inside, [*inside[1:], -2], strict=True) if after != code + 1]
    return "".join(rf"\u{start:04x}-\u{end:04x}" for start, end in zip(starts, ends, strict=True))
