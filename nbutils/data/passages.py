"""Texts cut into passages, and the passages of a text that hold an answer."""

import re
from collections.abc import Sequence
from functools import lru_cache

from nbutils.data.schema import Passage
from nbutils.files import sha256_text
from nbutils.text import contains_exactly, ends_sentence, holding

# Chinese and Japanese are written without spaces: each character counts as a word there. What is longer than 60
# characters elsewhere is no word, and is cut.
_UNSPACED = "\u3001-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]{{1,60}}")


def words_of(text: str) -> list[tuple[int, int]]:
    """(start, end) of each word: what white space separates, or one character of Chinese or Japanese."""
    return [word.span() for word in _WORD.finditer(text)]


def split_text(text: str, max_words: int = 100) -> list[tuple[int, int]]:
    """(start, end) of the pieces of `text`, each of at most `max_words` words, as `words_of` counts them.

    A piece ends at a sentence end where that is possible, and the pieces are about equally long, so that none is a stub
    of a few words. A single sentence of more than `max_words` words is cut between words.
    """
    words = list(_WORD.finditer(text))
    if len(words) <= max_words:
        return [(words[0].start(), words[-1].end())] if words else []
    n_pieces = -(-len(words) // max_words)
    target = -(-len(words) // n_pieces)
    sentences, first = [], 0  # (first word, one past the last word)
    for i, word in enumerate(words):
        last = i + 1 == len(words)
        stops = last or i + 1 - first == max_words
        if stops or (not word[0][-1].isalnum() and ends_sentence(word[0], words[i + 1][0])):  # most end in a letter
            sentences.append((first, i + 1))
            first = i + 1
    pieces = [sentences[0]]
    for first, end in sentences[1:]:
        piece_first, piece_end = pieces[-1]
        if end - piece_first > max_words or piece_end - piece_first >= target:
            pieces.append((first, end))
        else:
            pieces[-1] = (piece_first, end)
    return [(words[first].start(), words[end - 1].end()) for first, end in pieces]


@lru_cache(maxsize=8)  # the questions on one text follow one another
def cut_passages(title: str, text: str, max_words: int) -> dict[str, tuple[Passage, int, int]]:
    """Passage id -> (passage, its start and end in `text`), in order. The id is a digest of title and text."""
    spans = [(text[start:end], start, end) for start, end in split_text(text, max_words)]
    return {sha256_text(title, piece)[:16]: (Passage(title, piece), start, end) for piece, start, end in spans}


def gold_pieces(
    pieces: dict[str, tuple[Passage, int, int]],
    text: str,
    answers: Sequence[tuple[str, int | None]],
    else_all: bool = True,
) -> list[str]:
    """Ids of the pieces that hold an answer: where its given start is right, there; else wherever `holding` finds it.

    With `else_all` all of them when no piece does: the text answers in other words, and that is all that is known.
    """
    if else_all and len(pieces) == 1:  # most texts of most files: whatever is found, it is this one
        return list(pieces)
    spans = [(start, start + len(a)) for a, start in answers if start is not None and text.startswith(a, start)]
    gold = overlapping(pieces, spans) or _holding(pieces, [answer for answer, _ in answers])
    return gold or (list(pieces) if else_all else [])


def _holding(pieces: dict[str, tuple[Passage, int, int]], answers: list[str]) -> list[str]:
    """Ids of the pieces in which an answer stands, as `holding` says; what it would find first is looked for faster."""
    wanted = [answer.strip().lower() for answer in answers]
    found = []
    for id, (passage, _, _) in pieces.items():
        text = passage.text.lower()
        if any(answer in text and contains_exactly(text, answer) for answer in wanted):
            found.append(id)
    if found:
        return found
    ids = list(pieces)
    return [ids[i] for i in holding([passage.text for passage, _, _ in pieces.values()], answers)]


def overlapping(pieces: dict[str, tuple[Passage, int, int]], spans: Sequence[tuple[int, int]]) -> list[str]:
    """Ids of the pieces that share a character with one of the (start, end) of the text."""
    return [id for id, (_, first, end) in pieces.items() if any(a < end and first < b for a, b in spans)]


def unique(values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
