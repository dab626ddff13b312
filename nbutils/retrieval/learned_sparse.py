"""Learned sparse search: SPLADE's weights of the words of a vocabulary, and an inverted index over them."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbutils import cache
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import SHARD_SIZE, SparseEncoder, batches_by_length, query_texts, shard_label
from nbutils.progress import progress_bar
from nbutils.retrieval.bm25 import NOTHING
from nbutils.retrieval.checks import require_corpus
from nbutils.retrieval.dense import encoder_text

BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 16_384  # padded tokens a batch: each has a logit for every word
SCORES_AT_ONCE = 1 << 25  # passages times questions


@dataclass(frozen=True)
class SparseIndex:
    """An inverted index: for each word of the vocabulary the passages in which it has a weight."""

    passage_ids: np.ndarray  # (n,) str
    postings: Any  # scipy CSR, (V, n) float32


def encode_sparse(encoder: SparseEncoder, texts: list[str], label: str = "texts") -> Any:
    """Word weights of the texts, scipy CSR (n, V) float32, in the order given; kept by content, as by `models.encode`.

    w_j = max_i log(1 + relu(logit_ij)) over the positions i of a text, its special tokens included (Formal et al.
    2021b, SPLADE v2, eq. 6; the first version sums over the positions).
    """
    import scipy.sparse

    shards = []
    for start in range(0, max(1, len(texts)), SHARD_SIZE):
        shard, its_label = texts[start : start + SHARD_SIZE], shard_label(label, start, len(texts))
        shards.append(_kept(encoder, shard, its_label))
    return shards[0] if len(shards) == 1 else scipy.sparse.vstack(shards, format="csr")


def build_sparse(encoder: SparseEncoder, corpus: dict[str, Passage]) -> SparseIndex:
    """Inverted index over the encoded passages, each with its title. Raises InputError for an empty corpus."""
    require_corpus(corpus)
    texts = [encoder_text(encoder, passage) for passage in corpus.values()]
    return SparseIndex(np.array(list(corpus)), encode_sparse(encoder, texts, "passages").T.tocsr())


def search_sparse(
    index: SparseIndex, question_encoder: SparseEncoder, queries: list[str], n_docs: int
) -> tuple[np.ndarray, np.ndarray]:
    """What `search` returns: ids (B, K) and inner products (B, K)."""
    vectors = encode_sparse(question_encoder, query_texts(question_encoder, queries), "questions")
    n_words, n = index.postings.shape
    if vectors.shape[1] != n_words:
        raise InputError(
            f"{question_encoder.name} gives weights to {vectors.shape[1]} words, the index holds {n_words}: take the "
            "encoder that encoded the passages"
        )
    size = max(1, SCORES_AT_ONCE // n)
    found = [
        _best((vectors[start : start + size] @ index.postings).toarray(), min(n_docs, n))
        for start in range(0, len(queries), size)
    ]
    positions, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # As of BM25: without a common word a passage is not found, and where none is, no place is better than another.
    matches = scores > 0
    ids = np.where(matches, index.passage_ids[positions], NOTHING)
    return ids, np.where(matches | ~matches.any(axis=1, keepdims=True), scores, -np.inf).astype(np.float32)


def _best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and scores of the `k` highest of each row, highest first, equal ones in the order of the corpus."""
    chosen = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    positions = np.take_along_axis(chosen, order, axis=1)
    return positions, np.take_along_axis(scores, positions, axis=1)


def _kept(encoder: SparseEncoder, texts: Sequence[str], label: str) -> Any:
    import scipy.sparse

    def write(weights, path):
        with open(path, "wb") as opened:
            scipy.sparse.save_npz(opened, weights)

    parameter = next(encoder.model.parameters())
    settings = f"{parameter.dtype} {parameter.device.type} {encoder.max_length}"
    return cache.file(
        "sparse_vectors",
        cache.key(_encode, encoder.sha256, encoder.settings_sha256, settings, *texts),
        "npz",
        lambda: _encode(encoder, texts, label),
        read=scipy.sparse.load_npz,
        write=write,
        damaged=(ValueError, EOFError, KeyError, zipfile.BadZipFile),
    )


def _encode(encoder: SparseEncoder, texts: Sequence[str], label: str) -> Any:
    import scipy.sparse
    import torch

    if not texts:
        raise InputError("nothing to encode: the list of texts is empty")
    device = encoder.model.device
    token_ids = encoder.tokenizer(list(texts), truncation=True, max_length=encoder.max_length)["input_ids"]
    batch_tokens = BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS
    rows, parts = [], []
    with torch.inference_mode(), progress_bar(len(texts), f"Encoding {label}") as progress:
        for chosen in batches_by_length([len(ids) for ids in token_ids], batch_tokens):
            batch = encoder.tokenizer.pad({"input_ids": [token_ids[row] for row in chosen]}, return_tensors="pt")
            mask = batch["attention_mask"].to(device)
            logits = encoder.model(input_ids=batch["input_ids"].to(device), attention_mask=mask).logits  # (B, T, V)
            # The maximum first: the function rises, and of V numbers a text there are few.
            highest = logits.masked_fill_(mask.unsqueeze(-1) == 0, -torch.inf).amax(1).float()
            parts.append(scipy.sparse.csr_matrix(torch.log1p(torch.relu(highest)).cpu().numpy()))
            rows += chosen
            progress.update(len(chosen))
    return scipy.sparse.vstack(parts, format="csr")[np.argsort(rows)]
