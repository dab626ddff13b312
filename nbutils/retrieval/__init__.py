"""Which passages of a corpus answer a question: keyword and dense indexes, and one search over either."""

from nbutils.retrieval.bm25 import build_bm25, search_bm25
from nbutils.retrieval.dense import DenseIndex, add_passages, build_dense, passage_text, search_dense
from nbutils.retrieval.faiss_index import EXACT, index_bytes
