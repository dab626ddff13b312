"""Texts as vectors: batches of similar length, kept by content."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nbutils import cache
from nbutils.errors import InputError
from nbutils.models.encoder import Encoder, encoder_fingerprint
from nbutils.progress import progress_bar

SHARD_SIZE = 65_536  # texts that are encoded, kept and added to an index at a time: 0.2 GB at 768 numbers
BATCH_TOKENS = 4096  # padded tokens a batch: larger ones fall out of a processor's caches and are slower
GPU_BATCH_TOKENS = 32_768  # smaller ones leave a GPU waiting for Python


def encode(encoder: Encoder, texts: list[str], label: str = "texts") -> np.ndarray:
    """Vectors of the texts, (n, D) float32, in the order given.

    Results are kept by content: the same model, dtype, length limit and texts are encoded once. An encoder that is
    being trained has no sha256 of its own yet: encode `with cache.off()`.
    """
    shards = [
        encode_shard(encoder, texts[start : start + SHARD_SIZE], shard_label(label, start, len(texts)))
        for start in range(0, max(1, len(texts)), SHARD_SIZE)
    ]
    return shards[0] if len(shards) == 1 else np.concatenate(shards)


def encode_with_dropout(encoder: Encoder, texts: list[str], seed: int) -> np.ndarray:
    """As `encode`, but in training mode: a fault, made to be shown. The encoder itself stays as it is."""
    key = cache.key(_encode_with_dropout, encoder_fingerprint(encoder), str(seed), *texts)
    return cache.array("embeddings", key, lambda: _encode_with_dropout(encoder, texts, seed))


def _encode_with_dropout(encoder: Encoder, texts: list[str], seed: int) -> np.ndarray:
    import torch

    faulty = replace(encoder, model=copy.deepcopy(encoder.model).train())
    device = encoder.model.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return _encode(faulty, texts, "texts with dropout")


def encode_shard(encoder: Encoder, texts: list[str], label: str) -> np.ndarray:
    """Vectors of at most SHARD_SIZE texts, from the cache where they are there."""
    return cache.array("embeddings", encoding_key(encoder, texts), lambda: _encode(encoder, texts, label))


def encoding_key(encoder: Encoder, texts: list[str]) -> str:
    """Digest of all that the vectors depend on, the code included."""
    return cache.key(_encode, encoder_fingerprint(encoder), *texts)


def shard_label(label: str, start: int, n: int) -> str:
    return label if n <= SHARD_SIZE else f"{label} {start + 1:,} to {min(start + SHARD_SIZE, n):,} of {n:,}"


def _encode(encoder: Encoder, texts: list[str], label: str) -> np.ndarray:
    import torch

    if not texts:
        raise InputError("nothing to encode: the list of texts is empty")
    token_ids = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_length)["input_ids"]
    batch_tokens = BATCH_TOKENS if encoder.model.device.type == "cpu" else GPU_BATCH_TOKENS
    vectors = None
    with torch.inference_mode(), progress_bar(len(texts), f"Encoding {label}") as progress:
        for rows in batches_by_length([len(ids) for ids in token_ids], batch_tokens):
            pooled = embed(encoder, [token_ids[row] for row in rows]).float().cpu().numpy()
            if vectors is None:
                vectors = np.empty((len(texts), pooled.shape[1]), dtype=np.float32)
            vectors[rows] = pooled
            progress.update(len(rows))
    return vectors


def embed(encoder: Encoder, token_ids: list[list[int]]):
    """Vectors (B, D) of one batch of tokenized texts, as a tensor that gradients flow through."""
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
    return torch.nn.functional.normalize(pooled.float(), dim=-1) if encoder.normalize else pooled


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
