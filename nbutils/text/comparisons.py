"""Whether a text contains a value as whole words: each way to compare has its function, which says what it minds.

These are for values that are written as the text writes them, as those of the Factbook are. Whether an answer in any
script stands in a passage is asked of `contains_answer`.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable


@functools.lru_cache(maxsize=200_000)
def normalize(text: str) -> str:
    """Lower case, no accents, words and numbers only, one space between them: "Côte d'Ivoire (x)", "cote divoire x".

    Apostrophes are dropped, every other character that is no letter or digit separates words. Articles stay.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[^\w]+|_", " ", plain.casefold().replace("'", "").replace("\u2019", "")).split())


def padded_words(text: str) -> str:
    """`normalize(text)` with a space on either side: `padded_words(a) in padded_words(b)` compares whole words."""
    return f" {normalize(text)} "


def contains_words(text: str, value: str) -> bool:
    """True if the words of the value stand in the text one after another, whatever their case, accents, punctuation.

    Compared as by `normalize`: "Niger" is not in "Nigeria", "Cote d'Ivoire" is in "from Côte d'Ivoire." and "a, b"
    in "A (b)". A value without letters and digits is in a text without them only.
    """
    return padded_words(value) in padded_words(text)


def contains_exactly(text: str, value: str) -> bool:
    """True if the value stands in the text letter by letter, with no letter or digit right before or after it.

    Case, accents and punctuation count: ".fr" is in "code: .fr.", "5 July" is not in "15 July".
    """
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        if not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()):
            return True
        start = text.find(value, start + 1)
    return False


def contains_any(text: str, padded: Iterable[str]) -> bool:
    """True if one of the values, each as `padded_words` has it, stands in the text; compared as by `contains_words`."""
    text = padded_words(text)
    return any(value in text for value in padded)


def pattern_of_any(values: Iterable[str]) -> re.Pattern:
    """Finds each of the values letter by letter but for case, with no letter, digit or underscore next to it."""
    return re.compile("|".join(rf"(?<!\w){re.escape(value.strip())}(?!\w)" for value in values), re.IGNORECASE)


def pattern_of_whole(value: str) -> re.Pattern:
    """Finds the value letter by letter, as no part of a word or number: "3" is not in "1,350", nor "Man" in "Oman"."""
    return re.compile(rf"(?<![\w.,]){re.escape(value)}(?![.,]?\w)")


def slugify(name: str) -> str:
    """The name in the form of an id: "Cote d'Ivoire" becomes "cote-divoire"."""
    return re.sub(r"[^a-z0-9]+", "-", normalize(name)).strip("-")
