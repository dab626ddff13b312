"""The three trainings of the pilot, on the same questions: closed-book, with passages, and of the retriever."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nbutils import generation, rag, retrieval, training
from nbutils.data import Example, Passage
from nbutils.errors import InputError
from nbutils.models import Encoder, Generator
from nbutils.retrieval import DenseIndex
from nbutils.training import System, TrainingSettings


def train_closed_book(
    generator: Generator,
    items: Sequence[Example],
    settings: TrainingSettings,
    seed: int,
    dev: Sequence[Example] = (),
) -> System:
    """The generator fine-tuned on questions and answers alone; evaluated on those of `dev` as the settings say."""
    prompts, dev_prompts = ([generation.build_prompt(item.question) for item in of] for of in (items, dev))
    return training.fine_tune(
        generator, prompts, _first_answers(items), settings, seed, "fine-tuned",
        dev_prompts=dev_prompts, dev_answers=_first_answers(dev),
    )  # fmt: skip


def train_with_passages(
    generator: Generator,
    items: Sequence[Example],
    ids: Sequence[Sequence[str]],
    corpus: dict[str, Passage],
    settings: TrainingSettings,
    seed: int,
    dev: Sequence[Example] = (),
    dev_ids: Sequence[Sequence[str]] = (),
) -> System:
    """The generator fine-tuned on the same with a retrieved passage in front, one example a passage (RA-IT).

    Lin et al. 2023, section 2.3; `ids` (B, K) are the passages of each item, wrong ones among them. A pass over the
    questions shows each of them with one of its passages, so that as many steps see as many questions as closed-book.
    Evaluated, as the settings say, on the questions of `dev`, each with the first passage of its row of `dev_ids`.
    Raises InputError where these are not one row, of one passage or more, for each question of `dev`.
    """
    if len(dev_ids) != len(dev) or not all(len(row) for row in dev_ids):
        raise InputError(f"{len(dev)} dev questions, {len(dev_ids)} rows of passages: give each question its passages")
    dev_rows = generation.passage_prompts(dev, [row[:1] for row in dev_ids], corpus)
    rows, rng, n_passages = generation.passage_prompts(items, ids, corpus), np.random.default_rng(seed), len(ids[0])
    order = [(i, (i + turn) % n_passages) for turn in range(n_passages) for i in rng.permutation(len(items)).tolist()]
    prompts, answers = [rows[i][k] for i, k in order], [items[i].answers[0] for i, _ in order]
    in_order = replace(settings, shuffle=False)
    return training.fine_tune(
        generator, prompts, answers, in_order, seed, "fine-tuned + RAG",
        dev_prompts=[prompt for (prompt,) in dev_rows], dev_answers=_first_answers(dev),
    )  # fmt: skip


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
) -> System:
    """The question encoder tuned towards the passages under which the untuned generator finds the answers probable.

    R-ft of Lin et al. 2023, section 2.4, on the same questions as the other systems.
    """
    queries = [item.query for item in items]
    candidates = retrieval.search(retrieval.DenseRetriever(index, encoder), queries, n_candidates)[0]
    prompts = generation.passage_prompts(items, candidates, corpus)
    scores = rag.answer_logprobs_by_passage(generator, prompts, _first_answers(items))
    return training.train_lsr(
        encoder, index, corpus, queries, candidates, scores, settings, temperature, lsr_temperature, seed=seed
    )


def _first_answers(items: Sequence[Example]) -> list[str]:
    return [item.answers[0] for item in items]
