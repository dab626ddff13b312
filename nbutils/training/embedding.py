"""Vectors and searches that gradients flow through."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from nbutils import models
from nbutils.models import Encoder
from nbutils.retrieval import DenseIndex
from nbutils.training.top_layers import TopLayers


def embed_texts(encoder: Encoder, texts: list[str], top: TopLayers | None = None):
    """Vectors (B, D) of one batch of texts, float32, with gradients; `top` is the part of the encoder that learns.

    Texts are taken as they are, as by `models.encode`: prompts stand in front already.
    Products are taken in bfloat16 where the machine multiplies it: with weights in float32 nothing is lost that a step
    needs, and it takes a fraction of the time.
    """
    token_ids = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_length)["input_ids"]
    with encoder_autocast(encoder.model.device.type):
        return models.embed(encoder if top is None else replace(encoder, model=top), token_ids).float()


def encoder_autocast(device: str) -> AbstractContextManager:
    import torch

    fast = models.pick_dtype(device) == torch.bfloat16
    return torch.autocast(device, dtype=torch.bfloat16) if fast else nullcontext()


def search_with_gradients(
    index: DenseIndex, question_encoder: Encoder, queries: list[str], n_docs: int, top: TopLayers | None = None
):
    """Ids (B, K) of the passages with the largest inner products, and these (B, K) as a tensor with gradients.

    Passage vectors are those of the index. A passage that an approximate index did not find has the score -inf.
    """
    import torch

    vectors = embed_texts(question_encoder, models.query_texts(question_encoder, queries), top)  # (B, D)
    positions, missing = nearest_passages(index, vectors, n_docs)
    passages = torch.from_numpy(index.faiss_index.reconstruct_batch(positions.ravel())).view(*positions.shape, -1)
    scores = (vectors[:, None] * passages.to(vectors.device)).sum(-1)
    return index.passage_ids[positions], scores.masked_fill(missing.to(scores.device), -math.inf)


def nearest_passages(index: DenseIndex, vectors, n_docs: int):
    """Positions (B, K) in the index, and which of them it did not find: an approximate one may find fewer."""
    import torch

    _, positions = index.faiss_index.search(vectors.detach().cpu().numpy(), n_docs)
    return positions.clip(min=0), torch.from_numpy(positions < 0)
