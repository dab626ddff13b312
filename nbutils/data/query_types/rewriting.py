"""Questions as they are typed into a search box: without the frame of a question, or as keywords alone."""

import math
import re
from collections import Counter
from collections.abc import Mapping

from nbutils.data.query_types.function_words import (
    ARTICLES,
    AUXILIARIES,
    FUNCTION_WORDS,
    PREPOSITIONS,
    QUESTION_WORDS,
    content_words,
)
from nbutils.data.schema import Passage
from nbutils.text import canonical, search_words

MAX_KEYWORDS = 4

_REQUESTS = frozenset(("name", "give", "list", "describe", "tell", "state", "identify", "explain"))
_NEVER_TYPED = ARTICLES | QUESTION_WORDS | AUXILIARIES | {"there", "its", "their", "you", "one"}
# Verbs that say little of what is asked for.
_LIGHT_VERBS = frozenset(
    ("become", "became", "belong", "belongs", "call", "called", "come", "comes", "find", "found", "get", "gets", "go",
     "goes", "got", "happen", "happened", "know", "known", "lie", "lies", "live", "lives", "locate", "located", "make",
     "made", "makes", "said", "say", "says", "take", "taken", "takes", "took", "use", "used", "uses")
)  # fmt: skip
_TOKEN = re.compile(r"\w+(?:['.,/-]\w+)*")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])+")


def tokens(text: str) -> list[str]:
    """What a person would type of the text: words and numbers without the punctuation around them, "US" of U.S."""
    found = _TOKEN.findall(canonical(text))
    return [token.replace(".", "") if _INITIALS.fullmatch(token) else token for token in found]


def without_request(found: list[str]) -> list[str]:
    """The tokens without a request at their head: "Name", "Give me"."""
    if found and found[0].lower() in _REQUESTS:
        found = found[1:]
        if found and found[0].lower() in ("me", "us"):
            found = found[1:]
    return found


def web_like(question: str) -> str:
    """The question as typed into a web search engine: "What is the capital of Peru?" is "capital of peru".

    In lower case and without punctuation. What asks is dropped: a request ("Name"), what, which and who in all forms,
    auxiliaries, articles, "there", "its", "one", and prepositions that are left at the head. How, when, where and why
    stay, and who before a verb ("who leads ..."), as people type them; so do prepositions and the order of words, which
    tells it from keywords. "called" at the end of "What is the ... called?" is dropped. A question of nothing else
    stays whole.
    """
    found = [token.lower() for token in tokens(question)]
    if found[:1] == ["what"] and found[2:3] == ["the"] and found[-1] == "called":
        found = found[:-1]
    asked = without_request(found)
    kept = [word for i, word in enumerate(asked) if word not in _NEVER_TYPED or _is_who_before_a_verb(asked[i : i + 2])]
    while kept and kept[0] in PREPOSITIONS:
        kept = kept[1:]
    return " ".join(kept or found) or question


def _is_who_before_a_verb(words: list[str]) -> bool:
    return len(words) == 2 and words[0] == "who" and words[1] not in AUXILIARIES


def document_frequencies(corpus: Mapping[str, Passage]) -> tuple[Counter, int]:
    """({word without its ending: number of passages that have it in title or text}, number of passages)."""
    counts: Counter = Counter()
    for passage in corpus.values():
        counts.update(set(search_words(f"{passage.title} {passage.text}")))
    return counts, len(corpus)


def keywords(question: str, frequencies: tuple[Counter, int], names: tuple[str, ...] = ()) -> str:
    """The rarest content words of the question, at most MAX_KEYWORDS, rarest first: "botswana capital city".

    Rare is by inverse document frequency, log(passages / (1 + passages with the word)); `frequencies` are those of
    `document_frequencies`. A name counts as one keyword, as rare as its rarest word, and stays together: a run of
    capitalized words, and each of `names` that the question has ("trinidad tobago" of Trinidad and Tobago). Verbs such
    as "called" and "belong" are left out where others are left. Equally rare ones stand in the order of the question.
    """
    counts, n_passages = frequencies
    units = _units(without_request(tokens(question)), names)
    units = [unit for unit in units if unit[0] not in _LIGHT_VERBS] or units

    def rarity(unit: tuple[str, ...]) -> float:
        return max((math.log(n_passages / (1 + counts[stem])) for stem in search_words(" ".join(unit))), default=0.0)

    rarest = sorted(dict.fromkeys(units), key=rarity, reverse=True)[:MAX_KEYWORDS]
    return " ".join(" ".join(unit) for unit in rarest) or web_like(question)


def _units(found: list[str], names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The content words of the tokens in lower case, in order, those of a name in one tuple."""
    lowered = [token.lower() for token in found]
    parts_of_names = [[token.lower() for token in tokens(name)] for name in names]
    units, start = [], 0
    while start < len(found):
        ends = [start + len(parts) for parts in parts_of_names if parts and lowered[start:][: len(parts)] == parts]
        end = max([start + 1, *ends])
        while not ends and end < len(found) and _is_name(found[start]) and _is_name(found[end]):
            end += 1
        units.append(tuple(content_words(" ".join(lowered[start:end]))))
        start = end
    return [unit for unit in units if unit]


def _is_name(token: str) -> bool:
    return token[:1].isupper() and token.lower() not in FUNCTION_WORDS
