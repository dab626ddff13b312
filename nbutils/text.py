"""Sentences and words of plain text: where a sentence ends, and whether a text contains a value as whole words.

Every way to compare that the package has stands here, with what it minds and what it does not.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable

_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"])(?:[A-Z]|ca|c|St|Ste|Mt|Dr|Mr|Mrs|Jr|Sr|Gen|Col|Lt|No|vs|etc|est|approx|Ft|e\.g|i\.e|[A-Z]\.[A-Z]|"
    r"B\.C|A\.D|U\.S|D\.C)\.$"
)

# Of `ends_sentence`: a stop, then closing quotation marks and brackets; "U.S.", "J.", "Dr."
_CLOSED = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*$")
_TITLE = re.compile(r"^\W*((\w\.)+|(Mr|Mrs|Ms|Dr|Prof|Gen|Col|Lt|St|Sr|Jr|No|vs)\.)$")


def sentences(text: str) -> list[str]:
    """The text cut after each full stop, "!", "?" and semicolon that white space follows.

    Not after abbreviations and initials, not before a small letter (a full stop only), and not inside round brackets.
    """
    parts, start = [], 0
    for match in re.finditer(r"(?<=[.;!?])[\"”)]?\s+(?=\S)", text):
        part = text[start : match.end()].strip()
        stop = part.rstrip('"”)')[-1:] if part else ""
        opens = text[match.end() : match.end() + 1]
        inside = text[: match.end()].count("(") > text[: match.end()].count(")")
        if inside or (stop == "." and (_ABBREVIATION.search(part.rstrip('"”)')) or opens.islower())):
            continue
        parts.append(part)
        start = match.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def sentences_before_capitals(text: str) -> list[str]:
    """The text cut at each space between a full stop, "!" or "?" and a capital from A to Z, abbreviations or not."""
    return re.split(r"(?<=[.!?]) (?=[A-Z])", text)


def ends_sentence(word: str, following: str) -> bool:
    """True if a sentence of running text, Chinese and Japanese too, ends with the word and `following` begins another.

    Closing quotation marks and brackets may stand after the stop. Titles and initials ("Dr.", "U.S.") end none, nor
    does a word before a small letter.
    """
    return bool(_CLOSED.search(word)) and not _TITLE.search(word) and not following[0].islower()


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
