"""Training: LoRA or full fine-tuning, RAG's joint training of question encoder and generator, end to end, and LSR.

Every run has a folder `data/cache/training/<key>`, where the key is a digest of all that the result depends on. While
the run lasts, the folder holds its latest checkpoint; afterwards, what was learned. An interrupted run goes on from its
checkpoint, a finished one is read back.
"""

import copy
import functools
import json
import logging
import math
import os
import re
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from nbutils import generation, paths, rag, refresh, retrieval
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.files import atomic_path, exclusive, sha256_file, sha256_source, sha256_text, write_text
from nbutils.models import Encoder, Generator
from nbutils.progress import progress_bar
from nbutils.retrieval import DenseIndex, batches_by_length
from nbutils.tasks import Item

MARGINALISATIONS = ("sequence", "token")
TOWERS = ("question", "passage")  # encoders that training may move
# Attention and MLP projections, by their names in Llama, Gemma, Mistral and Qwen, then those of BART.
LORA_TARGETS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "out_proj", "fc1", "fc2"}
LORA_SCALE = 2  # lora_alpha / lora_rank
COMPILE_FROM_WORK = 10**10  # parameters x examples: compiling costs up to a minute once, and halves the time of a step

Curves = dict[str, list[float]]  # one value a step


@dataclass(frozen=True)
class Settings:
    """How long and how fast to train, and which weights."""

    n_steps: int
    batch_size: int  # examples a step, all processes together
    learning_rate: float = 3e-4  # of the generator
    encoder_learning_rate: float = 3e-5  # of the question encoder
    shuffle: bool = True  # False: batches are taken in the order of the examples
    warmup_steps: int = 0  # linear
    decay: bool = True  # then linear to zero; False: constant
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora_rank: int | None = 16  # None: all weights of the generator
    lora_layers: int | None = None  # so many top layers (of encoder and decoder, where there are two); None: all
    dropout: bool = False  # True: at the checkpoint's own rates
    batch_tokens: int = 4096  # padded tokens of one forward pass; a step takes as many passes as it needs
    checkpoint_every: int = 50  # steps


@dataclass(frozen=True)
class _Job:
    """A run; several processes get it with the models left out."""

    folder: Path
    generator: Generator | None  # None: no generator takes part
    encoders: dict[str, Encoder]  # those that learn, by tower; none: nothing is learned about retrieval
    settings: Settings
    seed: int
    n_examples: int
    # (generator, encoders, rows, autocast) -> values of the curves; the gradients are added to the parameters
    gradients: Callable[..., dict[str, float]]
    # (encoders, step) -> values of the curves; before a step, where the index follows the passage encoder
    prepare: Callable[..., dict[str, float]] | None = None


def fine_tune(
    generator: Generator,
    prompts: list[str],
    answers: list[str],
    settings: Settings,
    seed: int = 0,
    name: str | None = None,
    n_processes: int = 1,
) -> tuple[Generator, Curves]:
    """A copy of the generator, called `name`, trained on -log p(answer | prompt), and the curves of its training.

    Curves: `loss` (nats an answer, its ending token included) and `grad_norm` (before clipping). `n_processes` > 1
    trains on as many GPUs (without GPUs: processes). Raises InputError for empty or too long examples, for settings
    that cannot be, and when the loss stops being a number.
    """
    if not prompts or len(prompts) != len(answers):
        raise InputError(f"{len(prompts)} prompts and {len(answers)} answers: give one answer to each prompt")
    _require_answers(answers)
    _require_settings(settings, generator, n_processes)
    prompt_ids, answer_ids = generation.tokenise_pairs(generator, prompts, answers)
    gradients = functools.partial(_answer_gradients, prompt_ids, answer_ids, settings.batch_tokens)
    folder = _folder("fine-tuning", generator, settings, seed, *prompts, "\0", *answers)
    job = _Job(folder, generator, {}, settings, seed, len(prompts), gradients)
    tuned, _, curves = _run(job, n_processes)
    return replace(tuned, name=name or f"{generator.name} fine-tuned"), curves


def train_rag(
    generator: Generator,
    encoder: Encoder | None,
    index: DenseIndex | None,
    corpus: dict[str, Passage],
    examples: list[Item],
    settings: Settings,
    n_docs: int,
    marginalisation: str = "sequence",
    temperature: float = 1.0,
    retrieved: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
    name: str | None = None,
    n_processes: int = 1,
) -> tuple[Generator, Encoder | None, Curves]:
    """Copies of generator and question encoder trained on -log p(y|x), Lewis et al. 2020 sec. 2.1 and 2.4; the curves.

    p(y|x) is RAG-Sequence's or RAG-Token's (`marginalisation`) over the `n_docs` passages with the largest q(x)·d(z);
    p(z|x) is the softmax of these divided by `temperature`. Passage vectors and index stay as they are; the question
    encoder starts as a copy of `encoder`, and every step searches anew with it. With `retrieved` = (ids (N, K), scores
    (N, K)), a row for each example, the retriever is fixed: the scores (BM25's or a frozen encoder's; -inf leaves a
    passage out) are the logits of p(z|x), the first `n_docs` columns count, and `encoder` is returned as it is.

    Curves: `loss` (nats an answer), `grad_norm` (before clipping), `top_prior` (mean of max_z p(z|x)),
    `posterior_entropy` (nats, of p(z|x,y)), and where examples name gold passages `gold_recall` (share of the batch's
    examples with one of theirs retrieved). `n_processes` and errors as in `fine_tune`.
    """
    _require_marginal(examples, marginalisation, temperature)
    _require_settings(settings, generator, n_processes)
    if retrieved is None:
        _require_index(encoder, index, corpus, n_docs)
        conventions = f"{encoder.model.dtype} {encoder.pooling} {encoder.normalise} {encoder.max_length}"
        searched = [encoder.sha256, conventions, index.sha256]
    else:
        retrieved = _require_retrieved(retrieved, corpus, len(examples), n_docs)
        searched = [*retrieved[0].ravel().tolist(), str(retrieved[1].tolist())]
    texts = [part for id, passage in corpus.items() for part in (id, passage.title, passage.text)]
    model = f"RAG-{marginalisation} {n_docs} {temperature!r} {retrieved is None}"
    folder = _folder(model, generator, settings, seed, *searched, "\0", *map(repr, examples), "\0", *texts)
    search = functools.partial(_search, index)
    gradients = functools.partial(
        _rag_gradients, search, corpus, examples, retrieved, n_docs, marginalisation, temperature, settings.batch_tokens
    )
    learners = {"question": encoder} if retrieved is None else {}
    job = _Job(folder, generator, learners, settings, seed, len(examples), gradients)
    tuned, learned, curves = _run(job, n_processes)
    tuned = replace(tuned, name=name or f"{generator.name} RAG-{marginalisation}")
    return tuned, learned.get("question", encoder), curves


def train_end2end(
    generator: Generator,
    encoder: Encoder,
    passage_encoder: Encoder,
    corpus: dict[str, Passage],
    examples: list[Item],
    settings: Settings,
    n_docs: int,
    refresh_every: int | None,
    marginalisation: str = "token",
    temperature: float = 1.0,
    towers: tuple[str, ...] = TOWERS,
    index: str = retrieval.EXACT,
    search_effort: int | None = None,
    n_actors: int = 0,
    seed: int = 0,
    name: str | None = None,
) -> tuple[Generator, Encoder, Encoder, DenseIndex, Curves]:
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
    _require_marginal(examples, marginalisation, temperature)
    if not towers or not {*towers} <= {*TOWERS}:
        raise InputError(f"towers = {towers}: name one or both of {', '.join(TOWERS)}")
    if refresh_every is not None and not 1 <= refresh_every < settings.n_steps:
        raise InputError(
            f"refresh_every = {refresh_every}: give 1 to {settings.n_steps - 1}, or None for an index that stays"
        )
    if refresh_every is not None and "passage" not in towers:
        raise InputError("the passage encoder does not learn: its index would stay as it is, give refresh_every=None")
    _require_settings(settings, generator, 1)
    start = retrieval.build_dense(passage_encoder, corpus, index, search_effort, seed)
    _require_index(encoder, start, corpus, n_docs)
    conventions = [
        f"{e.sha256} {e.model.dtype} {e.pooling} {e.normalise} {e.max_length}" for e in (encoder, passage_encoder)
    ]
    texts = [part for id, passage in corpus.items() for part in (id, passage.title, passage.text)]
    if n_actors < 0 or (n_actors and refresh_every is None):
        raise InputError(f"n_actors = {n_actors} with refresh_every = {refresh_every}: there is nothing for them to do")
    model = f"end2end-{marginalisation} {n_docs} {temperature!r} {refresh_every} {sorted(towers)} {n_actors}"
    folder = _folder(
        model, generator, settings, seed, *conventions, start.sha256, "\0", *map(repr, examples), "\0", *texts
    )

    texts = [retrieval.passage_text(passage, passage_encoder.title_separator) for passage in corpus.values()]

    def index_of(snapshot: Encoder, vectors: np.ndarray) -> DenseIndex:
        return retrieval.build_dense(snapshot, corpus, index, search_effort, seed, vectors)

    searched = _Refreshed(start, index_of, texts, passage_encoder, folder, refresh_every, n_actors)
    both = {"question": encoder, "passage": passage_encoder}
    learners = {tower: both[tower] for tower in TOWERS if tower in towers}
    search = functools.partial(_search_end2end, searched, corpus, both)
    gradients = functools.partial(
        _rag_gradients, search, corpus, examples, None, n_docs, marginalisation, temperature, settings.batch_tokens
    )
    prepare = functools.partial(_refresh, searched)
    job = _Job(folder, generator, learners, settings, seed, len(examples), gradients, prepare)
    try:
        tuned, learned, curves = _run(job, 1)
    finally:
        refresh.stop_actors(searched.actors)
    tuned = replace(tuned, name=name or f"{generator.name} end2end")
    for snapshot in folder.glob("snapshot-*.safetensors"):
        snapshot.unlink()
    now = both | learned
    if "passage" in learned:
        start = retrieval.build_dense(_snapshot(now["passage"], passage_encoder), corpus, index, search_effort, seed)
    return tuned, now["question"], now["passage"], start, curves


def train_lsr(
    encoder: Encoder,
    index: DenseIndex,
    corpus: dict[str, Passage],
    queries: list[str],
    passage_ids: np.ndarray,
    lm_logprobs: np.ndarray,
    settings: Settings,
    temperature: float = 1.0,
    lsr_temperature: float = 0.01,
    direction: str = rag.DIRECTIONS[0],
    reduction: str = rag.REDUCTIONS[0],
    passage_encoder: Encoder | None = None,
    seed: int = 0,
) -> tuple[Encoder, Encoder | None, Curves]:
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
    _require_settings(settings, None, 1)
    _require_index(encoder, index, corpus, 1)
    positions, lm_logprobs = _require_lsr(index, queries, passage_ids, lm_logprobs)
    for name, value in {"temperature": temperature, "lsr_temperature": lsr_temperature}.items():
        if not value > 0:
            raise InputError(f"{name} = {value}: give a number above 0")
    learners = {"question": encoder} | ({} if passage_encoder is None else {"passage": passage_encoder})
    conventions = [f"{e.sha256} {e.model.dtype} {e.pooling} {e.normalise} {e.max_length}" for e in learners.values()]
    texts = [] if passage_encoder is None else [part for p in corpus.values() for part in (p.title, p.text)]
    method = f"LSR {temperature!r} {lsr_temperature!r} {direction} {reduction} {seed} {settings!r}"
    arrays = [str(positions.tolist()), str(lm_logprobs.tolist())]
    content = [*conventions, index.sha256, *arrays, "\0", *queries, "\0", *texts]
    folder = paths.CACHE / "training" / sha256_text(method, SOURCES, *content)
    loss = functools.partial(rag.lsr_loss, temperature=lsr_temperature, direction=direction, reduction=reduction)
    gradients = functools.partial(_lsr_gradients, index, corpus, queries, positions, lm_logprobs, temperature, loss)
    job = _Job(folder, None, learners, settings, seed, len(queries), gradients)
    _, learned, curves = _run(job, 1)
    return learned["question"], learned.get("passage"), curves


# Gradients of one step


def _answer_gradients(prompt_ids, answer_ids, batch_tokens, generator, encoders, rows, autocast) -> dict[str, float]:
    loss = 0.0
    for batch in batches_by_length([len(prompt_ids[row]) + len(answer_ids[row]) for row in rows], batch_tokens):
        members = [rows[position] for position in batch]
        pairs = [prompt_ids[row] for row in members], [answer_ids[row] for row in members]
        with autocast:
            logprobs = generation.batch_logprobs(generator, *pairs)
        share = -logprobs.sum() / len(rows)
        share.backward()
        loss += share.item()
    return {"loss": loss}


def _rag_gradients(
    search, corpus, examples, retrieved, n_docs, marginalisation, temperature, batch_tokens, generator, encoders, rows,
    autocast,
) -> dict[str, float]:  # fmt: skip
    import torch

    batch = [examples[row] for row in rows]
    if retrieved is None:
        ids, scores = search(encoders, [example.query for example in batch], n_docs)
    else:
        ids, scores = retrieved[0][rows], torch.tensor(retrieved[1][rows], device=generator.model.device)
    prompts = [
        [generation.build_prompt(example.question, corpus[id]) for id in row]
        for example, row in zip(batch, ids.tolist(), strict=True)
    ]
    # A question's passages meet in its loss, so a forward pass holds whole questions. All passes share the question
    # encoder's graph: their gradients are summed at `leaf` and go through it once.
    leaf = scores.detach().clone().requires_grad_(retrieved is None)
    leaf.grad = torch.zeros_like(leaf)
    token_counts = [[len(ids) for ids in generator.tokenizer(row)["input_ids"]] for row in prompts]
    values = {"loss": 0.0, "top_prior": 0.0, "posterior_entropy": 0.0}
    for members in batches_by_length([len(counts) * max(counts) for counts in token_counts], batch_tokens):
        with autocast:
            token_logprobs, mask = rag.answer_token_logprobs(
                generator, [prompts[i] for i in members], [batch[i].answers[0] for i in members]
            )
        log_prior = rag.document_logprior(leaf[members], temperature)  # (B, K)
        if marginalisation == "sequence":
            logprobs = rag.sequence_logprob(log_prior, token_logprobs, mask)
        else:
            logprobs = rag.token_logprob(log_prior, token_logprobs, mask).sum(-1)
        share = -logprobs.sum() / len(rows)
        share.backward()
        with torch.no_grad():
            answer_logprobs = token_logprobs.masked_fill(~mask[:, None], 0).sum(-1)  # (B, K) log p(y|x,z)
            posterior = (log_prior + answer_logprobs).softmax(-1)
            values["loss"] += share.item()
            values["top_prior"] += log_prior.exp().amax(-1).sum().item() / len(rows)
            values["posterior_entropy"] += torch.special.entr(posterior).sum().item() / len(rows)
    if retrieved is None:
        scores.backward(leaf.grad)
    if any(example.gold_passages for example in examples):
        hits = [not {*row}.isdisjoint(example.gold_passages) for row, example in zip(ids.tolist(), batch, strict=True)]
        values["gold_recall"] = sum(hits) / len(hits)
    return values


def _lsr_gradients(
    index, corpus, queries, positions, lm_logprobs, temperature, loss, generator, encoders, rows, autocast
) -> dict[str, float]:
    import torch

    asked = _embed(encoders["question"], [queries[row] for row in rows])  # (B, D)
    unique, places = np.unique(positions[rows], return_inverse=True)
    if "passage" in encoders:
        separator = encoders["passage"].title_separator
        texts = [retrieval.passage_text(corpus[id], separator) for id in index.passage_ids[unique].tolist()]
        found = _embed(encoders["passage"], texts)
    else:
        found = torch.from_numpy(index.faiss_index.reconstruct_batch(unique)).to(asked.device)
    candidates = found[torch.from_numpy(places.reshape(len(rows), -1)).to(found.device)]  # (B, K, D)
    log_prior = rag.document_logprior((asked[:, None] * candidates).sum(-1), temperature)
    value = loss(log_prior, torch.tensor(lm_logprobs[rows], dtype=log_prior.dtype, device=log_prior.device))
    value.backward()
    return {"loss": value.item(), "top_prior": log_prior.exp().amax(-1).mean().item()}


def _search(index: DenseIndex, encoders: dict[str, Encoder], queries: list[str], n_docs: int):
    """Ids (B, K) of the passages with the largest inner products, and these (B, K) as a tensor with gradients."""
    import torch

    vectors = _embed(encoders["question"], queries)  # (B, D)
    positions, missing = _nearest(index, vectors, n_docs)
    passages = torch.from_numpy(index.faiss_index.reconstruct_batch(positions.ravel())).view(*positions.shape, -1)
    scores = (vectors[:, None] * passages.to(vectors.device)).sum(-1)
    return index.passage_ids[positions], scores.masked_fill(missing.to(scores.device), -math.inf)


def _embed(encoder: Encoder, texts: list[str]):
    token_ids = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_length)["input_ids"]
    return retrieval.embed(encoder, token_ids).float()


def _nearest(index: DenseIndex, vectors, n_docs: int):
    """Positions (B, K) in the index, and which of them it did not find: an approximate one may find fewer."""
    import torch

    _, positions = index.faiss_index.search(vectors.detach().cpu().numpy(), n_docs)
    return positions.clip(min=0), torch.from_numpy(positions < 0)


# End to end: the passage encoder learns too, and the index follows it


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
        vectors = _embed(question, queries)  # (B, D)
    positions, missing = _nearest(searched.index, vectors, n_docs)
    ids = searched.index.passage_ids[positions]
    unique, places = np.unique(ids, return_inverse=True)
    with torch.set_grad_enabled("passage" in encoders):
        found = _embed(passage, [retrieval.passage_text(corpus[id], passage.title_separator) for id in unique])
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
            searched.actors = refresh.start_actors(snapshot, searched.texts, searched.n_actors, threads)
        searched.submitted = due, refresh.submit(searched.actors, snapshot)
    return {"index_age": float(step - searched.step)}


def _index_at(searched: _Refreshed, encoder: Encoder, step: int) -> DenseIndex:
    """The index of a snapshot, by the actors where they were given it, and otherwise encoded here."""
    snapshot = _snapshot(encoder, searched.original, _snapshot_path(searched, step))
    if searched.submitted is not None and searched.submitted[0] == step:
        return searched.index_of(snapshot, refresh.collect(searched.submitted[1]))
    return searched.index_of(snapshot, retrieval.encode(snapshot, searched.texts, "passages", use_cache=False))


def _index_or_stop(searched: _Refreshed, encoder: Encoder, wanted: int, step: int) -> DenseIndex:
    """The second try, here and with new actors from now on. What training has reached is in its checkpoint."""
    refresh.stop_actors(searched.actors)
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


# The loop


def _run(job: _Job, n_processes: int) -> tuple[Generator | None, dict[str, Encoder], Curves]:
    """What training gives, read back from the run's folder whether it took place now or earlier."""
    with exclusive(job.folder / ".lock"):  # another notebook may be at the same run: wait for it
        state = _read_state(job.folder)
        if state is None or state["step"] < job.settings.n_steps:
            if n_processes == 1:
                from accelerate import Accelerator

                _train(Accelerator(cpu=_device(job).type == "cpu", mixed_precision="no"), job)
            else:
                _train_in_processes(n_processes, job)
            state = _read_state(job.folder)
    tuned, learned = None, {}
    if job.generator is not None:
        tuned, trained = _trainable_generator(job)
        _load(state["tensors"], "generator", trained)
        if job.settings.lora_rank is not None and not _quantised(tuned):  # 4-bit weights would lose what is merged in
            tuned = replace(tuned, model=trained.merge_and_unload())
        tuned.model.requires_grad_(False)
        tuned = replace(tuned, sha256=sha256_text(tuned.sha256, state["sha256"]))
    for tower, encoder in job.encoders.items():
        copied = _trainable_encoder(encoder)
        _load(state["tensors"], tower, copied.model)
        copied.model.requires_grad_(False)
        learned[tower] = replace(copied, sha256=sha256_text(encoder.sha256, tower, state["sha256"]))
    return tuned, learned, state["curves"]


def _train(accelerator, job: _Job) -> None:
    """Train from the folder's checkpoint or from the start; the main process leaves the result in the folder."""
    import torch

    settings, device, generator, autocast, parts = job.settings, _device(job), None, None, {}
    if job.generator is not None:
        generator, parts["generator"] = _trainable_generator(job)
        for parameter in _parameters(parts["generator"]).values():
            parameter.data = parameter.data.float()  # in bfloat16 most updates would be rounded away
        dtype = job.generator.model.dtype
        whole = settings.lora_rank is None and dtype != torch.float32
        autocast = torch.autocast(device.type, dtype=dtype, enabled=whole)
        if parts["generator"].num_parameters() * settings.n_steps * settings.batch_size >= COMPILE_FROM_WORK:
            generation.compile_layers(generator)
    encoders = {tower: _trainable_encoder(encoder) for tower, encoder in job.encoders.items()}
    parts |= {tower: encoder.model for tower, encoder in encoders.items()}
    for model in parts.values():
        model.train(settings.dropout)
    rates = [settings.learning_rate if part == "generator" else settings.encoder_learning_rate for part in parts]
    optimizer = torch.optim.AdamW(
        [{"params": list(_parameters(model).values())} for model in parts.values()], weight_decay=settings.weight_decay
    )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    first, curves = 0, {}
    state = _read_state(job.folder)
    if state is not None:
        first, curves = state["step"], state["curves"]
        for part, model in parts.items():
            _load(state["tensors"], part, model, optimizer)
    main, rank, world = accelerator.is_main_process, accelerator.process_index, accelerator.num_processes
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        progress_bar(settings.n_steps if main else 0, "Training") as progress,
    ):
        progress.update(first)
        for step in range(first, settings.n_steps):
            torch.manual_seed(int(np.random.SeedSequence([job.seed, step, rank]).generate_state(1)[0]))  # for dropout
            optimizer.zero_grad()
            rows = _batch(job.n_examples, settings, job.seed, step)[rank::world]
            prepared = {} if job.prepare is None else job.prepare(encoders, step)
            values = job.gradients(generator, encoders, rows, autocast) | prepared
            if world > 1:
                for parameter in parameters:
                    if parameter.grad is not None:
                        parameter.grad = accelerator.reduce(parameter.grad, "mean")
                means = accelerator.reduce(torch.tensor([*values.values()], device=device), "mean").tolist()
                values = dict(zip(values, means, strict=True))
            values["grad_norm"] = accelerator.clip_grad_norm_(parameters, settings.max_grad_norm).item()
            if not math.isfinite(values["loss"] + values["grad_norm"]):
                raise InputError(
                    f"step {step + 1} of {settings.n_steps}: loss {values['loss']}, gradient norm "
                    f"{values['grad_norm']}: lower the learning rate or look at the examples of this step"
                )
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * _rate_factor(settings, step)
            optimizer.step()
            for name, value in values.items():
                curves.setdefault(name, []).append(value)
            if main and (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.n_steps:
                _write_state(job.folder, parts, optimizer, step + 1, curves)
            progress.update(1)
    if main:
        _write_state(job.folder, parts, None, settings.n_steps, curves)
    accelerator.wait_for_everyone()


def _device(job: _Job):
    return (job.generator or next(iter(job.encoders.values()))).model.device


def _batch(n_examples: int, settings: Settings, seed: int, step: int) -> list[int]:
    """Row numbers of a step's batch: one pass over the examples, shuffled or not, after the other, cut into batches."""
    places = range(step * settings.batch_size, (step + 1) * settings.batch_size)
    if not settings.shuffle:
        return [place % n_examples for place in places]
    passes = {place // n_examples for place in places}
    orders = {number: np.random.default_rng([seed, number]).permutation(n_examples) for number in passes}
    return [int(orders[place // n_examples][place % n_examples]) for place in places]


def _rate_factor(settings: Settings, step: int) -> float:
    """Share of the full learning rate at a step (from 0): linear warm-up, then linear decay."""
    if step < settings.warmup_steps:
        return (step + 1) / (settings.warmup_steps + 1)
    return (settings.n_steps - step) / (settings.n_steps - settings.warmup_steps) if settings.decay else 1.0


def _train_in_processes(n_processes: int, job: _Job) -> None:
    """Train in `n_processes` fresh processes, one a GPU.

    Not by accelerate's notebook_launcher: it forks, and a process that has a model on a GPU cannot be forked.
    """
    from accelerate.utils import PrepareForLaunch, patch_environment
    from torch.multiprocessing import ProcessRaisedException, start_processes

    device = job.generator.model.device.type
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix=".models.", dir=job.folder) as scratch:
        saved = {}
        for part, model in {"generator": job.generator, **job.encoders}.items():
            saved[part] = (type(model.model), Path(scratch) / part, model.model.dtype)
            model.model.save_pretrained(saved[part][1])
        bare = {tower: replace(encoder, model=None) for tower, encoder in job.encoders.items()}
        arguments = (device, saved, replace(job, generator=replace(job.generator, model=None), encoders=bare))
        launch = PrepareForLaunch(_process, "MULTI_CPU" if device == "cpu" else "MULTI_GPU")
        try:
            with patch_environment(world_size=n_processes, master_addr="127.0.0.1", master_port=port):
                start_processes(launch, arguments, n_processes, start_method="spawn")
        except ProcessRaisedException as error:
            last_line = str(error).strip().splitlines()[-1]
            if InputError.__name__ in last_line:
                raise InputError(last_line.partition(": ")[2]) from error
            raise


def _process(device: str, saved: dict, job: _Job) -> None:
    """One of several training processes."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
    models = {
        part: architecture.from_pretrained(folder, dtype=dtype, use_safetensors=True).to(accelerator.device).eval()
        for part, (architecture, folder, dtype) in saved.items()
    }
    encoders = {tower: replace(encoder, model=models[tower]) for tower, encoder in job.encoders.items()}
    job = replace(job, generator=replace(job.generator, model=models["generator"]), encoders=encoders)
    _train(accelerator, job)
    accelerator.end_training()


# What is trained


def _trainable_generator(job: _Job) -> tuple[Generator, Any]:
    """A copy of the generator, and the module whose parameters that need a gradient are to be trained."""
    import torch

    settings = job.settings
    if settings.lora_rank is None:
        model = copy.deepcopy(job.generator.model)
        return replace(job.generator, model=model), model.requires_grad_(True).eval()
    n_layers = job.generator.model.config.num_hidden_layers
    top = list(range(n_layers - (settings.lora_layers or n_layers), n_layers))
    model = _copy_of_layers(job.generator, top).eval()
    generator = replace(job.generator, model=model)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it, and it misses what nobody asked for
    import peft

    config = peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=LORA_SCALE * settings.lora_rank,
        target_modules=sorted(_module_names(model) & LORA_TARGETS),
        layers_to_transform=top,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
        torch.manual_seed(job.seed)
        return generator, peft.get_peft_model(model, config).eval()


def _copy_of_layers(generator: Generator, numbers: list[int]):
    """A copy of the model that shares the memory of the embeddings and of other layers, which nobody writes to.

    They are most of a small model: a notebook that keeps a dozen trained ones would need a dozen times as much.
    """
    import torch

    shared = {}
    for name, parameter in () if _quantised(generator) else generator.model.named_parameters():
        layer = re.search(r"\blayers\.(\d+)\.", name)
        if layer is None or int(layer[1]) not in numbers:
            shared[id(parameter)] = torch.nn.Parameter(parameter.data, requires_grad=parameter.requires_grad)
    return copy.deepcopy(generator.model, shared)


def _trainable_encoder(encoder: Encoder) -> Encoder:
    """A copy in float32, and it stays so: updates of 3e-5 would be rounded away in bfloat16."""
    return replace(encoder, model=copy.deepcopy(encoder.model).float().requires_grad_(True).eval())


def _parameters(model) -> dict[str, Any]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _module_names(model) -> set[str]:
    return {name.rpartition(".")[2] for name, _ in model.named_modules()}


def _quantised(generator: Generator) -> bool:
    return bool(getattr(generator.model, "is_quantized", False))


# Checkpoints. state.json names the file of its tensors: replacing it replaces both at once.


def _write_state(folder: Path, parts: dict[str, Any], optimizer, step: int, curves: Curves) -> None:
    from safetensors.torch import save_file

    tensors = {}
    for part, model in parts.items():
        for name, parameter in _parameters(model).items():
            tensors[f"{part}/{name}"] = parameter
            moments = {} if optimizer is None else optimizer.state.get(parameter, {})
            tensors |= {f"optimizer/{part}/{name}/{moment}": value for moment, value in moments.items()}
    target = folder / f"step-{step}.safetensors"
    with atomic_path(target) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    state = {"step": step, "tensors": target.name, "sha256": sha256_file(target), "curves": curves}
    write_text(folder / "state.json", json.dumps(state))
    for earlier in {*folder.glob("step-*.safetensors")} - {target}:
        earlier.unlink()


def _read_state(folder: Path) -> dict[str, Any] | None:
    """Step, curves and tensors of the checkpoint, or None where there is none that is whole."""
    from safetensors.torch import load_file

    path = folder / "state.json"
    if not path.is_file():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        tensors = folder / state["tensors"]
        if sha256_file(tensors) != state["sha256"]:
            raise ValueError(f"{tensors.name} is not what was written")
        return {**state, "tensors": load_file(tensors)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"The checkpoint in {folder} is damaged ({error}): training starts over.")
        path.unlink()
        return None


def _load(tensors: dict[str, Any], part: str, model, optimizer=None) -> None:
    """Put a checkpoint's tensors into the model's parameters and, if there is one, into the optimizer's state."""
    for name, parameter in _parameters(model).items():
        parameter.data.copy_(tensors[f"{part}/{name}"])
        prefix = f"optimizer/{part}/{name}/"
        moments = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if optimizer is not None and moments:
            # AdamW keeps its step count on the CPU.
            optimizer.state[parameter] = {
                moment: value if moment == "step" else value.to(parameter.device) for moment, value in moments.items()
            }


# What a result depends on


def _folder(method: str, generator: Generator, settings: Settings, seed: int, *content: str) -> Path:
    identity = f"{generation.identity(generator)} peft {version('peft')}"
    template = generation.build_prompt("question", Passage("title", "text"))
    key = sha256_text(method, SOURCES, identity, repr(settings), str(seed), template, *content)
    return paths.CACHE / "training" / key


def _require_answers(answers: list[str]) -> None:
    for number, answer in enumerate(answers):
        if not answer.strip():
            raise InputError(f"answer number {number} is empty: there is nothing to learn from it")


def _require_marginal(examples: list[Item], marginalisation: str, temperature: float) -> None:
    if not examples:
        raise InputError("nothing to train on: the list of examples is empty")
    if marginalisation not in MARGINALISATIONS:
        raise InputError(f"marginalisation {marginalisation!r} is unknown: use one of {', '.join(MARGINALISATIONS)}")
    if not temperature > 0:
        raise InputError(f"temperature = {temperature}: give a number above 0")
    _require_answers([example.answers[0] for example in examples])


def _require_settings(settings: Settings, generator: Generator | None, n_processes: int) -> None:
    import torch

    for name in ("n_steps", "batch_size", "lora_rank", "lora_layers", "batch_tokens", "checkpoint_every"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise InputError(f"{name} = {value}: give at least 1")
    if not 0 <= settings.warmup_steps < settings.n_steps:
        raise InputError(f"warmup_steps = {settings.warmup_steps}: give less than n_steps = {settings.n_steps}")
    if n_processes < 1 or settings.batch_size % n_processes:
        raise InputError(f"batch_size = {settings.batch_size} cannot be shared out equally to {n_processes} processes")
    if generator is None:
        return
    if generator.model.device.type == "cuda" and n_processes > torch.cuda.device_count():
        raise InputError(f"n_processes = {n_processes}: this machine has {torch.cuda.device_count()} GPUs")
    if settings.lora_rank is None:
        if _quantised(generator):
            raise InputError(f"{generator.name} is in 4 bits: its own weights cannot be trained, give a lora_rank")
        return
    if not _module_names(generator.model) & LORA_TARGETS:
        raise InputError(f"{generator.name} has none of the layers {', '.join(sorted(LORA_TARGETS))}: lora_rank=None")
    n_layers = generator.model.config.num_hidden_layers
    if settings.lora_layers is not None and settings.lora_layers > n_layers:
        raise InputError(f"lora_layers = {settings.lora_layers}: {generator.name} has {n_layers}")


def _require_index(encoder: Encoder | None, index: DenseIndex | None, corpus: dict[str, Passage], n_docs: int) -> None:
    if encoder is None or index is None:
        raise InputError("a learned retriever needs an encoder and an index: give both, or what was `retrieved`")
    width = retrieval.vector_width(encoder)
    if width != index.faiss_index.d:
        raise InputError(f"{encoder.name} makes vectors of {width} numbers, the index holds {index.faiss_index.d}")
    if not 1 <= n_docs <= len(index.passage_ids):
        raise InputError(f"n_docs = {n_docs}: the index has {len(index.passage_ids)} passages")
    unknown = {*index.passage_ids.tolist()} - corpus.keys()
    if unknown:
        raise InputError(
            f"passage {min(unknown)!r} of the index is not in the corpus: give the corpus that was indexed"
        )


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
    unknown = {*ids.ravel().tolist()} - corpus.keys()
    if unknown:
        raise InputError(f"retrieved passage {min(unknown)!r} is not in the corpus: give the corpus that was searched")
    return ids, scores


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


# Of `rag` what training uses: a change in decoding is no reason to train again. `generation` is in its identity.
_OF_RAG = (
    rag.document_logprior, rag.sequence_logprob, rag.token_logprob, rag.answer_token_logprobs, rag.lsr_logprob,
    rag.lsr_loss,
)  # fmt: skip
SOURCES = sha256_source(sys.modules[__name__], *_OF_RAG, retrieval.embed, retrieval.batches_by_length)
