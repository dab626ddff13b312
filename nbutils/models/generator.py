"""A language model."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Generator:
    """A language model with its tokenizer, decoder-only or sequence-to-sequence."""

    name: str
    sha256: str
    model: Any
    tokenizer: Any
    seq2seq: bool
    settings_sha256: str = ""  # of what the checkpoint says beside its weights
    chat: bool = False  # True: prompts and answers are turns of a chat, by the tokenizer's template
