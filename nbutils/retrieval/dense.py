"""Dense search: inner products of question and passage vectors, exact or approximate."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbutils import cache
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.files import sha256_text
from nbutils.models import (
    SHARD_SIZE,
    Encoder,
    Reading,
    embedding_dim,
    encode,
    encode_shard,
    encoding_key,
    query_texts,
    shard_label,
)
from nbutils.retrieval.checks import require_corpus, require_width
from nbutils.retrieval.faiss_index import (
    EXACT,
    check_index,
    fill_index,
    kept_index,
    load_faiss,
    set_search_parameters,
)


@dataclass(frozen=True)
class DenseIndex:
    """Passages as vectors, ready to be searched."""

    passage_ids: np.ndarray  # (n,) str
    faiss_index: Any  # inner product; its vectors are in the order of passage_ids
    sha256: str  # digest of what it was built from: encoder, passages, description, search parameters


def passage_text(passage: Passage, separator: str = Encoder.title_separator) -> str:
    """What a model reads of a passage: the title counts, since a passage rarely names its own document.

    The separator stands between two texts only: not before a text without a title, nor after a title alone.
    """
    return separator.join(filter(None, (passage.title, passage.text)))


def encoder_text(encoder: Encoder | Reading, passage: Passage) -> str:
    """What an encoder reads of a passage: its text with the title, as the checkpoint joins them, after its prompt."""
    return encoder.passage_prompt + passage_text(passage, encoder.title_separator)


def build_dense(
    encoder: Encoder,
    corpus: dict[str, Passage],
    index: str = EXACT,
    search_parameters: str | None = None,
    seed: int = 0,
    vectors: np.ndarray | None = None,
) -> DenseIndex:
    """Inner-product index (faiss) over the encoded passages: exact ("Flat"), or approximate for corpora of millions.

    `index` is faiss's own description, as in "IVF4096,Flat", "IVF65536,SQ8" or "HNSW128,Flat"; `search_parameters`
    are faiss's too and say how much of an approximate one is looked at: "nprobe=128" lists of an IVF, "efSearch=64"
    candidates of an HNSW graph.
    An index that needs training (IVF, SQ, PQ) is trained on vectors drawn by `seed`. Encoding resumes where it was
    interrupted; approximate indexes are kept on disk by content, since a large graph takes hours. `vectors`
    (n, D) that were encoded before are taken as they are, and nothing is kept: for an encoder that learns.
    Raises InputError, before anything is encoded, for an index that faiss does not know, without its search
    parameters or with others, or too large for this machine's memory.
    """
    require_corpus(corpus)
    width = embedding_dim(encoder)
    if vectors is not None and vectors.shape != (len(corpus), width):
        raise InputError(f"vectors {vectors.shape} for {len(corpus)} passages: give one of {width} numbers to each")
    check_index(len(corpus), width, index, search_parameters)
    passages, ids = list(corpus.values()), np.array(list(corpus))

    def texts() -> Iterator[list[str]]:  # a shard at a time: all of them at once would double the corpus in memory
        for start in range(0, len(passages), SHARD_SIZE):
            shard = passages[start : start + SHARD_SIZE]
            yield [encoder_text(encoder, passage) for passage in shard]

    def shards() -> Iterator[np.ndarray]:
        if vectors is not None:
            yield vectors
            return
        for number, shard in enumerate(texts()):
            yield encode_shard(encoder, shard, shard_label("passages", number * SHARD_SIZE, len(passages)))

    def build():
        return fill_index(index, width, shards, len(passages), seed)

    key = cache.key(fill_index, index, str(seed), *(encoding_key(encoder, shard) for shard in texts()))
    keep = vectors is None and index != EXACT  # an exact one is its vectors, kept already
    faiss_index = kept_index(key, build) if keep else build()
    set_search_parameters(faiss_index, index, search_parameters)
    return DenseIndex(ids, faiss_index, sha256_text(key, str(search_parameters), *corpus))


def add_passages(index: DenseIndex, encoder: Encoder, passages: dict[str, Passage]) -> DenseIndex:
    """A copy of the index to which further passages were added; the one given stays as it is.

    Raises InputError for no passages, an id that the index has already, and vectors of another width.
    """
    require_corpus(passages)
    taken = sorted(passages.keys() & set(index.passage_ids.tolist()))
    if taken:
        raise InputError(f"passage {taken[0]!r} is in the index already: give the new ones ids of their own")
    require_width(encoder, index.faiss_index.d)
    texts = [encoder_text(encoder, passage) for passage in passages.values()]
    extended = load_faiss().clone_index(index.faiss_index)
    extended.add(encode(encoder, texts, "new passages"))
    digest = sha256_text(index.sha256, encoding_key(encoder, texts), *passages)
    return DenseIndex(np.concatenate([index.passage_ids, np.array(list(passages))]), extended, digest)


def search_dense(
    index: DenseIndex, question_encoder: Encoder, queries: list[str], n_docs: int
) -> tuple[np.ndarray, np.ndarray]:
    """What `search` returns: ids (B, K) and inner products (B, K)."""
    require_width(question_encoder, index.faiss_index.d)
    vectors = encode(question_encoder, query_texts(question_encoder, queries), "questions")
    scores, positions = index.faiss_index.search(vectors, min(n_docs, len(index.passage_ids)))
    short = int((positions < 0).any(axis=1).sum())
    if short:  # faiss fills up with -1, which would be taken for the last passage
        raise InputError(
            f"the index found fewer than {n_docs} passages for {short} of {len(queries)} questions: "
            "raise its search_parameters"
        )
    return index.passage_ids[positions], scores
