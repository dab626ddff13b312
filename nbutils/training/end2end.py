"""End-to-end training: the passage encoder learns too, and the index follows it (Siriwardhana et al. 2021)."""

import copy
import functools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nbutils import cache, models, retrieval
from nbutils.data import Example, Passage
from nbutils.errors import InputError
from nbutils.files import atomic_path, sha256_file
from nbutils.models import Encoder, Generator
from nbutils.retrieval import DenseIndex
from nbutils.training.checkpoints import run_folder
from nbutils.training.checks import require_index, require_marginal, require_settings
from nbutils.training.launch import carry_out
from nbutils.training.loop import Run
from nbutils.training.rag import embed_texts, nearest_passages, rag_gradients
from nbutils.training.refresh import collect, start_actors, stop_actors, submit
from nbutils.training.settings import TOWERS, History, TrainingSettings


def train_end2end(
    generator: Generator,
    encoder: Encoder,
    passage_encoder: Encoder,
    corpus: dict[str, Passage],
    examples: list[Example],
    settings: TrainingSettings,
    n_docs: int,
    refresh_every: int | None,
    marginalisation: str = "token",
    temperature: float = 1.0,
    towers: tuple[str, ...] = TOWERS,
    index: str = retrieval.EXACT,
    search_parameters: str | None = None,
    n_actors: int = 0,
    seed: int = 0,
    name: str | None = None,
) -> tuple[Generator, Encoder, Encoder, DenseIndex, History]:
    """Copies of generator, question and passage encoder trained on -log p(y|x), Siriwardhana et al. 2021; the index.

    As `train_rag`, but the gradient of p(z|x) reaches the passage encoder too, through the retrieved passages, which
    are encoded anew in every step. What is searched is an index of all passages; before every `refresh_every`-th step
    it is replaced by one that the passage encoder of that moment made, in eval mode and without gradient (None: never,
    so that the search stays with the vectors of the start). With `n_actors`, so many Ray actors encode the passages
    while training goes on, and the index is put in place when the next one is due: `refresh_every` steps later than
    without, and at the same step in every run. The index that is returned is made by the passage encoder that is.
    `towers` names the encoders that learn; the others are returned as they came.

    Curves: those of `train_rag`, and `index_age` (steps since the snapshot of which the index was made).
    Raises as `train_rag`, and when `refresh_every` would leave the index as it was.
    """
    require_marginal(examples, marginalisation, temperature)
    if not towers or not {*towers} <= {*TOWERS}:
        raise InputError(f"towers = {towers}: name one or both of {', '.join(TOWERS)}")
    if refresh_every is not None and not 1 <= refresh_every < settings.n_steps:
        raise InputError(
            f"refresh_every = {refresh_every}: give 1 to {settings.n_steps - 1}, or None for an index that stays"
        )
    if refresh_every is not None and "passage" not in towers:
        raise InputError("the passage encoder does not learn: its index would stay as it is, give refresh_every=None")
    require_settings(settings, generator, 1)
    start = retrieval.build_dense(passage_encoder, corpus, index, search_parameters, seed)
    require_index(encoder, start, corpus, n_docs)
    conventions = [
        f"{e.sha256} {e.model.dtype} {e.pooling} {e.normalize} {e.max_length}" for e in (encoder, passage_encoder)
    ]
    texts = [part for id, passage in corpus.items() for part in (id, passage.title, passage.text)]
    if n_actors < 0 or (n_actors and refresh_every is None):
        raise InputError(f"n_actors = {n_actors} with refresh_every = {refresh_every}: there is nothing for them to do")
    model = f"end2end-{marginalisation} {n_docs} {temperature!r} {refresh_every} {sorted(towers)} {n_actors}"
    folder = run_folder(
        model, generator, settings, seed, *conventions, start.sha256, "\0", *map(repr, examples), "\0", *texts
    )

    texts = [retrieval.passage_text(passage, passage_encoder.title_separator) for passage in corpus.values()]

    def index_of(snapshot: Encoder, vectors: np.ndarray) -> DenseIndex:
        return retrieval.build_dense(snapshot, corpus, index, search_parameters, seed, vectors)

    searched = _Refreshed(start, index_of, texts, passage_encoder, folder, refresh_every, n_actors)
    both = {"question": encoder, "passage": passage_encoder}
    learners = {tower: both[tower] for tower in TOWERS if tower in towers}
    search = functools.partial(_search_end2end, searched, corpus, both)
    gradients = functools.partial(
        rag_gradients, search, corpus, examples, None, n_docs, marginalisation, temperature, settings.batch_tokens
    )
    prepare = functools.partial(_refresh, searched)
    job = Run(folder, generator, learners, settings, seed, len(examples), gradients, prepare)
    try:
        tuned, learned, curves = carry_out(job, 1)
    finally:
        stop_actors(searched.actors)
    tuned = replace(tuned, name=name or f"{generator.name} end2end")
    for snapshot in folder.glob("snapshot-*.safetensors"):
        snapshot.unlink()
    now = both | learned
    if "passage" in learned:
        start = retrieval.build_dense(
            _snapshot(now["passage"], passage_encoder), corpus, index, search_parameters, seed
        )
    return tuned, now["question"], now["passage"], start, curves


@dataclass
class _Refreshed:
    """The index that training searches, which is replaced as a whole, and what the next one is made with."""

    index: DenseIndex
    index_of: Callable[[Encoder, np.ndarray], DenseIndex]
    texts: list[str]  # of all passages, in the order of the corpus
    original: Encoder  # as the passage encoder was before training
    folder: Path
    every: int | None
    n_actors: int
    step: int = 0  # before which the snapshot was taken that the index is made of
    actors: list = field(default_factory=list)
    submitted: tuple[int, list] | None = None  # a snapshot's step, and what the actors owe


def _search_end2end(searched: _Refreshed, corpus, both: dict[str, Encoder], encoders, queries: list[str], n_docs: int):
    """As `_search`, but what is found is encoded anew, so that the gradients reach the passage encoder."""
    import torch

    question, passage = (encoders.get(tower, both[tower]) for tower in TOWERS)
    with torch.set_grad_enabled("question" in encoders):
        vectors = embed_texts(question, queries)  # (B, D)
    positions, missing = nearest_passages(searched.index, vectors, n_docs)
    ids = searched.index.passage_ids[positions]
    unique, places = np.unique(ids, return_inverse=True)
    with torch.set_grad_enabled("passage" in encoders):
        found = embed_texts(passage, [retrieval.passage_text(corpus[id], passage.title_separator) for id in unique])
    scores = (vectors[:, None] * found[torch.from_numpy(places.reshape(ids.shape))]).sum(-1)
    return ids, scores.masked_fill(missing.to(scores.device), -math.inf)


def _refresh(searched: _Refreshed, encoders: dict[str, Encoder], step: int) -> dict[str, float]:
    """Before a step: put a new index in place where it is due; {"index_age": steps since its snapshot}.

    Snapshots are kept until the run ends: one that goes on from a checkpoint needs the last before it.
    """
    due = 0 if searched.every is None else step - step % searched.every
    if due and due == step:
        _write_snapshot(encoders["passage"], _snapshot_path(searched, due))
    wanted = max(0, due - searched.every) if searched.n_actors else due
    if wanted != searched.step:
        try:
            searched.index = _index_at(searched, encoders["passage"], wanted)
        except (OSError, RuntimeError, MemoryError):
            searched.index = _index_or_stop(searched, encoders["passage"], wanted, step)
        searched.step = wanted
    if searched.n_actors and due and (searched.submitted is None or searched.submitted[0] != due):
        snapshot = _snapshot(encoders["passage"], searched.original, _snapshot_path(searched, due))
        if not searched.actors:
            threads = max(1, (os.cpu_count() or 1) // (searched.n_actors + 1))
            searched.actors = start_actors(snapshot, searched.texts, searched.n_actors, threads)
        searched.submitted = due, submit(searched.actors, snapshot)
    return {"index_age": float(step - searched.step)}


def _index_at(searched: _Refreshed, encoder: Encoder, step: int) -> DenseIndex:
    """The index of a snapshot, by the actors where they were given it, and otherwise encoded here."""
    snapshot = _snapshot(encoder, searched.original, _snapshot_path(searched, step))
    if searched.submitted is not None and searched.submitted[0] == step:
        return searched.index_of(snapshot, collect(searched.submitted[1]))
    with cache.off():
        vectors = models.encode(snapshot, searched.texts, "passages")
    return searched.index_of(snapshot, vectors)


def _index_or_stop(searched: _Refreshed, encoder: Encoder, wanted: int, step: int) -> DenseIndex:
    """The second try, here and with new actors from now on. What training has reached is in its checkpoint."""
    stop_actors(searched.actors)
    searched.actors, searched.submitted = [], None
    try:
        return _index_at(searched, encoder, wanted)
    except (OSError, RuntimeError, MemoryError) as error:
        raise InputError(f"before step {step + 1} the index could not be made anew, twice: {error}") from error


def _snapshot_path(searched: _Refreshed, step: int) -> Path:
    return searched.folder / f"snapshot-{step}.safetensors"


def _write_snapshot(encoder: Encoder, target: Path) -> None:
    from safetensors.torch import save_file

    with atomic_path(target) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in encoder.model.state_dict().items()}, temporary)


def _snapshot(encoder: Encoder, original: Encoder, kept: Path | None = None) -> Encoder:
    """A copy in eval mode, without gradients, in the precision of the original: as it is now, or as it was `kept`."""
    from safetensors.torch import load_file

    model = copy.deepcopy(encoder.model)
    if kept is not None:
        model.load_state_dict(load_file(kept))
        encoder = replace(encoder, sha256=sha256_file(kept))
    return replace(encoder, model=model.to(original.model.dtype).requires_grad_(False).eval())
