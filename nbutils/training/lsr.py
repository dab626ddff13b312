"""R-ft: a question encoder learns what a language model prefers (Lin et al. 2023)."""

import functools

import numpy as np

from nbutils import paths, rag, retrieval
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.files import sha256_text
from nbutils.models import Encoder
from nbutils.retrieval import DenseIndex
from nbutils.training.checkpoints import SOURCES
from nbutils.training.checks import require_index, require_settings
from nbutils.training.launch import carry_out
from nbutils.training.loop import Run
from nbutils.training.rag import embed_texts
from nbutils.training.settings import History, TrainingSettings


def train_lsr(
    encoder: Encoder,
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
) -> tuple[Encoder, Encoder | None, History]:
    """A copy of the question encoder trained to prefer the passages that a language model prefers, RA-DIT's R-ft.

    The loss is KL(p_R||p_LSR), Lin et al. 2023 sec. 2.4. For each of the N `queries`, `passage_ids` (N, K) are the
    candidates, retrieved once, and `lm_logprobs` (N, K) the language model's log p(y|c,x) of the right answer under
    each, computed once: no language model takes part here. p_R is the softmax over the K candidates of their inner
    products divided by `temperature`. Passage vectors are those of `index` and stay as they are; with a
    `passage_encoder` it learns too (the paper's ablation): its copy is returned, and the index has to be built anew.
    Of the settings, `encoder_learning_rate` is the one that counts.

    Curves: `loss` (nats), `grad_norm` (before clipping) and `top_prior` (mean of max_c p_R).
    Raises InputError for arrays that do not fit, scores that are no log-probabilities, and as `train_rag`.
    """
    require_settings(settings, None, 1)
    require_index(encoder, index, corpus, 1)
    positions, lm_logprobs = _require_lsr(index, queries, passage_ids, lm_logprobs)
    for name, value in {"temperature": temperature, "lsr_temperature": lsr_temperature}.items():
        if not value > 0:
            raise InputError(f"{name} = {value}: give a number above 0")
    learners = {"question": encoder} | ({} if passage_encoder is None else {"passage": passage_encoder})
    conventions = [f"{e.sha256} {e.model.dtype} {e.pooling} {e.normalize} {e.max_length}" for e in learners.values()]
    texts = [] if passage_encoder is None else [part for p in corpus.values() for part in (p.title, p.text)]
    method = f"LSR {temperature!r} {lsr_temperature!r} {direction} {reduction} {seed} {settings!r}"
    arrays = [str(positions.tolist()), str(lm_logprobs.tolist())]
    content = [*conventions, index.sha256, *arrays, "\0", *queries, "\0", *texts]
    folder = paths.CACHE / "training" / sha256_text(method, SOURCES, *content)
    loss = functools.partial(rag.lsr_loss, temperature=lsr_temperature, direction=direction, reduction=reduction)
    gradients = functools.partial(_lsr_gradients, index, corpus, queries, positions, lm_logprobs, temperature, loss)
    job = Run(folder, None, learners, settings, seed, len(queries), gradients)
    _, learned, curves = carry_out(job, 1)
    return learned["question"], learned.get("passage"), curves


def _lsr_gradients(
    index, corpus, queries, positions, lm_logprobs, temperature, loss, generator, encoders, rows, autocast
) -> dict[str, float]:
    import torch

    asked = embed_texts(encoders["question"], [queries[row] for row in rows])  # (B, D)
    unique, places = np.unique(positions[rows], return_inverse=True)
    if "passage" in encoders:
        separator = encoders["passage"].title_separator
        texts = [retrieval.passage_text(corpus[id], separator) for id in index.passage_ids[unique].tolist()]
        found = embed_texts(encoders["passage"], texts)
    else:
        found = torch.from_numpy(index.faiss_index.reconstruct_batch(unique)).to(asked.device)
    candidates = found[torch.from_numpy(places.reshape(len(rows), -1)).to(found.device)]  # (B, K, D)
    log_prior = rag.doc_logprobs((asked[:, None] * candidates).sum(-1), temperature)
    value = loss(log_prior, torch.tensor(lm_logprobs[rows], dtype=log_prior.dtype, device=log_prior.device))
    value.backward()
    return {"loss": value.item(), "top_prior": log_prior.exp().amax(-1).mean().item()}


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
