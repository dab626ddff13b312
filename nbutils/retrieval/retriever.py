"""One search over every kind of retriever."""

from dataclasses import dataclass

import numpy as np

from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import Encoder, SparseEncoder
from nbutils.retrieval.bm25 import BM25Index, search_bm25
from nbutils.retrieval.dense import DenseIndex, search_dense
from nbutils.retrieval.fusion import fuse, require_fusion
from nbutils.retrieval.learned_sparse import SparseIndex, search_sparse
from nbutils.retrieval.reranking import Reranker, rerank


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


@dataclass(frozen=True)
class HybridRetriever:
    """Several retrievers, the `depth` best of each fused into one ranking by `fuse`."""

    retrievers: tuple["Retriever", ...]
    method: str = "rrf"  # | minmax
    k: float = 60  # of rrf: the larger, the less a first rank counts
    weights: tuple[float, ...] | None = None  # one a retriever; None: 1 each
    depth: int = 50  # passages of each


@dataclass(frozen=True)
class RerankedRetriever:
    """A retriever, the `depth` best of which a slower model puts into another order; it cannot add what is missing."""

    retriever: "Retriever"
    reranker: Reranker
    corpus: dict[str, Passage]  # what was searched
    depth: int = 50  # passages that are retrieved and re-ranked; 50 in Microsoft 2023


Retriever = BM25Index | DenseRetriever | SparseRetriever | HybridRetriever | RerankedRetriever


def search(retriever: Retriever, queries: list[str], n_docs: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n_docs` best passages of each query, best first: ids (B, K) as strings and scores (B, K) float32.

    Scores are those of BM25, inner products, fused ones (`fuse`) or a re-ranker's (`rerank`). K is smaller than
    `n_docs` only when the corpus is. BM25 finds only passages that share a word with the question, SPLADE only those
    that share one to which it gives a weight: places left are "" (`NOTHING`) with score -inf, so that they have no part
    in p(z|x); where nothing matches all K scores are 0. `found(ids)` has the lists without them, and `shortfall(ids)`
    says how many questions have fewer than K. The vectors of the queries are kept by content: for an encoder that is
    being trained, `with cache.off():`.
    Raises InputError, before any search, for no queries, no passages asked for, more than the `depth` of a hybrid or
    re-ranked retriever, and what `require_fusion` refuses; then for an encoder whose vectors are not as wide as the
    index's, an approximate index that finds fewer passages, and what `rerank` refuses.
    """
    if not queries:
        raise InputError("nothing to search for: the list of questions is empty")
    if n_docs < 1:
        raise InputError(f"n_docs = {n_docs}: ask for at least 1 passage")
    _require_depth(retriever, n_docs)
    if isinstance(retriever, BM25Index):
        return search_bm25(retriever, queries, n_docs)
    if isinstance(retriever, SparseRetriever):
        return search_sparse(retriever.index, retriever.question_encoder, queries, n_docs)
    if isinstance(retriever, HybridRetriever):
        rankings = [search(part, queries, retriever.depth) for part in retriever.retrievers]
        return fuse(rankings, retriever.method, retriever.k, retriever.weights, n_docs)
    if isinstance(retriever, RerankedRetriever):
        ids, _ = search(retriever.retriever, queries, retriever.depth)
        return rerank(ids, queries, retriever.corpus, retriever.reranker, min(n_docs, ids.shape[1]))
    return search_dense(retriever.index, retriever.question_encoder, queries, n_docs)


def _require_depth(retriever: Retriever, n_docs: int) -> None:
    """InputError where the retriever, or one inside it, is asked for more passages than it goes through."""
    if not isinstance(retriever, (HybridRetriever, RerankedRetriever)):
        return
    if n_docs > retriever.depth:
        what = "fused" if isinstance(retriever, HybridRetriever) else "re-ranked"
        raise InputError(
            f"n_docs = {n_docs}, but only the {retriever.depth} best are {what}: raise depth, or lower n_docs"
        )
    if isinstance(retriever, HybridRetriever):
        require_fusion(len(retriever.retrievers), retriever.method, retriever.k, retriever.weights)
    inner = retriever.retrievers if isinstance(retriever, HybridRetriever) else (retriever.retriever,)
    for part in inner:
        _require_depth(part, retriever.depth)
