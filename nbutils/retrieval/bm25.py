"""Keyword search: BM25 over titles and texts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.retrieval.checks import require_corpus


@dataclass(frozen=True)
class BM25Index:
    """Word counts of the passages, which are all that a search needs."""

    passage_ids: np.ndarray  # (n,) str
    retriever: Any  # bm25s.BM25
    stemmer: Any


def build_bm25(corpus: dict[str, Passage], title_weight: int = 3) -> BM25Index:
    """BM25 index (bm25s, Lucene variant, English stemming); the title is counted `title_weight` times.

    Without that weight BM25 is a straw man here: most passages do not repeat the country that they are about.
    """
    import bm25s
    import Stemmer

    require_corpus(corpus)
    stemmer = Stemmer.Stemmer("english")
    texts = [" ".join([passage.title] * title_weight + [passage.text]) for passage in corpus.values()]
    tokens = bm25s.tokenize(texts, stemmer=stemmer, show_progress=False)
    if not tokens.vocab:
        raise InputError("the passages hold no words to search for, only stop words and single letters")
    retriever = bm25s.BM25(method="lucene")
    retriever.index(tokens, show_progress=False)
    return BM25Index(np.array(list(corpus)), retriever, stemmer)


def search_bm25(index: BM25Index, queries: list[str], n_docs: int) -> tuple[np.ndarray, np.ndarray]:
    """What `search` returns: ids (B, K) and BM25 scores (B, K)."""
    import bm25s

    tokens = bm25s.tokenize(queries, stemmer=index.stemmer, show_progress=False, return_ids=False)
    k = min(n_docs, len(index.passage_ids))
    positions, scores = index.retriever.retrieve(tokens, k=k, show_progress=False)
    return index.passage_ids[positions], scores
