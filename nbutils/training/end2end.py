"""End-to-end training: the passage encoder learns too, and the index follows it (Siriwardhana et al. 2021)."""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np

from nbutils import cache, retrieval
from nbutils.data import Example, Passage, corpus_sha256
from nbutils.errors import InputError
from nbutils.models import Encoder, Generator, query_texts
from nbutils.training.checks import require_index, require_layers, require_marginal, require_refresh, require_settings
from nbutils.training.cluster import connect
from nbutils.training.embedding import embed_texts, nearest_passages
from nbutils.training.identity import run_key
from nbutils.training.launch import carry_out
from nbutils.training.loop import Learners, Run
from nbutils.training.rag_loss import RagLoss, add_rag_gradients
from nbutils.training.refresh import stop_actors
from nbutils.training.refreshed_index import RefreshedIndex, refresh, remove_snapshots, snapshot
from nbutils.training.settings import TOWERS, TrainingSettings
from nbutils.training.system import System


def train_end2end(
    generator: Generator,
    question_encoder: Encoder,
    passage_encoder: Encoder,
    corpus: dict[str, Passage],
    examples: list[Example],
    settings: TrainingSettings,
    n_docs: int,
    refresh_every: int | None,
    marginalization: str = "token",
    temperature: float = 1.0,
    towers: tuple[str, ...] = TOWERS,
    index: str = retrieval.EXACT,
    search_parameters: int | None = None,
    n_actors: int = 0,
    ray_address: str | None = None,
    seed: int = 0,
    name: str | None = None,
) -> System:
    """Copies of generator, question and passage encoder trained on -log p(y|x), Siriwardhana et al. 2021; the index.

    As `train_rag`, but the gradient of p(z|x) reaches the passage encoder too, through the retrieved passages, which
    are encoded anew in every step. What is searched is an index of all passages; before every `refresh_every`-th step
    it is replaced by one that the passage encoder of that moment made, in eval mode and without gradient (None: never,
    so that the search stays with the vectors of the start). With `n_actors`, so many Ray actors encode the passages
    while training goes on, and the index is put in place when the next one is due: `refresh_every` steps later than
    without, and at the same step in every run. They are on this machine, or spread over the hosts of the Ray cluster at
    `ray_address` ("10.0.0.1:6379"), which changes nothing that is learned: where a host is lost, its part is encoded
    again. The index that is returned is made by the passage encoder that is.
    `towers` names the encoders that learn; the others are returned as they came. `index` and `search_parameters` are
    those of `retrieval.build_dense`.

    History: that of `train_rag`, and `index_age` (steps since the snapshot of which the index was made).
    Raises as `train_rag`, when `refresh_every` would leave the index as it was, and as `cluster.connect`.
    """
    require_marginal(examples, marginalization, temperature)
    require_refresh(refresh_every, towers, settings.n_steps)
    _require_actors(refresh_every, n_actors, ray_address)
    both = {"question": question_encoder, "passage": passage_encoder}
    learning = {tower: both[tower] for tower in TOWERS if tower in towers}
    require_settings(settings, generator, 1)
    require_layers(settings, learning)
    if ray_address is not None:
        connect(ray_address)
    build = functools.partial(_build_index, corpus, index, search_parameters, seed)
    first_index = build(passage_encoder)
    require_index(question_encoder, first_index, corpus, n_docs)

    content = [marginalization, str(n_docs), repr(temperature), f"{refresh_every} {sorted(learning)} {n_actors}"]
    content += [first_index.sha256, "\0", *map(repr, examples), "\0", corpus_sha256(corpus)]
    key = run_key([End2EndObjective, refresh], generator, [*both.values()], settings, seed, *content)
    with cache.locked_folder("training", key) as folder:
        texts = [retrieval.encoder_text(passage_encoder, passage) for passage in corpus.values()]
        searched = RefreshedIndex(
            first_index, build, texts, passage_encoder, folder, refresh_every, n_actors, ray_address
        )
        loss = RagLoss(corpus, examples, marginalization, temperature, settings.batch_tokens)
        objective = End2EndObjective(loss, n_docs, searched, both)
        run = Run(folder, generator, learning, settings, seed, len(examples), objective, objective.on_step_begin)
        try:
            system = carry_out(run)
        finally:
            stop_actors(searched.actors)
        remove_snapshots(searched)
    learned = system.passage_encoder
    return replace(
        system,
        generator=replace(system.generator, name=name or f"{generator.name} end2end"),
        question_encoder=system.question_encoder or question_encoder,
        passage_encoder=learned or passage_encoder,
        index=first_index if learned is None else build(snapshot(learned, passage_encoder)),
    )


@dataclass(frozen=True)
class End2EndObjective:
    """-log p(y|x) over passages that are found in an index that follows, and encoded anew."""

    loss: RagLoss
    n_docs: int
    index: RefreshedIndex
    encoders: dict[str, Encoder]  # both as they were before training, for the tower that does not learn

    def on_step_begin(self, learners: Learners, step: int) -> dict[str, float]:
        return refresh(self.index, learners.encoders.get("passage"), step)

    def step(self, learners: Learners, rows: list[int]) -> dict[str, float]:
        queries = [self.loss.examples[row].query for row in rows]
        ids, scores = _search_and_encode(self, learners, queries)
        return add_rag_gradients(self.loss, learners, rows, ids, scores)


def _search_and_encode(objective: End2EndObjective, learners: Learners, queries: list[str]):
    """As `search_with_gradients`, but what is found is encoded anew: the gradients reach the passage encoder."""
    import torch

    question_encoder, passage_encoder = ({**objective.encoders, **learners.encoders}[tower] for tower in TOWERS)
    with torch.set_grad_enabled("question" in learners.encoders):
        asked = query_texts(question_encoder, queries)
        vectors = embed_texts(question_encoder, asked, learners.top_layers.get("question"))  # (B, D)
    positions, missing = nearest_passages(objective.index.current, vectors, objective.n_docs)
    ids = objective.index.current.passage_ids[positions]
    unique, places = np.unique(ids, return_inverse=True)
    texts = [retrieval.encoder_text(passage_encoder, objective.loss.corpus[id_]) for id_ in unique]
    with torch.set_grad_enabled("passage" in learners.encoders):
        found = embed_texts(passage_encoder, texts, learners.top_layers.get("passage"))
    scores = (vectors[:, None] * found[torch.from_numpy(places.reshape(ids.shape))]).sum(-1)
    return ids, scores.masked_fill(missing.to(scores.device), -math.inf)


def _build_index(corpus, description, search_parameters, seed, encoder: Encoder, vectors: np.ndarray | None = None):
    return retrieval.build_dense(encoder, corpus, description, search_parameters, seed, vectors)


def _require_actors(refresh_every: int | None, n_actors: int, ray_address: str | None) -> None:
    if n_actors < 0 or (n_actors and refresh_every is None):
        raise InputError(f"n_actors = {n_actors} with refresh_every = {refresh_every}: there is nothing for them to do")
    if ray_address is not None and not n_actors:
        raise InputError(f"ray_address = {ray_address!r} with n_actors = 0: there is nothing to do on the cluster")
