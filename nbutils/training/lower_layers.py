"""A corpus as the lower layers of an encoder leave it: read once for all encoders that have these layers in common.

Encoders of which only the top layers learned differ above the others alone. Every training of such an encoder, and
every index that it makes, starts from the same states.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from nbutils import cache, models, retrieval
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import Encoder
from nbutils.progress import progress_bar
from nbutils.training.adapters import trainable_encoder
from nbutils.training.embedding import embed_texts, encoder_autocast
from nbutils.training.top_layers import KEPT_BATCH_TOKENS, TopLayers, require_top_layers, split_encoder


@dataclass(frozen=True)
class LowerLayers:
    """All texts of a corpus below the top `n_layers` layers of an encoder. They are read when they are first needed.

    Takes 4 bytes times the hidden size for a token: 0.7 GB for 4,000 passages of 100 tokens and MiniLM.
    Raises InputError for an encoder that is built otherwise or has fewer layers.
    """

    encoder: Encoder  # as it is before it learns
    corpus: dict[str, Passage]
    n_layers: int  # at the top, that are left out

    def __post_init__(self) -> None:
        require_top_layers(self.encoder, self.n_layers, "passage_layers")

    @cached_property
    def texts(self) -> list[str]:
        return [retrieval.encoder_text(self.encoder, passage) for passage in self.corpus.values()]

    @cached_property
    def states(self) -> dict[tuple[int, ...], Any]:
        """Token ids of a text -> (T, D) float32: what `TopLayers` keeps."""
        import torch

        encoder = trainable_encoder(self.encoder, self.n_layers)
        lower, device = split_encoder(encoder.model, self.n_layers).lower, encoder.model.device
        ids = [tuple(row) for row in _token_ids(encoder, self.texts)]
        states = {}
        with (
            torch.no_grad(),
            encoder_autocast(device.type),
            progress_bar(len(ids), "Reading passages by the lower layers") as progress,
        ):
            for rows in models.batches_by_length([*map(len, ids)], KEPT_BATCH_TOKENS):
                batch = encoder.tokenizer.pad({"input_ids": [[*ids[row]] for row in rows]}, return_tensors="pt")
                read = lower(**{name: batch[name].to(device) for name in ("input_ids", "attention_mask")})
                for row, state in zip(rows, read.last_hidden_state, strict=True):
                    states[ids[row]] = state[: len(ids[row])].float().clone()  # without the padding of its batch
                progress.update(len(rows))
        return states


def above(top: TopLayers, lower: LowerLayers | None) -> TopLayers:
    """The top layers, which find what the lower ones made of the corpus."""
    return top if lower is None else replace(top, kept=lower.states)


def encode_above(encoder: Encoder, lower: LowerLayers) -> np.ndarray:
    """Vectors of the corpus, (n, D) float32, by an encoder of which only the layers above learned; kept by content.

    Those of `models.encode` up to rounding, in a fraction of the time. An encoder that still learns has no sha256 of
    its own yet: encode `with cache.off()`. Raises InputError for an encoder whose lower layers are not those.
    """
    _require_same_below(encoder, lower)
    key = cache.key([_encode, LowerLayers], models.encoder_fingerprint(encoder), str(lower.n_layers), *lower.texts)
    return cache.array("embeddings", key, lambda: _encode(encoder, lower))


def embed_all(encoder: Encoder, texts: list[str], top: TopLayers | None) -> np.ndarray:
    """Vectors (n, D) float32 of any number of texts, without gradients; `top` as in `embed_texts`."""
    import torch

    vectors = np.empty((len(texts), models.embedding_dim(encoder)), dtype=np.float32)
    with torch.no_grad():
        for rows in models.batches_by_length([*map(len, _token_ids(encoder, texts))], KEPT_BATCH_TOKENS):
            vectors[rows] = embed_texts(encoder, [texts[row] for row in rows], top).cpu().numpy()
    return vectors


def _encode(encoder: Encoder, lower: LowerLayers) -> np.ndarray:
    return embed_all(encoder, lower.texts, above(split_encoder(encoder.model, lower.n_layers), lower))


def _token_ids(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    return encoder.tokenizer(texts, truncation=True, max_length=encoder.max_length)["input_ids"]


def _require_same_below(encoder: Encoder, lower: LowerLayers) -> None:
    """Compares the weights: an encoder of which more learned would be given states that are not its own."""
    import torch

    ours, theirs = (split_encoder(one.model, lower.n_layers).lower for one in (encoder, lower.encoder))
    same = ours.state_dict().keys() == theirs.state_dict().keys() and all(
        torch.equal(ours.state_dict()[name].float(), tensor.float()) for name, tensor in theirs.state_dict().items()
    )
    if not same:
        raise InputError(
            f"{encoder.name} below its top {lower.n_layers} layers is not {lower.encoder.name}: give the lower layers "
            "of the encoder that it learned from"
        )
