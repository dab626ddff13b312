"""Keyword search: BM25 over titles and texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.retrieval.checks import require_corpus
from nbutils.text import latin_language, search_words

NOTHING = ""  # in place of a passage id where no further passage matches


@dataclass(frozen=True)
class BM25Index:
    """Word counts of the passages, which are all that a search needs."""

    passage_ids: np.ndarray  # (n,) str
    retriever: Any  # bm25s.BM25
    language: str  # of the words in Latin letters


def build_bm25(corpus: dict[str, Passage], title_weight: int = 3) -> BM25Index:
    """BM25 index (bm25s, Lucene variant) over `text.search_words`; the title is counted `title_weight` times.

    Without that weight BM25 is a straw man here: most passages do not repeat the country that they are about. Words
    are cut, stemmed and stopped in the language of the corpus, and as in English where that is not recognized.
    """
    import bm25s

    require_corpus(corpus)
    language = latin_language(passage.text for passage in corpus.values()) or "english"
    vocabulary: dict[str, int] = {}
    rows = []
    for passage in corpus.values():
        words = search_words(" ".join([passage.title] * title_weight + [passage.text]), language)
        rows.append([vocabulary.setdefault(word, len(vocabulary)) for word in words])
    if not vocabulary:
        raise InputError("the passages hold no words to search for, only stop words and single letters")
    retriever = bm25s.BM25(method="lucene")
    retriever.index((rows, vocabulary), show_progress=False)
    return BM25Index(np.array(list(corpus)), retriever, language)


def search_bm25(index: BM25Index, queries: list[str], n_docs: int) -> tuple[np.ndarray, np.ndarray]:
    """What `search` returns: ids (B, K) and BM25 scores (B, K)."""
    words = [search_words(query, index.language) for query in queries]
    k = min(n_docs, len(index.passage_ids))
    positions, scores = index.retriever.retrieve(words, k=k, show_progress=False)
    # A passage without any word of the question scores 0, and bm25s fills its list with those.
    matches = scores > 0
    ids = np.where(matches, index.passage_ids[positions], NOTHING)
    # As logits: what was not found has no part in p(z|x), and where nothing was found no place is better than another.
    return ids, np.where(matches | ~matches.any(axis=1, keepdims=True), scores, -np.inf).astype(np.float32)


def found(ids: np.ndarray) -> list[list[str]]:
    """The passages that a search found for each question, best first: rows of `ids` (B, K) without empty places."""
    return [[id_ for id_ in row if id_ != NOTHING] for row in ids.tolist()]


def shortfall(ids: np.ndarray | Sequence[Sequence[str]]) -> str:
    """A sentence on the questions for which fewer than K passages were found, "" where there is none."""
    counts = np.array([sum(id_ != NOTHING for id_ in row) for row in ids])
    depth = max(map(len, ids))
    if not (counts < depth).any():
        return ""
    n_none = int((counts == 0).sum())
    none = f", none matches {n_none}" if n_none else ""
    return f"Fewer than {depth} passages match {int((counts < depth).sum())} of {len(counts)} questions{none}."
