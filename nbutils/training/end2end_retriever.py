"""The retriever's half of end-to-end training: both encoders learn, the generator is held fixed."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nbutils import cache, retrieval
from nbutils.data import Passage, corpus_sha256
from nbutils.errors import InputError
from nbutils.files import atomic_path
from nbutils.models import Encoder, query_texts
from nbutils.retrieval import DenseIndex
from nbutils.training.checks import require_layers, require_refresh, require_settings
from nbutils.training.embedding import embed_texts
from nbutils.training.identity import run_key
from nbutils.training.launch import carry_out
from nbutils.training.loop import Learners, Run
from nbutils.training.lower_layers import LowerLayers, above, embed_all, encode_above
from nbutils.training.rag_retriever import MarginalLoss, marginal_loss
from nbutils.training.settings import TOWERS, TrainingSettings
from nbutils.training.system import System
from nbutils.training.top_layers import TopLayers
from nbutils.training.undisturbed import undisturbed


def train_end2end_retriever(
    question_encoder: Encoder,
    passage_encoder: Encoder,
    index: DenseIndex,
    corpus: dict[str, Passage],
    queries: list[str],
    passage_ids: np.ndarray,
    token_logprobs: tuple[np.ndarray, np.ndarray],
    settings: TrainingSettings,
    n_docs: int,
    refresh_every: int | None,
    marginalization: str = "token",
    temperature: float = 1.0,
    towers: tuple[str, ...] = TOWERS,
    lower: LowerLayers | None = None,
    exchanged: bool = False,
    seed: int = 0,
) -> System:
    """Copies of both encoders trained on -log p(y|x), Siriwardhana et al. 2021, with a generator held fixed; the index.

    `queries`, `passage_ids` (N, M) and `token_logprobs` are the pool of `train_rag_retriever`. Every step takes of each
    pool the `n_docs` candidates that a search finds with the passage vectors of an earlier moment: those of `index`,
    and after every `refresh_every` steps (None: never) those that the passage encoder makes then. What is found is
    encoded anew, so that the gradient reaches the passage encoder. It is that of `train_end2end` wherever a search
    finds the same passages and the generator has not moved. `towers` names the encoders that learn. The index that is
    returned is an exact one, made by the passage encoder that is returned.
    `lower`: the corpus below the top `settings.passage_layers` layers of `passage_encoder`, which saves reading it for
    every training. `exchanged` is the null: each passage gets the gradient of another one of the same question.

    History: that of `train_rag_retriever`, and `index_age` (steps since the vectors were made that are searched).
    Raises InputError for arrays that do not fit, and as `train_end2end`.
    """
    positions, loss = marginal_loss(
        question_encoder, index, corpus, queries, passage_ids, token_logprobs, n_docs, marginalization, temperature
    )
    require_settings(settings, None, 1)
    require_refresh(refresh_every, towers, settings.n_steps)
    both = dict(zip(TOWERS, (question_encoder, passage_encoder), strict=True))
    learning = {tower: both[tower] for tower in TOWERS if tower in towers}
    require_layers(settings, learning)
    if lower is not None and (lower.n_layers != settings.passage_layers or lower.corpus is not corpus):
        raise InputError("the lower layers are of another corpus or below other layers: give those that training needs")
    content = [f"{n_docs} {marginalization} {temperature!r} {refresh_every} {sorted(learning)} {exchanged}"]
    content += [index.sha256, corpus_sha256(corpus), str(positions.tolist()), *queries, "\0"]
    content += [str(loss.token_logprobs.tolist()), str(loss.mask.tolist())]
    algorithm = [End2EndPoolObjective, MarginalLoss, SearchedPool, LowerLayers]
    key = run_key(algorithm, None, [*both.values()], settings, seed, *content)
    with cache.locked_folder("training", key) as folder:
        searched = SearchedPool(positions, index, corpus, passage_encoder, folder, refresh_every)
        objective = End2EndPoolObjective(loss, queries, searched, both, n_docs, lower, exchanged)
        learned = carry_out(
            Run(folder, None, learning, settings, seed, len(queries), objective, objective.on_step_begin)
        )
        for path in folder.glob("vectors-*.npy"):
            path.unlink()
    encoders = {"question_encoder": question_encoder, "passage_encoder": passage_encoder}
    encoders |= {name: getattr(learned, name) for name in encoders if getattr(learned, name) is not None}
    if learned.passage_encoder is not None:
        vectors = None if lower is None else encode_above(learned.passage_encoder, lower)
        index = retrieval.build_dense(learned.passage_encoder, corpus, vectors=vectors)
    return replace(learned, **encoders, index=index)


@dataclass
class SearchedPool:
    """The candidates of all queries, and the passage vectors that are searched, of an earlier moment."""

    positions: np.ndarray  # (N, M) of the candidates in the index
    index: DenseIndex  # of the start
    corpus: dict[str, Passage]
    encoder: Encoder  # of the passages, as it was before it learned
    folder: Path  # of the vectors, which a run that goes on from a checkpoint needs
    every: int | None
    made_of: int = 0  # the step before which they were made
    vectors: np.ndarray | None = field(default=None)  # of `unique`, (n, D); None: those of the index

    def __post_init__(self) -> None:
        self.unique, self.places = np.unique(self.positions, return_inverse=True)
        self.places = self.places.reshape(self.positions.shape)

    def texts(self, positions: np.ndarray) -> list[str]:
        ids = self.index.passage_ids[positions].tolist()
        return [retrieval.encoder_text(self.encoder, self.corpus[id_]) for id_ in ids]


@dataclass(frozen=True)
class End2EndPoolObjective:
    """-log p(y|x) over candidates that are found among vectors of an earlier moment, and encoded anew."""

    loss: MarginalLoss
    queries: list[str]  # N
    pool: SearchedPool
    encoders: dict[str, Encoder]  # both as they were before training, for the tower that does not learn
    n_docs: int
    lower: LowerLayers | None
    exchanged: bool

    def on_step_begin(self, learners: Learners, step: int) -> dict[str, float]:
        pool = self.pool
        due = 0 if pool.every is None else step - step % pool.every
        path = pool.folder / f"vectors-{due}.npy"
        if due == step and due:
            encoder, top = learners.encoders["passage"], _passage_layers(self, learners)
            with undisturbed([encoder.model], encoder.model.device):
                pool.vectors = embed_all(encoder, pool.texts(pool.unique), top)
            with atomic_path(path) as temporary:
                np.save(temporary, pool.vectors)
        elif due != pool.made_of:  # a run that goes on
            pool.vectors = np.load(path)
        pool.made_of = due
        return {"index_age": float(step - due)}

    def step(self, learners: Learners, rows: list[int]) -> dict[str, float]:
        import torch

        encoders = {**self.encoders, **learners.encoders}
        with torch.set_grad_enabled("question" in learners.encoders):
            asked = query_texts(encoders["question"], [self.queries[row] for row in rows])
            vectors = embed_texts(encoders["question"], asked, learners.top_layers.get("question"))  # (B, D)
        columns = self._search(vectors, rows)  # (B, K)
        positions = np.take_along_axis(self.pool.positions[rows], columns, axis=1)
        unique, places = np.unique(positions, return_inverse=True)
        if "passage" in learners.encoders:
            anew = embed_texts(encoders["passage"], self.pool.texts(unique), _passage_layers(self, learners))
        else:
            anew = torch.from_numpy(self.pool.index.faiss_index.reconstruct_batch(unique)).to(vectors.device)
        found = anew[torch.from_numpy(places.reshape(positions.shape)).to(anew.device)]  # (B, K, D)
        if self.exchanged and found.requires_grad:
            found.register_hook(lambda gradient: gradient.roll(1, dims=1))
        scores = (vectors[:, None] * found).sum(-1)
        among = torch.full((len(rows), self.pool.positions.shape[1]), -torch.inf, device=scores.device)  # (B, M)
        loss, values = self.loss(among.scatter(1, torch.from_numpy(columns).to(scores.device), scores), rows)
        loss.backward()
        return {"loss": loss.item(), **values}

    def _search(self, vectors, rows: list[int]) -> np.ndarray:
        """Columns (B, K) of the candidates with the largest inner products, best first."""
        pool, asked = self.pool, vectors.detach().cpu().numpy()
        if pool.vectors is None:
            positions = pool.positions[rows]
            searched = pool.index.faiss_index.reconstruct_batch(positions.ravel()).reshape(*positions.shape, -1)
        else:
            searched = pool.vectors[pool.places[rows]]
        scores = np.einsum("bd,bmd->bm", asked, searched)
        return np.argsort(-scores, axis=1, kind="stable")[:, : self.n_docs]


def _passage_layers(objective: End2EndPoolObjective, learners: Learners) -> TopLayers | None:
    top = learners.top_layers.get("passage")
    return None if top is None else above(top, objective.lower)
