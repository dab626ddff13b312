"""Answers in any script: whether one stands in a text, and what of it is compared with another."""

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from nbutils.text.comparisons import pattern_of_any
from nbutils.text.languages import latin_language, stem
from nbutils.text.scripts import SOUTHEAST_ASIAN, UNSPACED, boundaries, caseless, has_unspaced, pattern

# DPR's tokens, runs of letters, marks and digits or else single symbols; in a script without spaces, characters. What
# Korean, Arabic and Hebrew write to a number is a token of its own.
_APART = r"[[\p{Script=Hangul}\p{Script=Arabic}\p{Script=Hebrew}]&&\p{L}]"
_TOKEN = rf"{UNSPACED}\p{{M}}*|(?:{_APART}\p{{M}}*)+|[[\p{{L}}\p{{N}}\p{{M}}]--{UNSPACED}--{_APART}]+|[^\p{{Z}}\p{{C}}]"
_OTHER_SCRIPT = r"[\p{L}--\p{Script=Latin}]"
_KOREAN_PARTICLES = (
    "은|는|이|가|을|를|의|에(?:는|도|서|서는|서도|서의|게|게서)?|께서|한테|으?로(?:는|도|의|서|써|부터)?|[와과](?:의|는)?|이?나|이?랑|"
    "도|만(?:의|이|을)?|부터|까지(?:의|는)?|보다|처럼|같은|마다|이?다|입니다|이?며|이?고|이었다|였다|이었으며|였으며|이?라는|이?라고|"
    "이?란|이?자|인|이?지만|이?라|들(?:의|이|은|을)?"
)
_KATAKANA = r"[\p{Script=Katakana}\u30fc]"
_LONG, _LONG_SOUTHEAST = 4, 6  # letters, from which on an answer is no part of a longer word
_CLITICS = {"Arabic": "[وف]?[بكل]|[وف]", "Hebrew": "[ושהבכלמ]{1,3}"}  # "and", "in", "to" and the like, before a word
_FUNCTION_WORDS = frozenset(
    "的了和与及或等于在由是为被把将给让向从对到有所中上下里内也都而则并就称说即之曾以后前时便又还据叫当流"
)


def contains_answer(text: str, answer: str, language: str | None = None) -> bool:
    """True if the answer stands in the text word for word, in any script; English is compared as DPR compares it.

    Case, NFC or NFD, width, the form of quotes and dashes and invisible characters do not count; accents, punctuation
    and articles do. Where words are written without spaces an answer must begin and end where a word does, by ICU, if
    it is short: 京都 is not in 東京都. A Korean answer may have a particle after it, an Arabic or Hebrew one a
    preposition before it. In Arabic and the other scripts that `stem` knows, and in Latin letters with a `language`
    other than English, two words are the same if their stems are.
    An answer without a letter, digit or symbol is in no text.
    """
    needle, tokens = _tokens(answer), _tokens(text)
    if not needle.padded.strip():
        return False
    if _holds(tokens, needle):
        return True
    language = "" if language in (None, "english") else language
    if not language and not pattern(_OTHER_SCRIPT).search(answer):
        return False
    if _has_more_written_to_it(tokens.padded, needle.padded):
        return True
    return not needle.unspaced and _stems(answer, language) in _stems(text, language)


def _has_more_written_to_it(padded: str, needle: str) -> bool:
    """True if the answer stands there with a Korean particle after it, or an Arabic or Hebrew preposition before it."""
    first, last = needle.split()[0], needle.split()[-1]
    if pattern(r"\p{Script=Hangul}+").fullmatch(last):
        if len(last) > 1 and needle.rstrip() in padded:
            return True
        return pattern(rf"{re.escape(needle.rstrip())}(?:{_KOREAN_PARTICLES}) ").search(padded) is not None
    for script, clitics in _CLITICS.items():
        if pattern(rf"\p{{Script={script}}}{{3,}}").fullmatch(first):
            return pattern(rf" (?:{clitics}){re.escape(needle.lstrip())}").search(padded) is not None
    return False


@dataclass(frozen=True)
class _Tokens:
    padded: str  # each token with a space on either side: no token contains one, so `in` finds whole tokens only
    unspaced: bool  # some are characters of a script without spaces
    # With `unspaced`, places in `padded` of the spaces at which a word begins or ends, and those within a number or a
    # word of Katakana, at which none does. Of all others ICU's dictionaries tell, which do not know every name.
    edges: frozenset[int]
    inside: frozenset[int]


@functools.lru_cache(maxsize=20_000)
def _tokens(text: str) -> _Tokens:
    text = caseless(text)
    matches = list(pattern(_TOKEN).finditer(text))
    padded = " " + " ".join(match[0] for match in matches) + " "
    if not has_unspaced(text):
        return _Tokens(padded, False, frozenset(), frozenset())
    cuts, place, edges, inside, before = boundaries(text), 0, {0}, set(), None
    for match in matches:
        if before and before.end() == match.start() and all(has_unspaced(token[0]) for token in (before, match)):
            if all(_is_number(token[0]) for token in (before, match)) or (
                match.start() not in cuts and all(pattern(_KATAKANA).match(token[0]) for token in (before, match))
            ):
                inside.add(place)
            elif match.start() in cuts:
                edges.add(place)
        else:  # white space, punctuation, another script
            edges.add(place)
        place += len(match[0]) + 1
        before = match
    return _Tokens(padded, True, frozenset(edges | {place}), frozenset(inside))


def _is_number(character: str) -> bool:
    """Digits, and Chinese and Japanese numerals: 三 is not in 十三."""
    return unicodedata.numeric(character[0], None) is not None


def _holds(tokens: _Tokens, needle: _Tokens) -> bool:
    place = tokens.padded.find(needle.padded)
    if not tokens.unspaced:
        return place >= 0
    while place >= 0:
        if _stands_alone(tokens, needle, place):
            return True
        place = tokens.padded.find(needle.padded, place + 1)
    return False


def _stands_alone(tokens: _Tokens, needle: _Tokens, start: int) -> bool:
    """True if no word goes on beyond the answer, which begins at a place in the text's `padded`.

    Of a long answer that is taken for granted. Of a short one it is so too where ICU sees a word of its last letter and
    a function word: in 勇于, the end of a name may be meant.
    """
    end = start + len(needle.padded) - 1
    if start in tokens.inside or end in tokens.inside:
        return False
    n_letters = needle.padded.count(" ") - 1
    if n_letters >= (_LONG_SOUTHEAST if pattern(SOUTHEAST_ASIAN).search(needle.padded) else _LONG):
        return True
    outside = {start: tokens.padded[start - 1 : start], end: tokens.padded[end + 1 : end + 2]}
    in_parts = any(start < place < end for place in tokens.edges)  # else all of it is in one word, as 不平 in 不平等
    return all(place in tokens.edges or (in_parts and letter in _FUNCTION_WORDS) for place, letter in outside.items())


@functools.lru_cache(maxsize=20_000)
def _stems(text: str, language: str) -> str:
    return " " + " ".join(stem(token, language) for token in _tokens(text).padded.split()) + " "


def holding(texts: Sequence[str], answers: Sequence[str]) -> list[int]:
    """Numbers of the texts, pieces of one text that answers a question, in which an answer stands; [] if in none.

    The strictest way to compare by which any piece holds an answer decides: letter by letter as a whole word, whatever
    the case; then as `contains_answer`; then, unless the text is English, anywhere within words (an article before it,
    an ending after it); last, words with a common beginning, which all but the last two letters of each are.
    """
    answers = [answer for answer in answers if _tokens(answer).padded.strip()]
    if not answers:
        return []
    whole = pattern_of_any(answers)
    if found := [i for i, piece in enumerate(texts) if whole.search(piece)]:
        return found
    language = latin_language(texts)
    ways = [lambda piece, answer: contains_answer(piece, answer, language)]
    if language != "english":
        ways += [_within_words, _by_beginnings]
    for way in ways:
        if found := [i for i, piece in enumerate(texts) if any(way(piece, answer) for answer in answers)]:
            return found
    return []


def _within_words(text: str, answer: str) -> bool:
    return _tokens(answer).padded.strip() in _tokens(text).padded


def _by_beginnings(text: str, answer: str) -> bool:
    """True if each word of the answer begins a word of the text, one after another; a long one may change its end."""
    beginnings = [
        token[: max(3, len(token) - 2)] if token.isalpha() else token for token in _tokens(answer).padded.split()
    ]
    tokens = _tokens(text).padded.split()
    return any(
        all(token.startswith(start) for token, start in zip(tokens[i:], beginnings, strict=False))
        for i in range(len(tokens) - len(beginnings) + 1)
    )


# SQuAD's rule on one's own data

_THOUSANDS = r"(?<![\p{Nd}.,])[1-9]\p{Nd}{0,2}(?:,\p{Nd}{3})+(?!\p{Nd})"
# A sign before a number or a sum of money, and of an exponent; what stands between digits; a grade or a blood group.
_IN_NUMBER = (
    r"(?<=\p{Nd})[.,:/^*-](?=\p{Nd})|(?<=\p{Nd}e)[+-](?=\p{Nd})|(?<![\p{L}\p{N}\p{M}])[+-](?=\p{Sc}?[.,]?\p{Nd})|"
    r"(?<![\p{L}\p{N}\p{M}])[.](?=\p{Nd})|(?<=(?<![\p{L}\p{N}])\p{L}{1,2})-(?![\p{L}\p{N}])"
)
_BETWEEN = "[,;:/]"  # parts two answers where no space does: "A,B"
_SYMBOL = r"[\p{S}%‰#&@--`]"  # the backtick is markup
# Not the last word, nor before a single letter: "vitamin A" and "A, C" are answers.
_ARTICLE = r"\b(?:a|an|the)\b(?=\s+(?:\w\w|[^\Wa-z]))"


@functools.lru_cache(maxsize=20_000)
def comparable(answer: str) -> str:
    """An answer as answers on one's own data are compared: SQuAD's rule without what it loses, in any script.

    No case, no punctuation, no articles, single spaces. But a sign before a number stays, and so do ".", ",", ":"
    "/" and "-" between digits (not the commas of "1,234,567"), and symbols: "-1.5", "10:30", "C++" and "10%" are not
    15, 1030, C and 10. An article with no word behind it is an answer ("A", "vitamin A"). What would become empty is
    compared as it stands. The text is in its `canonical` form, punctuation of every script goes, and characters of
    scripts without spaces are words of their own, so that token F1 counts them.
    """
    text = caseless(answer)
    plain = pattern(_THOUSANDS).sub(lambda number: number[0].replace(",", ""), text)
    # What is to stay matches first; of the rest, punctuation goes.
    plain = pattern(rf"({_IN_NUMBER})|({_SYMBOL}|{UNSPACED}\p{{M}}*)|({_BETWEEN})|[\p{{P}}`]").sub(_kept, plain)
    plain = " ".join(plain.split())
    return " ".join(pattern(_ARTICLE).sub("", plain).split()) or " ".join(text.split()) or answer


def _kept(match) -> str:
    in_number, alone, between = match.groups()
    return in_number or (f" {alone} " if alone else " " * bool(between))
