"""How many words a query shares with the passage that answers it."""

from collections.abc import Mapping, Sequence

import numpy as np

from nbutils.data.query_types.function_words import content_words
from nbutils.data.schema import Example, Passage
from nbutils.errors import InputError
from nbutils.text import search_words


def query_stems(query: str) -> set[str]:
    """The query's content words without endings, each once: what keyword search can find of it."""
    return set(search_words(" ".join(content_words(query))))


def passage_stems(passage: Passage) -> set[str]:
    """The words of title and text without endings, each once."""
    return set(search_words(f"{passage.title} {passage.text}"))


def word_overlap(query: str, passage: Passage) -> float:
    """Share of the query's content words, each counted once and without its ending, in the passage or its title.

    0 to 1; 0 for a query without a content word.
    """
    asked = query_stems(query)
    return len(asked & passage_stems(passage)) / len(asked) if asked else 0.0


def gold_overlap(example: Example, corpus: Mapping[str, Passage]) -> float:
    """`word_overlap` of the example's query with its gold passage, of several the one that shares most.

    Raises InputError for an example without gold passages, and for one whose gold passage is not in the corpus.
    """
    return max(word_overlap(example.query, passage) for passage in golden(example, corpus))


def mean_overlaps(made: Mapping[str, Sequence[Example]], corpus: Mapping[str, Passage]) -> dict[str, float]:
    """{type: mean `gold_overlap` of its queries}, in the order given, one row for each type of the table."""
    return {name: float(np.mean([gold_overlap(example, corpus) for example in some])) for name, some in made.items()}


def golden(example: Example, corpus: Mapping[str, Passage]) -> list[Passage]:
    """The example's gold passages. Raises InputError when there is none, or the corpus lacks one."""
    if not example.gold_passages:
        raise InputError(f"example {example.id!r} has no gold passage: leave it out, this needs one")
    missing = [id_ for id_ in example.gold_passages if id_ not in corpus]
    if missing:
        raise InputError(f"gold passage {missing[0]!r} of {example.id!r} is not in the corpus: give the whole corpus")
    return [corpus[id_] for id_ in example.gold_passages]
