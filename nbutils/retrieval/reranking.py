"""Re-ranking: what was retrieved, put into the order that a slower and better model gives it."""

from dataclasses import dataclass

import numpy as np

from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import CrossEncoder, Encoder, Generator, encode, n_pairs_cut, n_truncated, pair_scores, query_texts
from nbutils.retrieval.bm25 import NOTHING
from nbutils.retrieval.dense import DenseIndex, encoder_text, passage_text
from nbutils.retrieval.fusion import mark_missing
from nbutils.retrieval.query_likelihood import query_likelihoods, question_prompts


@dataclass(frozen=True)
class BiEncoder:
    """Re-ranks by inner products of question and passage vectors, of a larger encoder than the retriever's.

    Without the corpus' vectors those of the passages that were retrieved are made, and kept for these passages alone.
    """

    encoder: Encoder
    index: DenseIndex | None = None  # an exact one, of the corpus by this encoder


@dataclass(frozen=True)
class QueryLikelihood:
    """Re-ranks by how probable a language model finds the question after the passage: UPR (Sachan et al. 2022)."""

    generator: Generator


Reranker = BiEncoder | QueryLikelihood | CrossEncoder


def rerank(
    ids: np.ndarray, queries: list[str], corpus: dict[str, Passage], reranker: Reranker, n_docs: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The passages `ids` (B, K) of each query, best first by the re-ranker: ids and scores (B, n_docs), float32.

    All K of them where `n_docs` is left out. Scores are inner products, mean log p of the question's tokens, or a
    cross-encoder's logits; equal ones keep the order in which they were retrieved. Places without a passage stay last,
    as `search` leaves them. Vectors and scores are kept by content.
    Raises InputError, before any work, for other than one row a query, a passage that is not in the corpus, and more
    passages than were retrieved.
    """
    ids = _require_retrieved(ids, queries, corpus)
    if isinstance(reranker, BiEncoder) and reranker.index is not None:
        lacking = corpus.keys() - set(reranker.index.passage_ids.tolist())
        if lacking:
            raise InputError(f"the re-ranker has no vector of passage {min(lacking)!r}: build its index on this corpus")
    if n_docs is not None and not 1 <= n_docs <= ids.shape[1]:
        raise InputError(f"n_docs = {n_docs}: {ids.shape[1]} passages a question were retrieved, ask for 1 to as many")
    rows, columns = np.nonzero(ids != NOTHING)
    scores = np.zeros(ids.shape)
    if len(rows):
        scores[rows, columns] = _scores(reranker, queries, rows, ids[rows, columns], corpus)
    order = np.lexsort((-scores, ids == NOTHING), axis=1)[:, :n_docs]
    ids = np.take_along_axis(ids, order, axis=1)
    return ids, mark_missing(ids, np.take_along_axis(scores, order, axis=1))


def n_cut_by_reranker(ids: np.ndarray, queries: list[str], corpus: dict[str, Passage], reranker: Reranker) -> int:
    """Of how many (query, passage) pairs in `ids` (B, K) the re-ranker reads only the beginning of the passage."""
    ids = _require_retrieved(ids, queries, corpus)
    rows, columns = np.nonzero(ids != NOTHING)
    if not len(rows):
        return 0
    passages = [corpus[id_] for id_ in ids[rows, columns].tolist()]
    if isinstance(reranker, BiEncoder):
        return n_truncated(reranker.encoder, [encoder_text(reranker.encoder, passage) for passage in passages])
    questions = [queries[row] for row in rows]
    if isinstance(reranker, QueryLikelihood):
        return question_prompts(reranker.generator, questions, passages)[1]
    return n_pairs_cut(reranker, questions, [passage_text(passage) for passage in passages])


def _require_retrieved(ids: np.ndarray, queries: list[str], corpus: dict[str, Passage]) -> np.ndarray:
    ids = np.asarray(ids, dtype=str)
    if ids.ndim != 2 or len(ids) != len(queries):
        raise InputError(f"ids {ids.shape} for {len(queries)} questions: give one row of passages to each question")
    unknown = sorted(set(ids.ravel().tolist()) - corpus.keys() - {NOTHING})
    if unknown:
        which = f"passage {unknown[0]!r} (one of {len(unknown)})"
        raise InputError(f"{which} is not in the corpus: re-rank with the corpus that was searched")
    return ids


def _scores(
    reranker: Reranker, queries: list[str], rows: np.ndarray, ids: np.ndarray, corpus: dict[str, Passage]
) -> np.ndarray:
    """The score of query number `rows[i]` with passage `ids[i]`: (n,)."""
    if isinstance(reranker, BiEncoder):
        return _inner_products(reranker, queries, rows, ids, corpus)
    questions, passages = [queries[row] for row in rows], [corpus[id_] for id_ in ids.tolist()]
    if isinstance(reranker, QueryLikelihood):
        return query_likelihoods(reranker.generator, questions, passages)
    return pair_scores(reranker, questions, [passage_text(passage) for passage in passages])


def _inner_products(
    reranker: BiEncoder, queries: list[str], rows: np.ndarray, ids: np.ndarray, corpus: dict[str, Passage]
) -> np.ndarray:
    encoder, index = reranker.encoder, reranker.index
    distinct, columns = np.unique(ids, return_inverse=True)  # each passage is encoded once
    if index is None:
        texts = [encoder_text(encoder, corpus[id_]) for id_ in distinct.tolist()]
        passage_vectors = encode(encoder, texts, "passages")
    else:
        place = {id_: i for i, id_ in enumerate(index.passage_ids.tolist())}
        passage_vectors = index.faiss_index.reconstruct_batch([place[id_] for id_ in distinct.tolist()])
    question_vectors = encode(encoder, query_texts(encoder, queries), "questions")
    return np.einsum("nd,nd->n", question_vectors[rows], passage_vectors[columns])
