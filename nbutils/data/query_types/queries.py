"""Queries of one type made of a data set's questions, by rule."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from nbutils.data.query_types.draws import drawn
from nbutils.data.query_types.misspelling import misspell
from nbutils.data.query_types.overlap import golden
from nbutils.data.query_types.rewording import low_overlap
from nbutils.data.query_types.rewriting import document_frequencies, keywords, web_like
from nbutils.data.query_types.snippets import snippet
from nbutils.data.schema import Example, Passage
from nbutils.errors import InputError
from nbutils.files import sha256_text
from nbutils.text import latin_language, word_spans

# In the order of Microsoft's table, then those that it does not have.
TYPES = (
    "concept", "fact", "exact_snippet", "web_like", "keywords", "low_overlap", "misspelt", "long", "medium", "short",
    "reverse", "multi_hop",
)  # fmt: skip
LENGTHS = {"short": (1, 7), "medium": (8, 10), "long": (11, 10_000)}  # words, about a third of people's questions each

# How or why something is (not how many or how high it is), and what a cause, an effect or a role is.
_ABSTRACT = (
    "advantages?|aims?|benefits?|causes?|consequences?|differences?|disadvantages?|effects?|goals?|impact|importance|"
    "purpose|reasons?|relationship|role|significance"
)
_ASKS_FOR_AN_EXPLANATION = re.compile(
    r"(?i)\bwhy\b|\bhow (?:is|are|was|were|do|does|did|has|have|had|can|could|may|might|must|should|will|would)\b"
    rf"|\bwhat (?:(?:is|are|was|were) )?(?:(?:the|a|an|one|some) )?(?:\w+ )?(?:{_ABSTRACT})\b"
    r"|^what (?:happens|happened|causes|caused)\b|^(?:describe|explain)\b"
)


def is_concept(example: Example) -> bool:
    """Whether it asks for an explanation: a long-form question, or a person's that asks how, why, or for a cause."""
    return example.task == "long_form" or (
        example.task == "open" and _ASKS_FOR_AN_EXPLANATION.search(example.query) is not None
    )


def is_fact(example: Example) -> bool:
    """Whether it asks for one thing, directly: all other questions of tasks "fact" and "open"."""
    return example.task in ("fact", "open") and not is_concept(example)


def make(
    examples: Sequence[Example], corpus: Mapping[str, Passage], query_type: str, seed: int = 0, n: int | None = None
) -> list[Example]:
    """The queries of one of TYPES that can be made of the examples, at most `n` (None: all), in their order.

    An example keeps its answers, gold passages, subject, field and split; its id is followed by the type
    ("peru-capital-0/misspelt"). Its `query` is what is searched. Its `question` stays the question that it is made of,
    which stands in a reader's prompt: so the reader's answer can be scored whatever was searched.

    - concept: those of `is_concept`, as they are
    - fact: those of `is_fact`, as they are; all types from here to `short` are made of these
    - exact_snippet: `snippet` of a gold passage, which is then the only gold passage
    - web_like, keywords, misspelt, low_overlap: by the functions of these names
    - long, medium, short: those of so many words, see LENGTHS, as they are
    - reverse, multi_hop: those of the task of this name, as they are

    A fact that is there in several wordings counts once, in one drawn by `seed` (of the right length). Every choice
    depends on `seed` and the example's id alone: a smaller sample is part of a larger one, and with the same `seed` and
    `n` the types are made of the same facts in the same wording, but for the lengths and for facts that a type leaves
    out: where `snippet`, `misspell` or `low_overlap` finds nothing.
    Raises InputError for an unknown type, no examples, none that the type can be made of, questions that are not
    English, and for examples without gold passages where the type needs them.
    """
    if query_type not in TYPES:
        raise InputError(f"no query type {query_type!r}: use one of {', '.join(TYPES)}")
    if not examples:
        raise InputError("no examples to make queries of: give those of one split, as data.select returns them")
    if n is not None and (type(n) is not int or n < 1):
        raise InputError(f"n is {n!r}, it must be a whole number of at least 1, or None for all")
    found = [example for example in examples if _is_base(example, query_type)]
    _require_english(found)
    rewritten = _rewriter(found, corpus, query_type, seed)
    bases = one_wording(found, seed)
    made: dict[str, Example] = {}
    for example in sorted(bases, key=lambda example: sha256_text(str(seed), example.id)):
        new = rewritten(example) if len(made) != n else None
        if new is not None:
            made[example.id] = replace(new, id=f"{example.id}/{query_type}")
    if not made:
        tasks = ", ".join(f"{count} {task}" for task, count in sorted(Counter(e.task for e in examples).items()))
        raise InputError(f"no query of type {query_type!r} can be made of these examples ({tasks}): leave the type out")
    return [made[example.id] for example in bases if example.id in made]


def _is_base(example: Example, query_type: str) -> bool:
    if query_type in ("reverse", "multi_hop"):
        return example.task == query_type
    if query_type == "concept":
        return is_concept(example)
    low, high = LENGTHS.get(query_type, (0, 10_000))
    return is_fact(example) and low <= len(word_spans(example.query)) <= high


def _fact(example: Example) -> str:
    """What all wordings of one fact have in common; of a question without wordings its id."""
    return example.id if example.template < 0 else f"{example.task} {example.field} {example.subject}"


def one_wording(examples: Sequence[Example], seed: int) -> list[Example]:
    """One wording of each fact, drawn by `seed` and the ids of the wordings alone, in the order of the examples."""
    wordings = defaultdict(list)
    for example in examples:
        wordings[_fact(example)].append(example)
    return [min(some, key=lambda example: sha256_text(str(seed), "wording", example.id)) for some in wordings.values()]


def _rewriter(
    found: Sequence[Example], corpus: Mapping[str, Passage], query_type: str, seed: int
) -> Callable[[Example], Example | None]:
    """Function example -> the example with the query of the type, or None where it has none."""
    if query_type == "exact_snippet":
        texts = "\n".join(passage.text for passage in corpus.values())
        return lambda example: _with_snippet(example, corpus, texts, seed)
    if query_type == "keywords":
        frequencies = document_frequencies(corpus)
        return lambda example: replace(example, query=keywords(example.query, frequencies, (example.subject,)))
    if query_type == "web_like":
        return lambda example: replace(example, query=web_like(example.query))
    if query_type == "low_overlap":
        wordings = defaultdict(list)
        for example in found:
            wordings[_fact(example)].append(example.query)
        return lambda example: _with(
            example, low_overlap(example, corpus, wordings[_fact(example)], str(seed), example.id)
        )
    if query_type == "misspelt":
        return lambda example: _with(example, misspell(example.query, str(seed), example.id))
    return lambda example: example


def _with(example: Example, query: str | None) -> Example | None:
    return None if query is None else replace(example, query=query)


def _with_snippet(example: Example, corpus: Mapping[str, Passage], texts: str, seed: int) -> Example | None:
    passages = dict(zip(example.gold_passages, golden(example, corpus), strict=True))
    id_ = drawn(example.gold_passages, str(seed), example.id, "passage")
    query = snippet(passages[id_], texts, str(seed), example.id)
    return None if query is None else replace(example, query=query, gold_passages=(id_,))


def _require_english(examples: Sequence[Example]) -> None:
    language = latin_language(example.query for example in examples)
    if language not in (None, "english"):
        raise InputError(f"the questions are in {language.capitalize()}: the query types are made by English rules")
