"""The retriever's half of RAG's training: the question encoder learns, the generator is held fixed."""

from dataclasses import dataclass

import numpy as np

from nbutils import rag
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import Encoder
from nbutils.retrieval import DenseIndex
from nbutils.training.checks import require_index, require_marginalization, require_temperature
from nbutils.training.pool import PoolObjective, learn, require_candidates, require_logprobs
from nbutils.training.rag_loss import marginal_logprobs
from nbutils.training.settings import TrainingSettings
from nbutils.training.system import System


def train_rag_retriever(
    question_encoder: Encoder,
    index: DenseIndex,
    corpus: dict[str, Passage],
    queries: list[str],
    passage_ids: np.ndarray,
    token_logprobs: tuple[np.ndarray, np.ndarray],
    settings: TrainingSettings,
    n_docs: int,
    marginalization: str = "sequence",
    temperature: float = 1.0,
    passage_encoder: Encoder | None = None,
    seed: int = 0,
) -> System:
    """A copy of the question encoder trained on -log p(y|x), Lewis et al. 2020 sec. 2.1, with a generator held fixed.

    For each of the N `queries`, `passage_ids` (N, M) is a pool of candidates, and `token_logprobs` the generator's
    log p(y_i|x,z,y_<i) of the right answer under each, (N, M, T), and the mask (N, T) of the answer's tokens, computed
    once (`rag.token_logprobs_by_passage`). Every step takes of each pool the `n_docs` candidates with the largest
    q(x)·d(z) of that moment, as a search would that found nothing outside the pool; p(z|x) is the softmax of these
    divided by `temperature`. The gradient in the question encoder is that of `train_rag` wherever a search finds the
    same passages and the generator has not moved.
    Passage vectors are those of `index`, which is returned as it came; with a `passage_encoder` it learns too, and the
    index has to be rebuilt.

    History: `loss` (nats per answer), `grad_norm` (before clipping), `max_doc_prob` (mean of max_z p(z|x)) and
    `posterior_entropy` (nats, of p(z|x,y)). Raises InputError for arrays that do not fit, and as `train_rag`.
    """
    positions, loss = marginal_loss(
        question_encoder, index, corpus, queries, passage_ids, token_logprobs, n_docs, marginalization, temperature
    )
    objective = PoolObjective(loss, queries, positions, index, corpus)
    kept = str(loss.token_logprobs.tolist()), str(loss.mask.tolist())
    content = [f"{n_docs} {marginalization} {temperature!r}", *kept]
    return learn([PoolObjective, MarginalLoss], objective, question_encoder, passage_encoder, settings, seed, *content)


@dataclass(frozen=True)
class MarginalLoss:
    """-log p(y|x) of RAG-Sequence or RAG-Token over the best `n_docs` candidates of the moment, mean over the batch."""

    token_logprobs: np.ndarray  # (N, M, T)
    mask: np.ndarray  # (N, T)
    n_docs: int
    marginalization: str
    temperature: float

    def __call__(self, scores, rows: list[int]) -> tuple:
        import torch

        best = scores.detach().topk(self.n_docs, dim=1).indices  # (B, K)
        log_prior = rag.doc_logprobs(scores.gather(1, best), self.temperature)
        kept = torch.tensor(self.token_logprobs[rows], dtype=log_prior.dtype, device=log_prior.device)
        token_logprobs = kept.gather(1, best[..., None].expand(*best.shape, kept.shape[-1]))  # (B, K, T)
        mask = torch.tensor(self.mask[rows], device=log_prior.device)
        logprobs = marginal_logprobs(self.marginalization, log_prior, token_logprobs, mask)
        with torch.no_grad():
            answer_logprobs = token_logprobs.masked_fill(~mask[:, None], 0).sum(-1)
            posterior = (log_prior + answer_logprobs).softmax(-1)
            values = {
                "max_doc_prob": log_prior.exp().amax(-1).mean().item(),
                "posterior_entropy": torch.special.entr(posterior).sum(-1).mean().item(),
            }
        return -logprobs.mean(), values


def marginal_loss(
    question_encoder: Encoder,
    index: DenseIndex,
    corpus: dict[str, Passage],
    queries: list[str],
    passage_ids: np.ndarray,
    token_logprobs: tuple[np.ndarray, np.ndarray],
    n_docs: int,
    marginalization: str,
    temperature: float,
) -> tuple[np.ndarray, MarginalLoss]:
    """Positions (N, M) of the candidates in the index, and the loss over them, found to be sound."""
    require_index(question_encoder, index, corpus, n_docs)
    positions = require_candidates(index, queries, passage_ids)
    logprobs, mask = require_logprobs(token_logprobs[0]), np.asarray(token_logprobs[1], dtype=bool)
    if logprobs.shape != (*positions.shape, mask.shape[-1]) or len(mask) != len(positions) or not mask.any(1).all():
        raise InputError(
            f"token_logprobs {logprobs.shape} and mask {mask.shape} of candidates {positions.shape}: give "
            "(N, M, T) and (N, T), at least one token to each answer"
        )
    if not 2 <= n_docs <= positions.shape[1]:
        raise InputError(f"n_docs = {n_docs}: give 2 to {positions.shape[1]}, the candidates of a query")
    require_marginalization(marginalization)
    require_temperature(temperature)
    return positions, MarginalLoss(logprobs, mask, n_docs, marginalization, temperature)
