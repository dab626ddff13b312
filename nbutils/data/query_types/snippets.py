"""Exact snippets: a run of words of a passage, copied letter by letter."""

from itertools import pairwise

from nbutils.data.query_types.draws import drawn, drawn_order
from nbutils.data.query_types.function_words import content_words
from nbutils.data.schema import Passage
from nbutils.text import ends_sentence, search_words, word_spans

MIN_WORDS, MAX_WORDS = 8, 15
_AT_THE_ENDS = " ,;:."


def snippet(passage: Passage, texts: str, *key: str) -> str | None:
    """MIN_WORDS to MAX_WORDS words of the passage's text as they stand there; length and place are drawn by `key`.

    Without a content word of the title where the passage has such a run, and within a sentence: shorter than drawn if
    need be, and across sentences only where none is long enough. First and last word hold a letter or digit; commas
    and stops around are cut off. `texts` are those of all passages, in one string: a run that stands in it twice does
    not say which passage it is of, and is not taken. None for a passage without such a run.
    """
    for runs in _runs(passage, drawn(range(MIN_WORDS, MAX_WORDS + 1), *key, "words")):
        for run in drawn_order(runs, *key, "place"):
            if texts.count(run) < 2:
                return run
    return None


def _runs(passage: Passage, longest: int) -> list[list[str]]:
    """The runs of MIN_WORDS to `longest` words, by how much they are wanted: the best first, of these the longest.

    Shorter ones are looked for only until there are some that hold no word of the title and are within a sentence.
    """
    spans = word_spans(passage.text)
    found = [passage.text[start:end] for start, end in spans]
    title = set(search_words(" ".join(content_words(passage.title))))
    unnamed = [not title & set(search_words(word)) for word in found]
    goes_on = [not ends_sentence(word, after) for word, after in pairwise(found)]
    is_word = [any(map(str.isalnum, word)) for word in found]
    runs: dict[tuple[bool, bool, int], list[str]] = {}
    for size in range(longest, MIN_WORDS - 1, -1):
        for first in range(len(found) - size + 1):
            last = first + size - 1
            if is_word[first] and is_word[last]:
                worth = all(unnamed[first : last + 1]), all(goes_on[first:last]), size
                text = passage.text[spans[first][0] : spans[last][1]]
                runs.setdefault(worth, []).append(text.strip(_AT_THE_ENDS))
        if (True, True, size) in runs:
            break
    return [runs[worth] for worth in sorted(runs, reverse=True)]
