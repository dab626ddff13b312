"""One search over every kind of retriever."""

from dataclasses import dataclass

import numpy as np

from nbutils.errors import InputError
from nbutils.models import Encoder, SparseEncoder
from nbutils.retrieval.bm25 import BM25Index, search_bm25
from nbutils.retrieval.dense import DenseIndex, search_dense
from nbutils.retrieval.learned_sparse import SparseIndex, search_sparse


@dataclass(frozen=True)
class DenseRetriever:
    """Passages as vectors, and the encoder that makes one of a question; DPR's is not the one of the passages."""

    index: DenseIndex
    question_encoder: Encoder


@dataclass(frozen=True)
class SparseRetriever:
    """Passages as weights of words (SPLADE), and the encoder that gives those of a question."""

    index: SparseIndex
    question_encoder: SparseEncoder


Retriever = BM25Index | DenseRetriever | SparseRetriever


def search(retriever: Retriever, queries: list[str], n_docs: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n_docs` best passages of each query, best first: ids (B, K) as strings and scores (B, K) float32.

    Scores are those of BM25, or inner products. K is smaller than `n_docs` only when the corpus is. BM25 finds only
    passages that share a word with the question, SPLADE only those that share one to which it gives a weight: places
    left are "" (`NOTHING`) with score -inf, so that they have no part in p(z|x); where nothing matches all K scores are
    0. `found(ids)` has the lists without them, for a fusion say, and `shortfall(ids)` says how many questions have
    fewer than K. The vectors of the queries are kept by content: for an encoder that is being trained, `with
    cache.off():`.
    Raises InputError for no queries, no passages asked for, an encoder whose vectors are not as wide as the index's,
    and an approximate index that finds fewer passages.
    """
    if not queries:
        raise InputError("nothing to search for: the list of questions is empty")
    if n_docs < 1:
        raise InputError(f"n_docs = {n_docs}: ask for at least 1 passage")
    if isinstance(retriever, BM25Index):
        return search_bm25(retriever, queries, n_docs)
    if isinstance(retriever, SparseRetriever):
        return search_sparse(retriever.index, retriever.question_encoder, queries, n_docs)
    return search_dense(retriever.index, retriever.question_encoder, queries, n_docs)
