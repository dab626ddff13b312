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


def embedding_dim(encoder: Encoder) -> int:
    """D: how many numbers the vectors of `encoder` have."""
    config = encoder.model.config
    return getattr(config, "projection_dim", 0) or config.hidden_size


def encoder_fingerprint(encoder: Encoder) -> str:
    """What the vectors depend on besides code and texts: weights, precision, device, pooling, scale, length limit.

    The name does not count. The title separator neither: it is in the texts. An encoder that is being trained keeps the
    sha256 that it started from.
    """
    parameter = next(encoder.model.parameters())
    conventions = f"{encoder.pooling} {encoder.normalize} {encoder.max_length}"
    return f"{encoder.sha256} {parameter.dtype} {parameter.device.type} {conventions}"
