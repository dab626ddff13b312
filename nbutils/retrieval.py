"""Retrieval: BM25 and exact dense search over a corpus; both return `(ids, scores)`, best first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbutils.cache import cached_array
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.files import sha256_text
from nbutils.models import Encoder
from nbutils.progress import progress_bar

BATCH_TOKENS = 4096  # padded tokens a batch: larger ones fall out of a processor's caches and are slower


@dataclass(frozen=True)
class BM25Index:
    passage_ids: np.ndarray  # (n,) str
    retriever: Any  # bm25s.BM25
    stemmer: Any


@dataclass(frozen=True)
class DenseIndex:
    passage_ids: np.ndarray  # (n,) str
    faiss_index: Any  # inner product, exact


def passage_text(passage: Passage) -> str:
    """What an encoder reads of a passage: the title counts, since a passage rarely names its own document."""
    return f"{passage.title}. {passage.text}"


def build_bm25(corpus: dict[str, Passage], title_weight: int = 3) -> BM25Index:
    """BM25 index (bm25s, Lucene variant, English stemming); the title is counted `title_weight` times.

    Without that weight BM25 is a straw man here: most passages do not repeat the country that they are about.
    """
    import bm25s
    import Stemmer

    _require_corpus(corpus)
    stemmer = Stemmer.Stemmer("english")
    texts = [" ".join([passage.title] * title_weight + [passage.text]) for passage in corpus.values()]
    retriever = bm25s.BM25(method="lucene")
    retriever.index(bm25s.tokenize(texts, stemmer=stemmer, show_progress=False), show_progress=False)
    return BM25Index(np.array(list(corpus)), retriever, stemmer)


def search_bm25(index: BM25Index, questions: list[str], n_docs: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n_docs` best passages of each question: ids (B, K) as strings and BM25 scores (B, K).

    K is smaller than `n_docs` only when the corpus is.
    """
    import bm25s

    _require_questions(questions, n_docs)
    tokens = bm25s.tokenize(questions, stemmer=index.stemmer, show_progress=False, return_ids=False)
    k = min(n_docs, len(index.passage_ids))
    positions, scores = index.retriever.retrieve(tokens, k=k, show_progress=False)
    return index.passage_ids[positions], scores


def build_dense(encoder: Encoder, corpus: dict[str, Passage]) -> DenseIndex:
    """Exact inner-product index (faiss) over the encoded passages."""
    _require_corpus(corpus)
    vectors = encode(encoder, [passage_text(passage) for passage in corpus.values()], "passages")
    import faiss  # after torch: the other order loads two OpenMP runtimes and can crash

    faiss_index = faiss.IndexFlatIP(vectors.shape[1])
    faiss_index.add(vectors)
    return DenseIndex(np.array(list(corpus)), faiss_index)


def search_dense(
    index: DenseIndex, encoder: Encoder, questions: list[str], n_docs: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `n_docs` passages with the largest inner products: ids (B, K) as strings and scores (B, K)."""
    _require_questions(questions, n_docs)
    vectors = encode(encoder, questions, "questions")
    scores, positions = index.faiss_index.search(vectors, min(n_docs, len(index.passage_ids)))
    return index.passage_ids[positions], scores


def encode(encoder: Encoder, texts: list[str], label: str = "texts", use_cache: bool = True) -> np.ndarray:
    """Vectors of the texts, (n, D) float32, in the order given.

    Results are kept by content: the same model, dtype, length limit and texts are encoded once. An encoder that is
    being trained has no sha256 of its own yet: pass `use_cache=False`.
    """
    if not use_cache:
        return _encode(encoder, texts, label)
    parameter = next(encoder.model.parameters())
    settings = f"{parameter.dtype} {parameter.device.type} {encoder.pooling} {encoder.normalise} {encoder.max_length}"
    key = sha256_text(encoder.sha256, settings, *texts)
    return cached_array("embeddings", key, lambda: _encode(encoder, texts, label))


def _encode(encoder: Encoder, texts: list[str], label: str) -> np.ndarray:
    import torch

    if not texts:
        raise InputError("nothing to encode: the list of texts is empty")
    token_ids = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_length)["input_ids"]
    vectors = None
    with torch.inference_mode(), progress_bar(len(texts), f"Encoding {label}") as progress:
        for rows in batches_by_length([len(ids) for ids in token_ids], BATCH_TOKENS):
            pooled = embed(encoder, [token_ids[row] for row in rows]).float().cpu().numpy()
            if vectors is None:
                vectors = np.empty((len(texts), pooled.shape[1]), dtype=np.float32)
            vectors[rows] = pooled
            progress.update(len(rows))
    return vectors


def embed(encoder: Encoder, token_ids: list[list[int]]):
    """Vectors (B, D) of one batch of tokenised texts, as a tensor that gradients flow through."""
    import torch

    device = encoder.model.device
    batch = encoder.tokenizer.pad({"input_ids": token_ids}, return_tensors="pt").to(device)
    output = encoder.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    if encoder.pooling == "pooler":
        pooled = output.pooler_output
    elif encoder.pooling == "cls":
        pooled = output.last_hidden_state[:, 0]
    else:
        mask = batch["attention_mask"].unsqueeze(-1)  # (B, T, 1)
        pooled = (output.last_hidden_state.float() * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(pooled.float(), dim=-1) if encoder.normalise else pooled


def batches_by_length(lengths: list[int], batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers of batches of similar length, longest first, each of at most `batch_tokens` padded tokens.

    Longest first: the batch that needs the most memory fails at once, not at the end.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _require_corpus(corpus: dict[str, Passage]) -> None:
    if not corpus:
        raise InputError("the corpus is empty: there is nothing to search")


def _require_questions(questions: list[str], n_docs: int) -> None:
    if not questions:
        raise InputError("nothing to search for: the list of questions is empty")
    if n_docs < 1:
        raise InputError(f"n_docs = {n_docs}: ask for at least 1 passage")
