"""Answers in any script: whether one stands in a text, and what of it is compared with another."""

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from nbutils.text.comparisons import pattern_of_any
from nbutils.text.languages import latin_language, stem
from nbutils.text.scripts import UNSPACED, boundaries, canonical, has_unspaced, pattern

# DPR's tokens, runs of letters, marks and digits or else single symbols; in a script without spaces, characters.
_TOKEN = rf"{UNSPACED}\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}]--{UNSPACED}]+|[^\p{{Z}}\p{{C}}]"
_OTHER_SCRIPT = r"[\p{L}--\p{Script=Latin}]"
_HANGUL_WORD = r"\p{Script=Hangul}{2,}"


def contains_answer(text: str, answer: str, language: str | None = None) -> bool:
    """True if the answer stands in the text word for word, in any script; English is compared as DPR compares it.

    Case, NFC or NFD, width, the form of quotes and dashes and invisible characters do not count; accents, punctuation
    and articles do. Where words are written without spaces an answer must begin and end where a word does, by ICU:
    京都 is not in 東京都. A Korean answer may have a particle after it. In Arabic and the other scripts that `stem`
    knows, and in Latin letters with a `language` other than English, two words are the same if their stems are.
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
    last = needle.padded.split()[-1]
    if pattern(_HANGUL_WORD).fullmatch(last) and needle.padded.rstrip() in tokens.padded:
        return True
    return not needle.unspaced and _stems(answer, language) in _stems(text, language)


@dataclass(frozen=True)
class _Tokens:
    padded: str  # each token with a space on either side: no token contains one, so `in` finds whole tokens only
    unspaced: bool  # some are characters of a script without spaces
    edges: frozenset[int]  # with `unspaced`: places in `padded` of the spaces at which a word begins or ends


@functools.lru_cache(maxsize=20_000)
def _tokens(text: str) -> _Tokens:
    text = canonical(text).lower()
    matches = list(pattern(_TOKEN).finditer(text))
    padded = " " + " ".join(match[0] for match in matches) + " "
    if not has_unspaced(text):
        return _Tokens(padded, False, frozenset())
    cuts, place, edges, before = boundaries(text), 0, {0}, None
    for match in matches:
        if before and _may_part(before, match, cuts):
            edges.add(place)
        place += len(match[0]) + 1
        before = match
    return _Tokens(padded, True, frozenset(edges | {place}))


def _may_part(before, after, cuts: set[int]) -> bool:
    """True if a word may end with one token and the next begin a word: not within a number, nor within a word."""
    if before.end() < after.start() or not all(has_unspaced(token[0]) for token in (before, after)):
        return True  # white space, punctuation, another script
    if _is_number(before[0]) and _is_number(after[0]):
        return False
    return after.start() in cuts


def _is_number(character: str) -> bool:
    """Digits, and Chinese and Japanese numerals: 三 is not in 十三."""
    return unicodedata.numeric(character[0], None) is not None


def _holds(tokens: _Tokens, needle: _Tokens) -> bool:
    place = tokens.padded.find(needle.padded)
    if not tokens.unspaced:
        return place >= 0
    while place >= 0:
        if place in tokens.edges and place + len(needle.padded) - 1 in tokens.edges:
            return True
        place = tokens.padded.find(needle.padded, place + 1)
    return False


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
_IN_NUMBER = (
    r"(?<=\p{Nd})[.,:/^*-](?=\p{Nd})|(?<![\p{L}\p{N}\p{M}])[+-](?=[.,]?\p{Nd})|(?<![\p{L}\p{N}\p{M}])[.](?=\p{Nd})"
)
_SYMBOL = r"[\p{S}%‰#&@--`]"  # the backtick is markup
# Not the last word, nor before a single letter: "vitamin A" and "A, C" are answers.
_ARTICLE = r"\b(?:a|an|the)\b(?=\s+(?:\w\w|[^\Wa-z]))"


@functools.lru_cache(maxsize=20_000)
def comparable(answer: str) -> str:
    """An answer as answers on one's own data are compared: SQuAD's rule without what it loses, in any script.

    Lower case, no punctuation, no articles, single spaces. But a sign before a number stays, and so do ".", ",", ":"
    "/" and "-" between digits (not the commas of "1,234,567"), and symbols: "-1.5", "10:30", "C++" and "10%" are not
    15, 1030, C and 10. An article with no word behind it is an answer ("A", "vitamin A"). What would become empty is
    compared as it stands. The text is in its `canonical` form, punctuation of every script goes, and characters of
    scripts without spaces are words of their own, so that token F1 counts them.
    """
    text = canonical(answer).lower()
    plain = pattern(_THOUSANDS).sub(lambda number: number[0].replace(",", ""), text)
    # What is to stay matches first; of the rest, punctuation goes.
    plain = pattern(rf"({_IN_NUMBER})|({_SYMBOL}|{UNSPACED}\p{{M}}*)|[\p{{P}}`]").sub(_kept, plain)
    plain = " ".join(plain.split())
    return pattern(_ARTICLE).sub("", plain).strip().replace("  ", " ") or " ".join(text.split()) or answer


def _kept(match) -> str:
    in_number, alone = match.groups()
    return in_number or (f" {alone} " if alone else "")
