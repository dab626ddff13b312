"""R-ft: a question encoder learns what a language model prefers (Lin et al. 2023)."""

from dataclasses import dataclass, replace

import numpy as np

from nbutils import cache, rag, retrieval
from nbutils.data import Passage, corpus_sha256
from nbutils.errors import InputError
from nbutils.models import Encoder, query_texts
from nbutils.retrieval import DenseIndex
from nbutils.training.checks import require_index, require_layers, require_settings
from nbutils.training.embedding import embed_texts
from nbutils.training.identity import run_key
from nbutils.training.launch import carry_out
from nbutils.training.loop import Learners, Run
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
    require_settings(settings, None, 1)
    require_index(question_encoder, index, corpus, 1)
    learning = {"question": question_encoder} | ({} if passage_encoder is None else {"passage": passage_encoder})
    require_layers(settings, learning)
    positions, lm_logprobs = _require_lsr(index, queries, passage_ids, lm_logprobs)
    for name, value in {"temperature": temperature, "lsr_temperature": lsr_temperature}.items():
        if not value > 0:
            raise InputError(f"{name} = {value}: give a number above 0")
    loss = LsrLoss(lm_logprobs, temperature, lsr_temperature, direction, reduction)
    objective = LsrObjective(loss, queries, positions, index, corpus)
    content = [f"{temperature!r} {lsr_temperature!r} {direction} {reduction}", str(positions.tolist())]
    content += [str(lm_logprobs.tolist()), index.sha256]
    texts = [] if passage_encoder is None else [passage_encoder.title_separator, corpus_sha256(corpus)]
    key = run_key([LsrObjective], None, [*learning.values()], settings, seed, *content, "\0", *queries, "\0", *texts)
    with cache.locked_folder("training", key) as folder:
        learned = carry_out(Run(folder, None, learning, settings, seed, len(queries), objective))
    return replace(learned, index=index)


@dataclass(frozen=True)
class LsrLoss:
    """KL between what the retriever and what the language model prefers among the candidates."""

    lm_logprobs: np.ndarray  # (N, K)
    temperature: float  # of p_R
    lsr_temperature: float  # of p_LSR
    direction: str
    reduction: str


@dataclass(frozen=True)
class LsrObjective:
    """The loss over candidates whose vectors are those of the index, or come from the passage encoder that learns."""

    loss: LsrLoss
    queries: list[str]  # N
    positions: np.ndarray  # (N, K) of the candidates in the index
    index: DenseIndex
    corpus: dict[str, Passage]

    def step(self, learners: Learners, rows: list[int]) -> dict[str, float]:
        import torch

        queries = [self.queries[row] for row in rows]
        encoder = learners.encoders["question"]
        asked = query_texts(encoder, queries)
        vectors = embed_texts(encoder, asked, learners.top_layers.get("question"))  # (B, D)
        candidates = _candidate_vectors(self, learners, rows, vectors.device)  # (B, K, D)
        log_prior = rag.doc_logprobs((vectors[:, None] * candidates).sum(-1), self.loss.temperature)
        lm_logprobs = torch.tensor(self.loss.lm_logprobs[rows], dtype=log_prior.dtype, device=log_prior.device)
        loss = rag.lsr_loss(log_prior, lm_logprobs, self.loss.lsr_temperature, self.loss.direction, self.loss.reduction)
        loss.backward()
        return {"loss": loss.item(), "max_doc_prob": log_prior.exp().amax(-1).mean().item()}


def _candidate_vectors(objective: LsrObjective, learners: Learners, rows: list[int], device):
    """(B, K, D); every passage once through the encoder, however many queries have it as a candidate."""
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


def _require_lsr(index: DenseIndex, queries: list[str], passage_ids, lm_logprobs) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the passages in the index, (N, K), and the scores (N, K), found to be sound."""
    passage_ids, lm_logprobs = np.asarray(passage_ids), np.asarray(lm_logprobs, dtype=np.float64)
    if (
        not queries
        or passage_ids.ndim != 2
        or passage_ids.shape != lm_logprobs.shape
        or len(queries) != len(lm_logprobs)
    ):
        raise InputError(
            f"passages {passage_ids.shape} and scores {lm_logprobs.shape} of {len(queries)} queries: give (N, K) each"
        )
    if passage_ids.shape[1] < 2:
        raise InputError("one passage a query: there is nothing to prefer, give at least 2")
    if not (np.isfinite(lm_logprobs) & (lm_logprobs < 1e-3)).all():
        raise InputError("lm_logprobs must be natural logarithms of probabilities, finite and not above 0")
    places = {id: place for place, id in enumerate(index.passage_ids.tolist())}
    unknown = {*passage_ids.ravel().tolist()} - places.keys()
    if unknown:
        raise InputError(f"passage {min(unknown)!r} is not in the index: give those that were searched in it")
    return np.vectorize(places.__getitem__, otypes=[np.int64])(passage_ids), lm_logprobs
