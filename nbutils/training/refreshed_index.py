"""The index that follows a learning passage encoder: made anew of its snapshots, here or by actors."""

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nbutils import cache, models
from nbutils.errors import InputError
from nbutils.files import atomic_path, sha256_file
from nbutils.models import Encoder
from nbutils.retrieval import DenseIndex
from nbutils.training.refresh import Submitted, collect, split_texts, start_actors, stop_actors, submit

_FAILURES = (OSError, RuntimeError, MemoryError)  # after which a refresh is worth a second try


@dataclass
class RefreshedIndex:
    """The index that training searches, which is replaced as a whole, and what the next one is made with."""

    current: DenseIndex
    build: Callable[[Encoder, np.ndarray], DenseIndex]  # (snapshot, vectors of all texts) -> index
    texts: list[str]  # of all passages, in the order of the corpus
    original: Encoder  # as the passage encoder was before training
    folder: Path  # of the snapshots
    every: int | None  # steps; None: never
    n_actors: int
    ray_address: str | None  # of the cluster on whose hosts the actors are; None: this machine
    made_of: int = 0  # the step before which the snapshot was taken that the current index is made of
    actors: list = field(default_factory=list)
    submitted: tuple[int, Submitted] | None = None  # a snapshot's step, and what the actors owe


def refresh(index: RefreshedIndex, encoder: Encoder | None, step: int) -> dict[str, float]:
    """Before a step: put a new index in place where it is due; {"index_age": steps since its snapshot}.

    Snapshots are kept until the run ends: one that goes on from a checkpoint needs the last before it.
    """
    due = 0 if index.every is None else step - step % index.every
    if due and due == step:
        _write_snapshot(encoder, _snapshot_path(index, due))
    wanted = max(0, due - index.every) if index.n_actors else due
    if wanted != index.made_of:
        try:
            index.current = _index_at(index, encoder, wanted)
        except _FAILURES as error:
            print(f"Before step {step + 1} the index could not be made anew ({error}): once more, in this process.")
            index.current = _index_or_stop(index, encoder, wanted, step)
        index.made_of = wanted
    if index.n_actors and due and (index.submitted is None or index.submitted[0] != due):
        _submit_snapshot(index, encoder, due)
    return {"index_age": float(step - index.made_of)}


def snapshot(encoder: Encoder, original: Encoder, kept: Path | None = None) -> Encoder:
    """A copy in eval mode, without gradients, in the precision of the original: as it is now, or as it was `kept`."""
    from safetensors.torch import load_file

    model = copy.deepcopy(encoder.model)
    if kept is not None:
        model.load_state_dict(load_file(kept))
        encoder = replace(encoder, sha256=sha256_file(kept))
    return replace(encoder, model=model.to(original.model.dtype).requires_grad_(False).eval())


def remove_snapshots(index: RefreshedIndex) -> None:
    for path in index.folder.glob("snapshot-*.safetensors"):
        path.unlink()


def _index_at(index: RefreshedIndex, encoder: Encoder, step: int) -> DenseIndex:
    """The index of a snapshot, by the actors where they were given it, or else encoded here, bit for bit alike."""
    frozen = snapshot(encoder, index.original, _snapshot_path(index, step))
    if index.submitted is not None and index.submitted[0] == step:
        return index.build(frozen, collect(index.submitted[1]))
    with cache.off():  # it has no sha256 of its own while it learns
        shares = split_texts(index.texts, max(1, index.n_actors))
        vectors = [models.encode(frozen, share, "passages") for share in shares]
    return index.build(frozen, np.concatenate(vectors))


def _index_or_stop(index: RefreshedIndex, encoder: Encoder, wanted: int, step: int) -> DenseIndex:
    """The second try, here and with new actors from now on. What training has reached is in its checkpoint."""
    stop_actors(index.actors)
    index.actors, index.submitted = [], None
    try:
        return _index_at(index, encoder, wanted)
    except _FAILURES as error:
        raise InputError(f"before step {step + 1} the index could not be made anew, twice: {error}") from error


def _submit_snapshot(index: RefreshedIndex, encoder: Encoder, step: int) -> None:
    frozen = snapshot(encoder, index.original, _snapshot_path(index, step))
    if not index.actors:
        n_threads = max(1, (os.cpu_count() or 1) // (index.n_actors + 1))
        index.actors = start_actors(frozen, index.texts, index.n_actors, n_threads, index.ray_address)
    index.submitted = step, submit(index.actors, frozen)


def _snapshot_path(index: RefreshedIndex, step: int) -> Path:
    return index.folder / f"snapshot-{step}.safetensors"


def _write_snapshot(encoder: Encoder, target: Path) -> None:
    from safetensors.torch import save_file

    with atomic_path(target) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in encoder.model.state_dict().items()}, temporary)
