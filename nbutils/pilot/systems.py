"""The five systems over one language model, and what they answer to the same questions.

Each system is a generator and, but for two of them, a retriever. Answering is that of the other notebooks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbutils import generation, rag, retrieval
from nbutils.data import Example, Passage
from nbutils.errors import InputError
from nbutils.models import Encoder, Generator
from nbutils.retrieval import DenseIndex

# system -> (generator, question encoder); the untuned generator is shown solved examples
SYSTEMS: dict[str, tuple[str, str | None]] = {
    "prompting": ("untuned", None),
    "fine-tuned": ("closed-book", None),
    "RAG": ("untuned", "frozen"),
    "RAG, tuned retriever": ("untuned", "tuned"),
    "fine-tuned + RAG": ("reading", "frozen"),
}
RAG_SYSTEMS = tuple(system for system, (_, encoder) in SYSTEMS.items() if encoder)
TRAINED_SYSTEMS = tuple(system for system in SYSTEMS if system not in ("prompting", "RAG"))
CLOSED_BOOK_SYSTEMS = ("prompting", "fine-tuned")  # what they know does not change with an index


@dataclass(frozen=True)
class SharedModels:
    """What the five systems are made of."""

    generators: dict[str, Generator]  # untuned, closed-book, reading
    question_encoders: dict[str, Encoder]  # frozen, tuned
    index: DenseIndex
    corpus: dict[str, Passage]
    examples: tuple[Example, ...]  # solved ones, shown to the untuned generator
    n_docs: int  # passages a question
    temperature: float  # of p(z|x)
    max_new_tokens: int


def with_index(shared: SharedModels, index: DenseIndex, corpus: dict[str, Passage]) -> SharedModels:
    """The same systems over another index and corpus: an update without training."""
    return replace(shared, index=index, corpus=corpus)


def with_generators(shared: SharedModels, **generators: Any) -> SharedModels:
    """The same systems with other generators."""
    return replace(shared, generators={**shared.generators, **generators})


@dataclass(frozen=True)
class Answers:
    """What one system says to B questions, and what it read to say it."""

    texts: list[str]
    logprobs: np.ndarray  # (B,) log p(answer | question) in nats, the ending included
    sources: list[list[str]]  # ids of the passages read, best first; none for a closed-book system
    prompt_tokens: list[list[int]]  # length of each prompt that was read
    new_tokens: list[int]  # of the answer, its ending included
    n_candidates: list[int]  # answers weighed against each other; 0 where there is one prompt


def answer(
    shared: SharedModels, items: Sequence[Example], systems: Sequence[str] = tuple(SYSTEMS)
) -> dict[str, Answers]:
    """{system: its answers}. A generator reads each passage once, for all systems that need it.

    A system without passages has one prompt; one with K weighs the answers that its passages propose,
    sum_z p(z|x) p(y|x,z) (RAG-Sequence, thorough decoding). Raises InputError for a system that is none.
    """
    if unknown := [system for system in systems if system not in SYSTEMS]:
        raise InputError(f"no system {unknown[0]!r}: use some of {', '.join(SYSTEMS)}")
    encoders = dict.fromkeys(SYSTEMS[system][1] for system in systems if SYSTEMS[system][1])
    queries = [item.query for item in items]
    found = {
        name: retrieval.search(
            retrieval.DenseRetriever(shared.index, shared.question_encoders[name]), queries, shared.n_docs
        )
        for name in encoders
    }
    answers = {}
    for generator in dict.fromkeys(SYSTEMS[system][0] for system in systems):
        encoder_of = {system: SYSTEMS[system][1] for system in systems if SYSTEMS[system][0] == generator}
        for system in [system for system, encoder in encoder_of.items() if encoder is None]:
            answers[system] = _answer_closed_book(shared, generator, items)
        if with_passages := {system: found[encoder] for system, encoder in encoder_of.items() if encoder}:
            answers |= answer_with_passages(shared, generator, items, with_passages)
    return {system: answers[system] for system in systems}


def _answer_closed_book(shared: SharedModels, generator: str, items: Sequence[Example]) -> Answers:
    prompts = [[generation.build_prompt(item.question, examples=_examples_for(shared, generator))] for item in items]
    candidates = rag.sequence_candidates(shared.generators[generator], prompts, shared.max_new_tokens)
    logpriors, sources = [np.zeros(1)] * len(items), [[]] * len(items)
    return _best_answers(shared.generators[generator], prompts, candidates, logpriors, sources)


def answer_with_passages(
    shared: SharedModels,
    generator: str,
    items: Sequence[Example],
    found: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, Answers]:
    """For each way of `found` to passages, {name: (ids (B, K), scores (B, K))}, what the generator answers from them.

    The scores are inner products, of which the temperature makes p(z|x); equal ones give equal weights. A passage that
    several ways found is read once. Where a search found nothing ("") the prompt has no passage, and the answer no
    source.
    """
    import torch

    rows = {name: ids.tolist() for name, (ids, _) in found.items()}
    pools = [
        list(dict.fromkeys(id_ for row in per_item for id_ in row)) for per_item in zip(*rows.values(), strict=True)
    ]
    examples = _examples_for(shared, generator)
    prompts = [
        [generation.build_prompt(item.question, shared.corpus[id_] if id_ else None, examples) for id_ in pool]
        for item, pool in zip(items, pools, strict=True)
    ]
    candidates = rag.sequence_candidates(shared.generators[generator], prompts, shared.max_new_tokens)
    answers = {}
    for name, (_, scores) in found.items():
        of_found = rag.doc_logprobs(torch.tensor(np.asarray(scores)), shared.temperature).numpy()
        logpriors = [
            rag.scatter_prior(pool, row, logprior)
            for pool, row, logprior in zip(pools, rows[name], of_found, strict=True)
        ]
        sources = retrieval.found(found[name][0])
        answers[name] = _best_answers(shared.generators[generator], prompts, candidates, logpriors, sources)
    return answers


def _best_answers(generator: Generator, prompts, candidates, logpriors, sources: list[list[str]]) -> Answers:
    """The most probable answers and what they took, of the prompts that the prior does not leave out."""
    texts, logprobs, n_candidates = [], [], []
    for found, logprior in zip(candidates, logpriors, strict=True):
        scores = rag.marginal_logprobs(found, logprior)
        texts.append(found.texts[int(scores.argmax())])
        logprobs.append(scores.max())
        is_read = np.isfinite(logprior)
        n_candidates.append(int(found.in_beam[:, is_read].any(1).sum()) if is_read.sum() > 1 else 0)
    read = [
        [prompt for prompt, log in zip(row, logprior, strict=True) if np.isfinite(log)]
        for row, logprior in zip(prompts, logpriors, strict=True)
    ]
    lengths = iter(count_prompt_tokens(generator, [prompt for row in read for prompt in row]))
    prompt_tokens = [[next(lengths) for _ in row] for row in read]
    new_tokens = [n + 1 for n in count_answer_tokens(generator, texts)]
    return Answers(texts, np.array(logprobs), sources, prompt_tokens, new_tokens, n_candidates)


def _examples_for(shared: SharedModels, generator: str) -> tuple[Example, ...]:
    return shared.examples if generator == "untuned" else ()


def count_tokens(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, those that mark its beginning or end among them."""
    return [len(ids) for ids in tokenizer(list(texts))["input_ids"]]


def count_prompt_tokens(generator: Generator, prompts: Sequence[str]) -> list[int]:
    """Tokens of each prompt as the generator reads it."""
    return [len(ids) for ids in generation.prompt_tokens(generator, list(prompts))]


def count_answer_tokens(generator: Generator, answers: Sequence[str]) -> list[int]:
    """Tokens of each answer as it follows a prompt, its ending left out."""
    return [len(ids) for ids in generation.answer_tokens(generator, list(answers), ended=False)]
