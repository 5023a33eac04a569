"""What the evaluation of VQA v2 replaces, for `vqa`: data of its script, with that script's slips."""

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = frozenset({"a", "an", "the"})
NUMBERS = {"none": "0"} | {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}

# Words that have lost one apostrophe and get it back. Words of two are below. The script has capital "Im", "Ive" and
# such as well, which no lower-case answer can meet: "im" stays.
_ONE = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's "
    "isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've "
    "shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're "
    "there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd "
    "where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're "
    "you've"
)

# Words that have lost one of two apostrophes, either the first or the second.
_TWO = (
    "couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've "
    "something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've"
)

_ODD = {
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
    "somebody'd": "somebodyd",  # the wrong way round in the script, and so in its scores
}


def _contractions() -> dict[str, str]:
    found = {word.replace("'", ""): word for word in _ONE.split()}
    for word in _TWO.split():
        first, second, third = word.split("'")
        found |= {f"{first}{second}'{third}": word, f"{first}'{second}{third}": word}
    return found | _ODD


CONTRACTIONS = _contractions()
