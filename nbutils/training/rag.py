"""RAG's joint training of question encoder and generator (Lewis et al. 2020)."""

from dataclasses import dataclass, replace

import numpy as np

from nbutils import cache
from nbutils.data import Example, Passage, corpus_sha256
from nbutils.errors import InputError
from nbutils.models import Encoder, Generator
from nbutils.retrieval import NOTHING, DenseIndex
from nbutils.training.checks import require_index, require_layers, require_marginal, require_settings
from nbutils.training.embedding import search_with_gradients
from nbutils.training.identity import run_key
from nbutils.training.launch import carry_out
from nbutils.training.loop import Learners, Run
from nbutils.training.rag_loss import RagLoss, add_rag_gradients
from nbutils.training.settings import TrainingSettings
from nbutils.training.system import System


def train_rag(
    generator: Generator,
    question_encoder: Encoder | None,
    index: DenseIndex | None,
    corpus: dict[str, Passage],
    examples: list[Example],
    settings: TrainingSettings,
    n_docs: int,
    marginalization: str = "sequence",
    temperature: float = 1.0,
    retrieved: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
    name: str | None = None,
    n_processes: int = 1,
) -> System:
    """Copies of generator and question encoder trained on -log p(y|x), Lewis et al. 2020 sec. 2.1 and 2.4.

    p(y|x) is RAG-Sequence's or RAG-Token's (`marginalization`) over the `n_docs` passages with the largest q(x)·d(z);
    p(z|x) is the softmax of these divided by `temperature`. Passage vectors and `index` stay as they are, and the
    index is returned with what learned; the question encoder starts as a copy of `question_encoder`, and every step
    searches anew with it. With `retrieved` = (ids (N, K), scores (N, K)), a row for each example, the retriever is
    fixed: the scores (BM25's or a frozen encoder's; -inf leaves a passage out) are the logits of p(z|x), an id "" is no
    passage, the first `n_docs` columns count, and question encoder and index are returned as they came. There is no
    passage encoder.

    History: `loss` (nats an answer), `grad_norm` (before clipping), `max_doc_prob` (mean of max_z p(z|x)),
    `posterior_entropy` (nats, of p(z|x,y)), and where examples name gold passages `hit_rate` (share of the batch's
    examples with one of theirs retrieved). `n_processes` and errors as in `fine_tune`.
    """
    require_marginal(examples, marginalization, temperature)
    learning = {} if retrieved else {"question": question_encoder}
    require_settings(settings, generator, n_processes)
    if retrieved is None:
        require_index(question_encoder, index, corpus, n_docs)
        require_layers(settings, learning)
        source = ["searched", index.sha256]
    else:
        retrieved = _require_retrieved(retrieved, corpus, len(examples), n_docs)
        source = ["retrieved", *retrieved[0].ravel().tolist(), str(retrieved[1].tolist())]
    loss = RagLoss(corpus, examples, marginalization, temperature, settings.batch_tokens)
    objective = RagObjective(loss, n_docs, None if retrieved else index, retrieved)
    content = [marginalization, str(n_docs), repr(temperature), *source, "\0", *map(repr, examples), "\0"]
    key = run_key([RagObjective], generator, [*learning.values()], settings, seed, *content, corpus_sha256(corpus))
    with cache.locked_folder("training", key) as folder:
        system = carry_out(Run(folder, generator, learning, settings, seed, len(examples), objective), n_processes)
    return replace(
        system,
        generator=replace(system.generator, name=name or f"{generator.name} RAG-{marginalization}"),
        question_encoder=system.question_encoder or question_encoder,
        index=index,
    )


@dataclass(frozen=True)
class RagObjective:
    """-log p(y|x) over passages that the learning question encoder finds, or over given ones."""

    loss: RagLoss
    n_docs: int
    index: DenseIndex | None
    retrieved: tuple[np.ndarray, np.ndarray] | None  # ids (N, K) and scores (N, K); None: search the index

    def step(self, learners: Learners, rows: list[int]) -> dict[str, float]:
        import torch

        if self.retrieved is None:
            queries = [self.loss.examples[row].query for row in rows]
            encoder, top = learners.encoders["question"], learners.top_layers.get("question")
            ids, scores = search_with_gradients(self.index, encoder, queries, self.n_docs, top)
        else:
            ids = self.retrieved[0][rows]
            scores = torch.tensor(self.retrieved[1][rows], device=learners.generator.model.device)
        return add_rag_gradients(self.loss, learners, rows, ids, scores)


def _require_retrieved(retrieved, corpus: dict[str, Passage], n_examples: int, n_docs: int):
    """The first `n_docs` columns of ids and scores, found to be sound."""
    ids, scores = np.asarray(retrieved[0]), np.asarray(retrieved[1], dtype=np.float32)
    if ids.ndim != 2 or ids.shape != scores.shape or len(ids) != n_examples:
        raise InputError(f"retrieved ids {ids.shape} and scores {scores.shape}: give {n_examples} rows, one an example")
    if not 1 <= n_docs <= ids.shape[1]:
        raise InputError(f"n_docs = {n_docs}: {ids.shape[1]} passages were retrieved for each example")
    ids, scores = ids[:, :n_docs], scores[:, :n_docs]
    if np.isnan(scores).any() or np.isposinf(scores).any() or np.isneginf(scores).all(1).any():
        raise InputError("retrieved scores hold NaN or infinity, or leave out every passage of an example")
    unknown = {*ids.ravel().tolist()} - corpus.keys() - {NOTHING}
    if unknown:
        raise InputError(f"retrieved passage {min(unknown)!r} is not in the corpus: give the corpus that was searched")
    return ids, scores
