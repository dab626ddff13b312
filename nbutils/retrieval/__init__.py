"""TODO"""

from nbutils.retrieval.bm25 import BM25Index, build_bm25, search_bm25
from nbutils.retrieval.dense import (
    DenseIndex,
    add_passages,
    build_dense,
    passage_text,
    require_corpus,
    require_questions,
    search_dense,
)
from nbutils.retrieval.faiss_index import (
    EF_CONSTRUCTION,
    EXACT,
    INDEX_CODE,
    check_index,
    fill_index,
    index_bytes,
    kept_index,
    set_search_effort,
)
