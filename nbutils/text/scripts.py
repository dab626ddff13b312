"""Words in any script: one form of the many ways to write a letter, and words where no space divides them.

Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without spaces between words. There ICU's dictionaries say
where a word ends; elsewhere a word is a run of letters, marks and digits.
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

# U+30FC lengthens a vowel of Japanese and U+3006 is a letter of it; Unicode gives both to several scripts.
UNSPACED = (
    r"[[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}"
    r"\p{Script=Myanmar}\u30fc\u3006]&&[\p{L}\p{M}\p{N}]]"
)
_SINGLE_QUOTES = "\u2018\u2019\u201a\u201b\u2039\u203a\u2032\u02b9\u02bc\u00b4"
_DOUBLE_QUOTES = "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"
_WAVES = "\u301c\u30a0"  # Unicode calls them dashes; Japanese does not use them as such
_ARABIC_SEPARATORS = {"\u066b": ".", "\u066c": ","}  # of decimals and of thousands
# Other ways to write a character: full or half width, a ligature, an Arabic letter by its place in the word. Not
# <super> or <fraction>: 10² is not 102, nor 1½ 11/2.
_SAME_CHARACTER = ("<wide>", "<narrow>", "<compat>", "<initial>", "<medial>", "<final>", "<isolated>")
# Thai's and Lao's vowel AM is such a one too, but taken apart no dictionary knows its words: the parts become one.
_AM_IN_PARTS = {"\u0e4d([\u0e48-\u0e4b]?)\u0e32": "\\1\u0e33", "\u0ecd([\u0ec8-\u0ecb]?)\u0eb2": "\\1\u0eb3"}
_SOUTHEAST_LETTER = r"[\p{Script=Thai}\p{Script=Lao}]"
# Vowel signs of Arabic and Hebrew, which one writes or leaves out, and the stroke that makes an Arabic word longer
_OPTIONAL_SIGNS = "[\u064b-\u0652\u0670\u0640\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"


@functools.cache
def pattern(expression: str) -> Any:
    """The compiled expression of the `regex` library, which knows scripts and sets of characters."""
    import regex

    return regex.compile(f"(?V1){expression}")


@functools.lru_cache(maxsize=10_000)
def canonical(text: str) -> str:
    """The text in one form: composed (NFC), straight quotes, "-" for every dash, usual width and digits, all visible.

    Zero-width characters, soft hyphens, direction marks and the vowel signs of Arabic and Hebrew are dropped. Case,
    accents and punctuation stay; ASCII is returned as it is.
    """
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", "".join(map(_folded, unicodedata.normalize("NFC", text))))
    for parts, whole in _AM_IN_PARTS.items():
        text = pattern(parts).sub(whole, text)
    return text


def caseless(text: str) -> str:
    """The text in its `canonical` form without case: ß is ss, and the capital of Turkish's i is no i with a dot."""
    return canonical(text).casefold().replace("i\u0307", "i")


@functools.cache
def _folded(character: str) -> str:
    if character.isascii():
        return character
    if pattern(rf"\p{{Default_Ignorable_Code_Point}}|{_OPTIONAL_SIGNS}").match(character):
        return ""
    if character in _SINGLE_QUOTES:
        return "'"
    if character in _DOUBLE_QUOTES:
        return '"'
    if character == "\u2212" or (unicodedata.category(character) == "Pd" and character not in _WAVES):
        return "-"
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    if character in _ARABIC_SEPARATORS:
        return _ARABIC_SEPARATORS[character]
    other = unicodedata.decomposition(character)
    if other.startswith(_SAME_CHARACTER) and not pattern(_SOUTHEAST_LETTER).match(character):
        same = unicodedata.normalize("NFKC", character)
        return character if " " in same else same  # a lone accent would become a space with the accent on it
    return character


def boundaries(text: str) -> set[int]:
    """Where ICU lets a word of the text begin or end, as indices into it."""
    from icu4py.breakers import WordBreaker

    # Not `segments()`: it counts in UTF-16, where rare characters take two places.
    places, end = {0}, 0
    for segment in WordBreaker(text, "en"):  # ICU takes the dictionary from the script, not from the language
        end += len(segment)
        places.add(end)
    return places


def words(text: str) -> list[str]:
    """The words of the text in its `canonical` form, in order, without punctuation."""
    return [
        word for run in word_runs(canonical(text)) for word in (split_unspaced(run) if has_unspaced(run) else [run])
    ]


def word_runs(text: str) -> list[str]:
    """The runs of letters, marks, digits and underscores."""
    return pattern(r"[\p{L}\p{N}\p{M}_]+").findall(text)


def has_unspaced(text: str) -> bool:
    """True if a letter is of a script that puts no spaces between words."""
    return not text.isascii() and pattern(UNSPACED).search(text) is not None


def split_unspaced(run: str) -> list[str]:
    """The words of a run of letters and digits, some of them in a script without spaces."""
    cuts = sorted(boundaries(run) | {place for part in _unspaced_parts(run) for place in part.span()})
    return [run[start:end] for start, end in itertools.pairwise(cuts)]


def _unspaced_parts(text: str) -> Iterator[Any]:
    return pattern(f"{UNSPACED}+").finditer(text)


# Chinese and Japanese: a character counts as a word, as it does for the models. What is longer than 60 characters
# elsewhere is no word, and is cut.
_CHARACTERS = "\u3001-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
_ASCII_WORD = re.compile(r"\S{1,60}", re.ASCII)
SOUTHEAST_ASIAN = r"[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]"


def word_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of each word of the text as it is, punctuation included, for counting and cutting.

    A word is what white space separates, one character of Chinese or Japanese, or where Thai, Lao, Khmer and Burmese
    run on, what ICU takes for a word.
    """
    if text.isascii():
        return [match.span() for match in _ASCII_WORD.finditer(text)]
    spans = [match.span() for match in pattern(rf"[{_CHARACTERS}]|[^\s{_CHARACTERS}]{{1,60}}").finditer(text)]
    if not pattern(SOUTHEAST_ASIAN).search(text):
        return spans
    spans = []
    for chunk in pattern(rf"[{_CHARACTERS}]|[^\s{_CHARACTERS}]+").finditer(text):
        start, end = chunk.span()
        cuts = range(start, end, 60)
        if pattern(SOUTHEAST_ASIAN).search(chunk[0]):
            cuts = sorted(start + place for place in boundaries(chunk[0]) - {len(chunk[0])})
        spans += zip(cuts, [*cuts[1:], end], strict=True)
    return spans


def first_words(text: str, n: int) -> str:
    """The text up to the end of its `n`-th word, as `word_spans` counts them."""
    spans = word_spans(text)
    return text[: spans[n - 1][1]] if len(spans) > n else text
