"""Surnames: the source writes them in capitals."""

import functools
import re

_KEPT_CAPITALS = frozenset(
    ("UK", "US", "UAE", "GNU", "CNSP", "BFC", "RN", "NA", "II", "DPRK", "TRNC", "EU", "ANZAC", "USSR", "PLC")
)


def is_roman_numeral(word: str) -> bool:
    """True for a regnal number such as "XIV", of I, V and X only."""
    return bool(re.fullmatch(r"[IVX]+", word))


@functools.lru_cache(maxsize=10_000)
def plain_names(text: str) -> str:
    """The text with surnames in capitals written as names: "Emmanuel MACRON" becomes "Emmanuel Macron"."""
    text = text.replace("XI Jinping", "Xi Jinping")
    text = re.sub(r"[^\W\d_][\w'\u2019-]*(?: (?:DE|DEL|DER|DOS|DA|BIN|LA|ES)(?= [^\W\d_a-z]{2}))*", _plain_words, text)
    return text.replace("-Au-", "-au-").replace("-Of-", "-of-")


def _plain_words(match: re.Match) -> str:
    first, *particles = match.group(0).split(" ")
    return " ".join([_plain_word(first), *(p.lower() if first.isupper() else p.capitalize() for p in particles)])


def _plain_word(word: str) -> str:
    letters = re.sub(r"[^\w]|[\d_]", "", word)
    if letters in _KEPT_CAPITALS or is_roman_numeral(letters):
        return word
    return re.sub(r"[^\W\d_]+", lambda m: _plain_part(word, m.start(), m.group(0)), word)


def _plain_part(word: str, at: int, part: str) -> str:
    """One run of letters of a word, which may be in capitals as a whole or after "Mc"."""
    if part.isupper() and (len(part) > 1 or (at > 1 and word[:at].isupper())):
        # A capital after a hyphen or after "O'" stays: Diaz-Canel, O'Neill; not after a glottal stop: Muli'aka'aka.
        return part.capitalize() if _starts_name(word, at) else part.lower()
    if re.fullmatch(r"Ma?c[A-Z]{3,}", part):
        prefix = part[: part.index("c") + 1]
        return prefix + part[len(prefix) :].capitalize()
    return part


def _starts_name(word: str, at: int) -> bool:
    return at == 0 or word[at - 1] == "-" or (at == 2 and word[1] in "'\u2019" and word[0] in "ODN")
