"""The three trainings of the pilot, on the same questions: closed-book, with passages, and of the retriever."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nbutils import generation, rag, retrieval, training
from nbutils.data import Example, Passage
from nbutils.models import Encoder, Generator
from nbutils.retrieval import DenseIndex
from nbutils.training import History, TrainingSettings


def train_closed_book(
    generator: Generator, items: Sequence[Example], settings: TrainingSettings, seed: int
) -> tuple[Generator, History]:
    """The generator fine-tuned on questions and answers alone."""
    prompts = [generation.build_prompt(item.question) for item in items]
    return training.fine_tune(generator, prompts, [item.answers[0] for item in items], settings, seed, "fine-tuned")


def train_with_passages(
    generator: Generator,
    items: Sequence[Example],
    ids: Sequence[Sequence[str]],
    corpus: dict[str, Passage],
    settings: TrainingSettings,
    seed: int,
) -> tuple[Generator, History]:
    """The generator fine-tuned on the same with a retrieved passage in front, one example a passage (RA-IT).

    Lin et al. 2023, section 2.3; `ids` (B, K) are the passages of each item, wrong ones among them. A pass over the
    questions shows each of them with one of its passages, so that as many steps see as many questions as closed-book.
    """
    rows, rng, n_passages = generation.passage_prompts(items, ids, corpus), np.random.default_rng(seed), len(ids[0])
    order = [(i, (i + turn) % n_passages) for turn in range(n_passages) for i in rng.permutation(len(items)).tolist()]
    prompts, answers = [rows[i][k] for i, k in order], [items[i].answers[0] for i, _ in order]
    in_order = replace(settings, shuffle=False)
    return training.fine_tune(generator, prompts, answers, in_order, seed, "fine-tuned + RAG")


def train_retriever(
    generator: Generator,
    encoder: Encoder,
    index: DenseIndex,
    corpus: dict[str, Passage],
    items: Sequence[Example],
    n_candidates: int,
    settings: TrainingSettings,
    temperature: float,
    lsr_temperature: float,
    seed: int,
) -> tuple[Encoder, History]:
    """The question encoder tuned towards the passages under which the untuned generator finds the answers probable.

    R-ft of Lin et al. 2023, section 2.4, on the same questions as the other systems.
    """
    queries = [item.query for item in items]
    candidates = retrieval.search(retrieval.DenseRetriever(index, encoder), queries, n_candidates)[0]
    prompts = generation.passage_prompts(items, candidates, corpus)
    scores = rag.answer_logprobs_by_passage(generator, prompts, [item.answers[0] for item in items])
    tuned, _, curves = training.train_lsr(
        encoder, index, corpus, queries, candidates, scores, settings, temperature, lsr_temperature, seed=seed
    )
    return tuned, curves
