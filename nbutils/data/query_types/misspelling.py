"""Typing errors: one letter of a word replaced by its neighbor on the keyboard, swapped, left out, or doubled."""

import re
from collections.abc import Callable

from nbutils.data.query_types.draws import drawn, drawn_order
from nbutils.data.query_types.function_words import FUNCTION_WORDS

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # each row half a key to the right of the one above
_WORD = re.compile(r"[^\W\d_]+")
_MIN_LETTERS = 4  # of a word that is misspelt: a shorter one would not be known again


def _neighbors() -> dict[str, str]:
    """Letter -> the letters whose keys touch its key on a QWERTY keyboard."""
    at = {letter: (column + 0.5 * row, row) for row, keys in enumerate(_ROWS) for column, letter in enumerate(keys)}
    return {
        letter: "".join(
            other for other, (x2, y2) in at.items() if other != letter and abs(x - x2) <= 1 and abs(y - y2) <= 1
        )
        for letter, (x, y) in at.items()
    }


NEIGHBORS = _neighbors()


def _replaced(word: str, at: int, *key: str) -> str:
    letter = drawn(NEIGHBORS.get(word[at].lower(), ""), *key, "letter") if word[at].lower() in NEIGHBORS else ""
    return word[:at] + (letter.upper() if word[at].isupper() else letter) + word[at + 1 :] if letter else word


def _swapped(word: str, at: int, *_: str) -> str:
    return word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :]


def _left_out(word: str, at: int, *_: str) -> str:
    return word[:at] + word[at + 1 :]


def _doubled(word: str, at: int, *_: str) -> str:
    return word[:at] + word[at] + word[at:]


ERRORS: dict[str, Callable[..., str]] = {
    "replaced": _replaced,
    "swapped": _swapped,
    "left out": _left_out,
    "doubled": _doubled,
}


def misspell_word(word: str, *key: str) -> str:
    """The word with one error, drawn by `key`: its kind, each as likely, and its place, never the first letter.

    People seldom get the first letter of a word wrong. The word has two letters or more.
    """
    kind = drawn(tuple(ERRORS), *key, "kind")
    for at in drawn_order(range(1, len(word)), *key, "place"):
        wrong = ERRORS[kind](word, at, *key)
        if wrong != word:
            return wrong
    return _doubled(word, len(word) - 1)  # nothing to swap, or no key with such a letter


def n_errors(n_content_words: int) -> int:
    """One error for every two content words, rounded down, at least one."""
    return max(1, n_content_words // 2)


def misspell(question: str, *key: str) -> str | None:
    """The question with `n_errors` of its content words misspelt, one error each, drawn by `key`; all else is kept.

    Hit are words of four letters or more, names too; of a question without such a word its longest one. There are
    fewer errors where there are fewer such words. None where no word has two letters.
    """
    found = [match for match in _WORD.finditer(question) if len(match[0]) > 1]
    content = [match for match in found if match[0].lower() not in FUNCTION_WORDS]
    long_enough = [match for match in content if len(match[0]) >= _MIN_LETTERS]
    if not found:
        return None
    hit = drawn_order(long_enough or [max(content or found, key=lambda match: len(match[0]))], *key, "words")
    for match in sorted(hit[: n_errors(len(content))], key=lambda match: -match.start()):
        wrong = misspell_word(match[0], *key, str(match.start()))
        question = question[: match.start()] + wrong + question[match.end() :]
    return question
