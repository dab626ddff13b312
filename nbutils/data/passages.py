"""Texts cut into passages, and the passages of a text that hold an answer."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from nbutils.data.schema import Passage
from nbutils.files import sha256_text
from nbutils.text import contains_exactly, ends_sentence, holding, word_spans

# Title and text of a passage -> its tokens as a share of those that an encoder reads: above 1 its end is not read.
Fill = Callable[[str, str], float]


def split_text(text: str, max_words: int = 100, fill: Callable[[str], float] | None = None) -> list[tuple[int, int]]:
    """(start, end) of the pieces of `text`, each of at most `max_words` words, as `text.word_spans` counts them.

    A piece ends at a sentence end where that is possible, and the pieces are about equally long, so that none is a stub
    of a few words. A single sentence of more than `max_words` words is cut between words. With `fill`, by which a text
    above 1 is too long, no piece is, unless it is a single word.
    """
    words = word_spans(text)
    if not words:
        return []
    full = fill(text) if fill is not None and len(words) > 1 else 0.0
    if full <= 1:
        return _pieces(text, words, max_words)
    most = min(max_words, max(1, int(len(words) / full)), len(words) - 1)
    spans = []
    for start, end in _pieces(text, words, most):
        piece = text[start:end]
        # Not all words have equally many tokens: some pieces may still be too long.
        inner = [(0, len(piece))] if fill(piece) <= 1 else split_text(piece, most, fill)
        spans += [(start + first, start + last) for first, last in inner]
    return spans


def _pieces(text: str, words: Sequence[tuple[int, int]], max_words: int) -> list[tuple[int, int]]:
    if len(words) <= max_words:
        return [(words[0][0], words[-1][1])]
    n_pieces = -(-len(words) // max_words)
    target = -(-len(words) // n_pieces)
    written = [text[start:end] for start, end in words]
    sentences, first = [], 0  # (first word, one past the last word)
    for i, word in enumerate(written):
        last = i + 1 == len(words)
        if last or i + 1 - first == max_words or ends_sentence(word, written[i + 1]):
            sentences.append((first, i + 1))
            first = i + 1
    pieces = [sentences[0]]
    for first, end in sentences[1:]:
        piece_first, piece_end = pieces[-1]
        if end - piece_first > max_words or piece_end - piece_first >= target:
            pieces.append((first, end))
        else:
            pieces[-1] = (piece_first, end)
    return [(words[first][0], words[end - 1][1]) for first, end in pieces]


@lru_cache(maxsize=8)  # the questions on one text follow one another
def cut_passages(
    title: str, text: str, max_words: int, fill: Fill | None = None
) -> dict[str, tuple[Passage, int, int]]:
    """Passage id -> (passage, its start and end in `text`), in order. The id is a digest of title and text."""
    full = None if fill is None else lambda piece: fill(title, piece)
    spans = [(text[start:end], start, end) for start, end in split_text(text, max_words, full)]
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
