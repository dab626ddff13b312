"""Which passages of a corpus answer a question: keyword, dense, sparse, hybrid and re-ranked; one search over all."""

from nbutils.retrieval.bm25 import NOTHING, BM25Index, build_bm25, found, shortfall
from nbutils.retrieval.checks import require_width
from nbutils.retrieval.chunking import BOUNDARIES, Chunks, chunk_documents, chunks_with
from nbutils.retrieval.dense import DenseIndex, add_passages, build_dense, encoder_text, passage_text
from nbutils.retrieval.faiss_index import EXACT, index_bytes
from nbutils.retrieval.fusion import fuse
from nbutils.retrieval.knn_generation import answer_neighbors, knn_generate
from nbutils.retrieval.knn_lm import (
    Interpolation,
    Neighbors,
    cache_probabilities,
    choose_interpolation,
    choose_shares,
    interpolate,
    knn_distribution,
    knn_probabilities,
    look_up,
    mixed_logprobs,
    neighbor_weights,
    perplexity,
)
from nbutils.retrieval.learned_sparse import SparseIndex, build_sparse, encode_sparse
from nbutils.retrieval.limits import cut_note, cut_sentence, filling, n_cut
from nbutils.retrieval.nearest_states import build_state_index, nearest, nearest_approximate, squared_distances
from nbutils.retrieval.pooled_windows import document_vectors
from nbutils.retrieval.query_likelihood import query_likelihoods, question_prompts
from nbutils.retrieval.reranking import BiEncoder, QueryLikelihood, Reranker, n_cut_by_reranker, rerank
from nbutils.retrieval.retriever import (
    DenseRetriever,
    HybridRetriever,
    RerankedRetriever,
    Retriever,
    SparseRetriever,
    search,
)
