"""The supervised bound of every learned retriever: the question encoder is told which passage is right (DPR)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbutils import rag
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import Encoder, query_texts
from nbutils.retrieval import DenseIndex
from nbutils.training.checks import require_index, require_temperature
from nbutils.training.embedding import embed_texts
from nbutils.training.loop import Learners
from nbutils.training.pool import learn, require_candidates
from nbutils.training.settings import TrainingSettings
from nbutils.training.system import System


def train_contrastive(
    question_encoder: Encoder,
    index: DenseIndex,
    corpus: dict[str, Passage],
    queries: list[str],
    gold_passages: Sequence[Sequence[str]],
    negatives: np.ndarray,
    settings: TrainingSettings,
    temperature: float = 1.0,
    seed: int = 0,
) -> System:
    """A copy of the question encoder trained on labels, Karpukhin et al. 2020 (DPR) sec. 3.2 eq. 2.

    For each of the N `queries`, the first of its `gold_passages` is the positive; the others' positives in the batch
    and all of the batch's `negatives` (N, M), passages that a search found, are its negatives. What is gold for a
    query, by its id or by having a gold passage's text, is never its own negative. Scores are inner products divided by
    `temperature`. Passage vectors are those of `index` and stay as they are.

    History: `loss` (nats), `grad_norm` (before clipping), `accuracy` (share of the batch with the positive on top).
    Raises InputError for a query without a gold passage, for arrays that do not fit, and as `train_rag`.
    """
    require_index(question_encoder, index, corpus, 1)
    if len(gold_passages) != len(queries) or not all(map(len, gold_passages)):
        raise InputError("a query without a gold passage: nothing can be learned from it, leave it out")
    negatives = np.asarray(negatives)
    if negatives.ndim != 2 or len(negatives) != len(queries):
        raise InputError(f"negatives {negatives.shape} of {len(queries)} queries: give (N, M), a row for each")
    require_temperature(temperature)
    positives = np.array([[row[0]] for row in gold_passages])
    positions = require_candidates(index, queries, np.concatenate([positives, negatives], axis=1))
    gold = _gold_positions(index, corpus, gold_passages)
    objective = ContrastiveObjective(queries, positions, gold, index, corpus, temperature)
    content = [repr(temperature), str([sorted(row) for row in gold])]
    return learn([ContrastiveObjective], objective, question_encoder, None, settings, seed, *content)


@dataclass(frozen=True)
class ContrastiveObjective:
    """-log of the positive's share among the positives and negatives of the batch."""

    queries: list[str]  # N
    positions: np.ndarray  # (N, 1 + M) in the index: the positive, then the negatives
    gold: list[set[int]]  # positions that are no negatives of a query
    index: DenseIndex
    corpus: dict[str, Passage]
    temperature: float

    def step(self, learners: Learners, rows: list[int]) -> dict[str, float]:
        import torch

        encoder = learners.encoders["question"]
        asked = query_texts(encoder, [self.queries[row] for row in rows])
        vectors = embed_texts(encoder, asked, learners.top_layers.get("question"))  # (B, D)
        columns = np.concatenate([self.positions[rows, 0], self.positions[rows, 1:].ravel()])  # B positives first
        passages = torch.from_numpy(self.index.faiss_index.reconstruct_batch(columns)).to(vectors.device)
        left_out = np.array([[position in self.gold[row] for position in columns.tolist()] for row in rows])
        left_out[np.arange(len(rows)), np.arange(len(rows))] = False  # its own positive
        scores = vectors @ passages.T / self.temperature  # (B, B + B·M)
        loss = rag.contrastive_loss(scores, torch.from_numpy(left_out).to(vectors.device))
        loss.backward()
        best = scores.detach().cpu().masked_fill(torch.from_numpy(left_out), -np.inf).argmax(1).numpy()
        return {"loss": loss.item(), "accuracy": float((best == np.arange(len(rows))).mean())}


def _gold_positions(index: DenseIndex, corpus: dict[str, Passage], gold_passages) -> list[set[int]]:
    """For each query the positions of its gold passages, and of all passages with the text of one of these."""
    by_text: dict[str, set[int]] = {}
    places = {}
    for place, id_ in enumerate(index.passage_ids.tolist()):
        places[id_] = place
        by_text.setdefault(corpus[id_].text, set()).add(place)
    return [{places[id_] for id_ in row}.union(*(by_text[corpus[id_].text] for id_ in row)) for row in gold_passages]
