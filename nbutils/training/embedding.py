"""Vectors and searches that gradients flow through."""

import math

from nbutils import models
from nbutils.models import Encoder
from nbutils.retrieval import DenseIndex


def embed_texts(encoder: Encoder, texts: list[str]):
    """Vectors (B, D) of one batch of texts, float32, with gradients."""
    token_ids = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_length)["input_ids"]
    return models.embed(encoder, token_ids).float()


def search_with_gradients(index: DenseIndex, question_encoder: Encoder, queries: list[str], n_docs: int):
    """Ids (B, K) of the passages with the largest inner products, and these (B, K) as a tensor with gradients.

    Passage vectors are those of the index. A passage that an approximate index did not find has the score -inf.
    """
    import torch

    vectors = embed_texts(question_encoder, queries)  # (B, D)
    positions, missing = nearest_passages(index, vectors, n_docs)
    passages = torch.from_numpy(index.faiss_index.reconstruct_batch(positions.ravel())).view(*positions.shape, -1)
    scores = (vectors[:, None] * passages.to(vectors.device)).sum(-1)
    return index.passage_ids[positions], scores.masked_fill(missing.to(scores.device), -math.inf)


def nearest_passages(index: DenseIndex, vectors, n_docs: int):
    """Positions (B, K) in the index, and which of them it did not find: an approximate one may find fewer."""
    import torch

    _, positions = index.faiss_index.search(vectors.detach().cpu().numpy(), n_docs)
    return positions.clip(min=0), torch.from_numpy(positions < 0)
