"""One vector per document, however long it is: the mean of the vectors of its windows."""

from collections.abc import Mapping

import numpy as np

from nbutils.data import Passage
from nbutils.models import Encoder, encode
from nbutils.retrieval.chunking import chunk_documents
from nbutils.retrieval.dense import encoder_text


def document_vectors(encoder: Encoder, documents: Mapping[str, Passage]) -> np.ndarray:
    """One vector of each document, (n, D) float32, in their order: for `build_dense(..., vectors=...)`.

    A document is read in windows of the encoder's `max_length` tokens, title and special tokens included, without
    overlap (`chunk_documents`); its vector is the mean of theirs, weighted by their tokens, and of unit length where
    the encoder's are. `build_dense` without vectors gives the other one vector per document, that of its first window
    alone: an encoder reads no further. Raises InputError as `chunk_documents`.
    """
    windows = chunk_documents(documents, encoder, encoder.max_length)
    texts = [encoder_text(encoder, window) for window in windows.corpus.values()]
    vectors = encode(encoder, texts, "windows of documents")
    rows = {id_: row for row, id_ in enumerate(documents)}
    document_of = [rows[id_] for id_, _, _ in windows.spans.values()]
    weights = np.array(list(windows.n_tokens.values()), dtype=np.float32)
    sums = np.zeros((len(documents), vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, document_of, weights[:, None] * vectors)
    if encoder.normalize:
        return sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / np.bincount(document_of, weights)[:, None].astype(np.float32)
