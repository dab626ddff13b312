"""RAG's joint training of question encoder and generator (Lewis et al. 2020)."""

import functools
import math
from dataclasses import replace

import numpy as np

from nbutils import generation, models, rag
from nbutils.data import Example, Passage
from nbutils.errors import InputError
from nbutils.models import Encoder, Generator, batches_by_length
from nbutils.retrieval import DenseIndex
from nbutils.training.checkpoints import run_folder
from nbutils.training.checks import require_index, require_marginal, require_settings
from nbutils.training.launch import carry_out
from nbutils.training.loop import Run
from nbutils.training.settings import History, TrainingSettings


def train_rag(
    generator: Generator,
    encoder: Encoder | None,
    index: DenseIndex | None,
    corpus: dict[str, Passage],
    examples: list[Example],
    settings: TrainingSettings,
    n_docs: int,
    marginalisation: str = "sequence",
    temperature: float = 1.0,
    retrieved: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
    name: str | None = None,
    n_processes: int = 1,
) -> tuple[Generator, Encoder | None, History]:
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
    require_marginal(examples, marginalisation, temperature)
    require_settings(settings, generator, n_processes)
    if retrieved is None:
        require_index(encoder, index, corpus, n_docs)
        conventions = f"{encoder.model.dtype} {encoder.pooling} {encoder.normalize} {encoder.max_length}"
        searched = [encoder.sha256, conventions, index.sha256]
    else:
        retrieved = _require_retrieved(retrieved, corpus, len(examples), n_docs)
        searched = [*retrieved[0].ravel().tolist(), str(retrieved[1].tolist())]
    texts = [part for id, passage in corpus.items() for part in (id, passage.title, passage.text)]
    model = f"RAG-{marginalisation} {n_docs} {temperature!r} {retrieved is None}"
    folder = run_folder(model, generator, settings, seed, *searched, "\0", *map(repr, examples), "\0", *texts)
    search = functools.partial(search_with_gradients, index)
    gradients = functools.partial(
        rag_gradients, search, corpus, examples, retrieved, n_docs, marginalisation, temperature, settings.batch_tokens
    )
    learners = {"question": encoder} if retrieved is None else {}
    job = Run(folder, generator, learners, settings, seed, len(examples), gradients)
    tuned, learned, curves = carry_out(job, n_processes)
    tuned = replace(tuned, name=name or f"{generator.name} RAG-{marginalisation}")
    return tuned, learned.get("question", encoder), curves


def rag_gradients(
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
        log_prior = rag.doc_logprobs(leaf[members], temperature)  # (B, K)
        if marginalisation == "sequence":
            logprobs = rag.rag_sequence_logprob(log_prior, token_logprobs, mask)
        else:
            logprobs = rag.rag_token_logprobs(log_prior, token_logprobs, mask).sum(-1)
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


def search_with_gradients(index: DenseIndex, encoders: dict[str, Encoder], queries: list[str], n_docs: int):
    """Ids (B, K) of the passages with the largest inner products, and these (B, K) as a tensor with gradients."""
    import torch

    vectors = embed_texts(encoders["question"], queries)  # (B, D)
    positions, missing = nearest_passages(index, vectors, n_docs)
    passages = torch.from_numpy(index.faiss_index.reconstruct_batch(positions.ravel())).view(*positions.shape, -1)
    scores = (vectors[:, None] * passages.to(vectors.device)).sum(-1)
    return index.passage_ids[positions], scores.masked_fill(missing.to(scores.device), -math.inf)


def embed_texts(encoder: Encoder, texts: list[str]):
    token_ids = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_length)["input_ids"]
    return models.embed(encoder, token_ids).float()


def nearest_passages(index: DenseIndex, vectors, n_docs: int):
    """Positions (B, K) in the index, and which of them it did not find: an approximate one may find fewer."""
    import torch

    _, positions = index.faiss_index.search(vectors.detach().cpu().numpy(), n_docs)
    return positions.clip(min=0), torch.from_numpy(positions < 0)


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
