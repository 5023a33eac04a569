"""The COCO caption tools themselves, Java included, and the cases made with them.

Make the cases again: `python -m tests.evaluation.scorers.coco_tools`, with Java 8 or later.
"""

import json
import pathlib
import shutil

import pytest

CASES = pathlib.Path(__file__).parent / "cases.json"

# Three captions to an item; the first is the candidate.
NASTY = [
    ("A man's dog can't reach the boys' ball.", "The man\u2019s dog cannot reach it!", "It's a dog that won't stop."),
    ("A black-and-white T-shirt, size 10.", "A black and white t-shirt (size 10)", "Black/white tee-shirt - size ten."),
    ('A sign says "STOP" .', "The \u201cstop\u201d sign", "'Stop' it says, doesn't it?"),
    ("At 7:30 a.m. the U.S. flag flies.", "7:30 AM in the U.S.A.", "It's 7.30 a.m., U.S. time"),
    ("Two dogs... running ...", "Two dogs\u2026 running", "two dogs .. running....."),
    ("R&B band & crowd of 1,000", "An AT&amp;T store & a B&B", "Rock 'n' roll band and a crowd of 1000"),
    ("caf\u00e9 na\u00efve \u00fcber Z\u00fcrich", "CAF\u00c9 Na\u00efve", "a caf\u00e9 in Z\u00fcrich's centre"),
    (
        "A dog \U0001f436 and a cat\U0001f431sleep \u2764 \U0001f44d\U0001f3fd",
        "dog and cat \u263a sleep",
        "A dog, a cat :-)",
    ),
    ("[A] {man} (walks) <fast>", "(A man walks) fast .", "a man walks fast <3"),
    ("Mr. Smith, Dr. Who & St. John vs. B. Obama", "Mr Smith and Dr Who", "Mrs. Smith et al. with J. R. etc."),
    ('3-year-old eats 1/2 of a 12" pizza', "A 3 year old eats 3 1/2 pizzas", "50% of a $5.00 pizza \u2013 \u00bd gone"),
    ("gonna wanna gotta cannot", "'tis 'twas y'all ma'am o'clock", "should've couldn't've they'd"),
    ("A man -- no, two men - ride; slowly: fast", "two men ride ---- slowly?!", "Men!! riding??"),
    ("No. 5 bus, fig. 3, Ave. B", "bus no 5 at 5 pm", "the #5 bus @ 5th ave., NYC"),
    ("a dog_cat under_score and/or x+y=z", "dog cat under score", "a * b ~ c ^ d | e \\ f"),
    ("\u4e00\u53ea\u72d7 dog \u5728\u8dd1\u3002", "a dog \u8dd1\uff0c\u72d7", "dog"),
    ("www.example.com at http://a.b/c?d=e me@home.org", "a web page", "example.com, a page"),
    ("", "   ", "a plain caption"),
]


def java_or_skip() -> None:
    if shutil.which("java") is None:
        pytest.skip("Java is not installed; the stored cases stand in for it")


def tokenize(captions: list[str]) -> list[list[str]]:
    """Words of each caption by the Java program, as the tools ask it; a plain caption at the end, lest one be last."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    asked = {item: [{"caption": caption}] for item, caption in enumerate([*captions, "end"])}
    found = PTBTokenizer().tokenize(asked)
    return [[word for word in found[item][0].split(" ") if word] for item in range(len(captions))]


def scores(items: list[tuple[str, ...]]) -> dict[str, float]:
    """The tools' scores of the first caption of each item against the others, by their own words."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    words = iter(tokenize([caption for item in items for caption in item]))
    cut = [[" ".join(next(words)) for _ in item] for item in items]
    found = {item: captions[:1] for item, captions in enumerate(cut)}
    true = {item: captions[1:] for item, captions in enumerate(cut)}
    names = [*(f"BLEU-{n}" for n in range(1, 5)), "ROUGE-L", "CIDEr-D"]
    values = [*Bleu(4).compute_score(true, found, verbose=0)[0]]
    values += [Rouge().compute_score(true, found)[0], Cider().compute_score(true, found)[0]]
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def make() -> dict:
    captions = [caption for item in NASTY for caption in item]
    return {"words": dict(zip(captions, tokenize(captions), strict=True)), "scores": scores(NASTY)}


if __name__ == "__main__":
    CASES.write_text(json.dumps(make(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
