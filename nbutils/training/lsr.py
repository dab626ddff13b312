"""R-ft: a question encoder learns what a language model prefers (Lin et al. 2023)."""

from dataclasses import dataclass

import numpy as np

from nbutils import rag
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import Encoder
from nbutils.retrieval import DenseIndex
from nbutils.training.checks import require_index, require_temperature
from nbutils.training.pool import PoolObjective, learn, require_candidates, require_logprobs
from nbutils.training.settings import TrainingSettings
from nbutils.training.system import System


def train_lsr(
    question_encoder: Encoder,
    index: DenseIndex,
    corpus: dict[str, Passage],
    queries: list[str],
    passage_ids: np.ndarray,
    lm_logprobs: np.ndarray,
    settings: TrainingSettings,
    temperature: float = 1.0,
    lsr_temperature: float = 0.01,
    direction: str = rag.DIRECTIONS[0],
    reduction: str = rag.REDUCTIONS[0],
    passage_encoder: Encoder | None = None,
    seed: int = 0,
) -> System:
    """A copy of the question encoder trained to prefer the passages that a language model prefers, RA-DIT's R-ft.

    The loss is KL(p_R||p_LSR), Lin et al. 2023 sec. 2.4. For each of the N `queries`, `passage_ids` (N, K) are the
    candidates, retrieved once, and `lm_logprobs` (N, K) the language model's log p(y|c,x) of the right answer under
    each, computed once: no language model takes part here. p_R is the softmax over the K candidates of their inner
    products divided by `temperature`. Passage vectors are those of `index` and stay as they are; with a
    `passage_encoder` it learns too (the paper's ablation) and its copy is returned.
    `index` is returned as it came: where the passage encoder learned, it is out of date and has to be built anew.
    Of the settings, `encoder_learning_rate` is the one that counts.

    History: `loss` (nats), `grad_norm` (before clipping) and `max_doc_prob` (mean of max_c p_R).
    Raises InputError for arrays that do not fit, scores that are no log-probabilities, and as `train_rag`.
    """
    require_index(question_encoder, index, corpus, 1)
    positions = require_candidates(index, queries, passage_ids)
    if positions.shape[1] < 2:
        raise InputError("one passage per query: there is nothing to prefer, give at least 2")
    lm_logprobs = require_logprobs(lm_logprobs)
    if lm_logprobs.shape != positions.shape:
        raise InputError(f"scores {lm_logprobs.shape} of candidates {positions.shape}: give one to each")
    require_temperature(temperature)
    require_temperature(lsr_temperature, "lsr_temperature")
    objective = PoolObjective(
        LsrLoss(lm_logprobs, temperature, lsr_temperature, direction, reduction), queries, positions, index, corpus
    )
    content = [f"{temperature!r} {lsr_temperature!r} {direction} {reduction}", str(lm_logprobs.tolist())]
    return learn([PoolObjective, LsrLoss], objective, question_encoder, passage_encoder, settings, seed, *content)


@dataclass(frozen=True)
class LsrLoss:
    """KL between what the retriever and what the language model prefers among the candidates."""

    lm_logprobs: np.ndarray  # (N, K)
    temperature: float  # of p_R
    lsr_temperature: float  # of p_LSR
    direction: str
    reduction: str

    def __call__(self, scores, rows: list[int]) -> tuple:
        import torch

        log_prior = rag.doc_logprobs(scores, self.temperature)
        lm_logprobs = torch.tensor(self.lm_logprobs[rows], dtype=log_prior.dtype, device=log_prior.device)
        loss = rag.lsr_loss(log_prior, lm_logprobs, self.lsr_temperature, self.direction, self.reduction)
        return loss, {"max_doc_prob": log_prior.exp().amax(-1).mean().item()}
