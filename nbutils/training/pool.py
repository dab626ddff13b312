"""Retrievers that learn from a pool: candidates of each question, and what a language model makes of them, kept."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbutils import cache, retrieval
from nbutils.data import Passage, corpus_sha256
from nbutils.errors import InputError
from nbutils.models import Encoder, query_texts
from nbutils.retrieval import DenseIndex
from nbutils.training.checks import require_layers, require_settings
from nbutils.training.embedding import embed_texts
from nbutils.training.identity import run_key
from nbutils.training.launch import carry_out
from nbutils.training.loop import Learners, Run
from nbutils.training.settings import TrainingSettings
from nbutils.training.system import System


@dataclass(frozen=True)
class PoolObjective:
    """A loss over candidates whose vectors are those of the index, or come from the passage encoder that learns."""

    # (scores (B, M) with gradients, rows) -> a scalar with gradients, and values of the history
    loss: Any
    queries: list[str]  # N
    positions: np.ndarray  # (N, M) of the candidates in the index
    index: DenseIndex
    corpus: dict[str, Passage]

    def step(self, learners: Learners, rows: list[int]) -> dict[str, float]:
        queries = [self.queries[row] for row in rows]
        encoder = learners.encoders["question"]
        asked = query_texts(encoder, queries)
        vectors = embed_texts(encoder, asked, learners.top_layers.get("question"))  # (B, D)
        candidates = _candidate_vectors(self, learners, rows, vectors.device)  # (B, M, D)
        loss, values = self.loss((vectors[:, None] * candidates).sum(-1), rows)
        loss.backward()
        return {"loss": loss.item(), **values}


def learn(
    algorithm: list[type],
    objective: Any,
    question_encoder: Encoder,
    passage_encoder: Encoder | None,
    settings: TrainingSettings,
    seed: int,
    *content: str,
) -> System:
    """What has learned by an objective that has queries, index, corpus, and the positions of candidates in the index.

    `algorithm`: its classes; `content`: what its loss depends on besides. The index is returned as it came: where the
    passage encoder learned, it is out of date.
    """
    require_settings(settings, None, 1)
    learning = {"question": question_encoder} | ({} if passage_encoder is None else {"passage": passage_encoder})
    require_layers(settings, learning)
    index, queries = objective.index, objective.queries
    texts = [] if passage_encoder is None else [passage_encoder.title_separator, corpus_sha256(objective.corpus)]
    content = [str(objective.positions.tolist()), index.sha256, *content, "\0", *queries, "\0", *texts]
    key = run_key(algorithm, None, [*learning.values()], settings, seed, *content)
    with cache.locked_folder("training", key) as folder:
        learned = carry_out(Run(folder, None, learning, settings, seed, len(queries), objective))
    return replace(learned, index=index)


def _candidate_vectors(objective: PoolObjective, learners: Learners, rows: list[int], device):
    """(B, M, D); every passage once through the encoder, however many queries have it as a candidate."""
    import torch

    index, positions, passage_encoder = objective.index, objective.positions[rows], learners.encoders.get("passage")
    unique, places = np.unique(positions, return_inverse=True)
    if passage_encoder is None:
        vectors = torch.from_numpy(index.faiss_index.reconstruct_batch(unique)).to(device)
    else:
        ids = index.passage_ids[unique].tolist()
        texts = [retrieval.encoder_text(passage_encoder, objective.corpus[id_]) for id_ in ids]
        vectors = embed_texts(passage_encoder, texts, learners.top_layers.get("passage"))
    return vectors[torch.from_numpy(places.reshape(positions.shape)).to(vectors.device)]


def require_candidates(index: DenseIndex, queries: list[str], passage_ids) -> np.ndarray:
    """Positions in the index of the candidates, (N, M), a row for each of the N queries, found to be all there."""
    passage_ids = np.asarray(passage_ids)
    if not queries or passage_ids.ndim != 2 or len(queries) != len(passage_ids):
        raise InputError(f"candidates {passage_ids.shape} of {len(queries)} queries: give (N, M), a row for each")
    places = {id_: place for place, id_ in enumerate(index.passage_ids.tolist())}
    unknown = {*passage_ids.ravel().tolist()} - places.keys()
    if unknown:
        raise InputError(f"passage {min(unknown)!r} is not in the index: give those that were searched in it")
    return np.vectorize(places.__getitem__, otypes=[np.int64])(passage_ids)


def require_logprobs(logprobs) -> np.ndarray:
    """The language model's numbers in float64, found to be logarithms of probabilities."""
    logprobs = np.asarray(logprobs, dtype=np.float64)
    if not (np.isfinite(logprobs) & (logprobs < 1e-3)).all():
        raise InputError("log-probabilities must be natural logarithms of probabilities, finite and not above 0")
    return logprobs
