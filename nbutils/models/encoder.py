"""A text encoder, and what its vectors depend on."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Encoder:
    """A text encoder: hidden states of `model` pooled to one vector of D numbers."""

    name: str
    sha256: str
    model: Any
    tokenizer: Any
    pooling: str  # mean (over tokens) | cls (first token) | pooler (the model's own output, as in DPR)
    normalize: bool  # True: unit vectors, so that inner products are cosines
    max_length: int  # tokens, special ones included
    title_separator: str = ". "  # between a passage's title and its text, as the checkpoint was trained
    query_prompt: str = ""  # before a question, as the checkpoint says
    passage_prompt: str = ""  # before a passage
    settings_sha256: str = ""  # of what the checkpoint says beside its weights


@dataclass(frozen=True)
class SparseEncoder:
    """A learned sparse encoder (SPLADE): logits of `model`, a masked language model, pooled to V word weights."""

    name: str
    sha256: str
    model: Any
    tokenizer: Any
    max_length: int  # tokens, special ones included
    title_separator: str = Encoder.title_separator
    query_prompt: str = ""
    passage_prompt: str = ""
    settings_sha256: str = ""  # of what the checkpoint says beside its weights


def embedding_dim(encoder: Encoder) -> int:
    """D: how many numbers the vectors of `encoder` have."""
    config = encoder.model.config
    return getattr(config, "projection_dim", 0) or config.hidden_size


def query_texts(encoder: Encoder, queries: list[str]) -> list[str]:
    """What `encoder` reads of questions: each after the checkpoint's prompt for them.

    One checkpoint serves as both towers: what a text is, question or passage, is known where it is used, and put in
    front there. `encode` takes texts as they are. The counterpart of passages is `retrieval.encoder_text`.
    """
    return [encoder.query_prompt + query for query in queries]


def encoder_fingerprint(encoder: Encoder) -> str:
    """What the vectors depend on besides code and texts: all files, precision, device, pooling, scale, limit, prompts.

    The name does not count. The title separator neither: it is in the texts. So are the prompts, but not where a
    training notes the bare questions. An encoder that is being trained keeps the sha256 that it started from.
    """
    parameter = next(encoder.model.parameters())
    prompts = f"{encoder.query_prompt!r} {encoder.passage_prompt!r}"
    conventions = f"{encoder.pooling} {encoder.normalize} {encoder.max_length} {prompts}"
    return f"{encoder.sha256} {encoder.settings_sha256} {parameter.dtype} {parameter.device.type} {conventions}"
