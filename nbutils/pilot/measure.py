"""What is measured of the systems: where their answers stand, seconds, tokens and FLOPs, and what training changed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nbutils import cache, generation, metrics
from nbutils.data import Example, Passage
from nbutils.errors import InputError
from nbutils.models import Encoder, Generator
from nbutils.pilot import flops
from nbutils.pilot.flops import TransformerShape
from nbutils.pilot.systems import Answers, SharedModels, answer, count_answer_tokens, count_prompt_tokens, count_tokens
from nbutils.text import contains_answer, latin_language
from nbutils.training import TrainingSettings

# Answers, one value a question


def has_answer(texts: Sequence[str], ids: Sequence[Sequence[str]], corpus: Mapping[str, Passage]) -> np.ndarray:
    """1 where an answer stands, word for word, in one of its passages (title or text), else 0: (B,).

    An empty answer and one without passages are in none. Words are compared as by `text.contains_answer`, in the
    language of the passages; in English that is DPR's way.
    """
    language = latin_language(passage.text for passage in corpus.values())
    values = np.zeros(len(texts))
    for i, (text, row) in enumerate(zip(texts, ids, strict=True)):
        passages = (f"{corpus[id_].title}. {corpus[id_].text}" for id_ in row if id_)
        values[i] = any(contains_answer(passage, text, language) for passage in passages)
    return values


def stand_in_passages(items: Sequence[Example], corpus: Mapping[str, Passage]) -> bool:
    """False where accepted answers are labels, which no passage supports by its words: "yes", or "B" of a list.

    They are labels if at least half are such a word or a single letter, or if fewer than half of those with gold
    passages have an accepted answer in one of them.
    """
    answers = [item.answers for item in items]
    if 2 * sum(metrics.is_label(accepted[0]) for accepted in answers) >= len(items):
        return False
    with_gold = [item for item in items if item.gold_passages]
    found = np.zeros(len(with_gold))
    for place in range(max((len(item.answers) for item in with_gold), default=0)):
        texts = [item.answers[place] if place < len(item.answers) else "" for item in with_gold]
        found = np.maximum(found, has_answer(texts, [item.gold_passages for item in with_gold], corpus))
    return not with_gold or 2 * found.sum() >= len(with_gold)


def tokens_per_query(answers: Answers) -> np.ndarray:
    """Tokens that are read and written for each question: (B,)."""
    pairs = zip(answers.prompt_tokens, answers.new_tokens, strict=True)
    return np.array([sum(prompts) + len(prompts) * new for prompts, new in pairs], dtype=float)


def flops_per_query(
    answers: Answers,
    generator: TransformerShape,
    encoder: TransformerShape | None,
    question_tokens: int,
    n_passages: int,
    embedding_dim: int,
) -> np.ndarray:
    """FLOPs of each question: (B,).

    With an encoder, of the search over `n_passages` vectors of `embedding_dim` numbers too.
    """
    search = 0
    if encoder is not None:
        search = flops.forward_flops(encoder, question_tokens) + flops.search_flops(n_passages, embedding_dim)
    rows = zip(answers.prompt_tokens, answers.new_tokens, answers.n_candidates, strict=True)
    return np.array(
        [search + flops.query_flops(generator, prompts, new, candidates) for prompts, new, candidates in rows],
        dtype=float,
    )


# Time


def seconds_per_query(shared: SharedModels, items: Sequence[Example], system: str) -> float:
    """Median seconds from a question to its answer, asked one at a time; the first one warms up and does not count."""
    times = []
    for item in items:
        start = time.perf_counter()
        with cache.off():
            answer(shared, [item], [system])
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:] or times))


def forward_seconds(
    generator: Any, n_tokens: int, n_prompts: int, n_layers: int | None = None, n_runs: int = 3
) -> float:
    """Seconds that the generator's first `n_layers` layers (None: all) take to read prompts; the shortest of the runs.

    The prompts are `n_prompts` x `n_tokens` ordinary tokens; the output layer is asked once a prompt.
    """
    import torch

    model = generator.model
    decoder, layers = model.get_decoder(), model.get_decoder().layers
    tokens = torch.arange(n_prompts * n_tokens, device=model.device).reshape(n_prompts, -1) % 97 + 5
    times = []
    try:
        decoder.layers = layers[:n_layers]
        with torch.inference_mode():
            for _ in range(n_runs + 1):  # the first one warms up
                start = time.perf_counter()
                hidden = decoder(input_ids=tokens, use_cache=False).last_hidden_state[:, -1]
                model.get_output_embeddings()(hidden).sum().item()  # waits for a GPU
                times.append(time.perf_counter() - start)
    finally:
        decoder.layers = layers
    return min(times[1:])


def fit_seconds(n_flops: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """(seconds a call, seconds a FLOP) of the line through measured times, by least squares of relative errors.

    Neither is below 0: where the best line would have a negative start, it is the one through 0.
    Raises InputError for fewer than 2 points and for numbers that are not positive.
    """
    x, y = np.asarray(n_flops, dtype=float), np.asarray(seconds, dtype=float)
    if x.shape != y.shape or x.size < 2 or not (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).all():
        raise InputError("the time model needs at least two measured points, FLOPs and seconds above 0")
    start, slope = np.linalg.lstsq(np.stack([1 / y, x / y], axis=1), np.ones(x.size), rcond=None)[0]
    if start < 0 or slope < 0:
        start, slope = 0.0, float((x / y).sum() / ((x / y) ** 2).sum())
    return float(start), float(slope)


# Trainings


def fine_tuning_flops(
    generator: Generator, prompts: Sequence[str], answers: Sequence[str], settings: TrainingSettings
) -> float:
    """FLOPs of a whole fine-tuning: those of the mean example, times the examples that its steps see."""
    prompt_ids, answer_ids = generation.tokenize_pairs(generator, list(prompts), list(answers))
    lengths = [len(p) + len(a) - 1 for p, a in zip(prompt_ids, answer_ids, strict=True)]
    shape = flops.shape_of(generator.model.config)
    rank, layers = settings.lora_rank, settings.lora_layers
    once = flops.training_flops(shape, lengths, [len(ids) for ids in answer_ids], rank, layers)
    return once / len(lengths) * settings.n_steps * settings.batch_size


def training_flops_by_system(
    generator: Generator,
    encoder: Encoder,
    items: Sequence[Example],
    ids: Sequence[Sequence[str]],
    corpus: dict[str, Passage],
    settings: TrainingSettings,
    n_candidates: int,
    retriever_settings: TrainingSettings,
) -> dict[str, float]:
    """{system: FLOPs of its training}; those of the tuned retriever count the generator's scores of its candidates.

    `ids` are the passages with which the generator is trained. The question encoder counts three times its reading.
    """
    answers = [item.answers[0] for item in items]
    closed_book = [generation.build_prompt(item.question) for item in items]
    rows = generation.passage_prompts(items, ids, corpus)
    with_passages = [prompt for row in rows for prompt in row]
    repeated = [text for text, row in zip(answers, rows, strict=True) for _ in row]
    shape = flops.shape_of(generator.model.config)
    lengths = count_prompt_tokens(generator, [row[0] for row in rows])
    answer_lengths = count_answer_tokens(generator, answers)
    scoring = [flops.forward_flops(shape, n + m, n_logits=m + 1) for n, m in zip(lengths, answer_lengths, strict=True)]
    per_query = encoding_flops(encoder, [item.query for item in items]) / len(items)
    encoder_training = 3 * per_query * retriever_settings.batch_size * retriever_settings.n_steps
    return {
        "fine-tuned": fine_tuning_flops(generator, closed_book, answers, settings),
        "fine-tuned + RAG": fine_tuning_flops(generator, with_passages, repeated, settings),
        "RAG, tuned retriever": float(n_candidates * sum(scoring) + encoder_training),
    }


def encoding_flops(encoder: Encoder, texts: Sequence[str]) -> float:
    """FLOPs of encoding these texts, each cut at the encoder's length limit."""
    shape = flops.shape_of(encoder.model.config)
    lengths = [min(n, encoder.max_length) for n in count_tokens(encoder.tokenizer, texts)]
    return float(sum(flops.forward_flops(shape, n) for n in lengths))


# What training changed


def paraphrase_triples(questions: Sequence[Example], n: int, seed: int) -> list[tuple[Example, Example, Example]]:
    """`n` facts, drawn by `seed`, each asked three times: as it will be trained on, in other words, and reversed.

    A fact is what one passage says of one field. Raises InputError when no fact is asked in all three ways.
    """
    facts: dict[tuple[str, str], dict[str, list[Example]]] = {}
    for question in questions:
        if question.gold_passages and question.task in ("fact", "reverse"):
            fact = facts.setdefault((question.gold_passages[0], question.field), {"fact": [], "reverse": []})
            fact[question.task].append(question)
    triples = [
        (f["fact"][0], f["fact"][1], f["reverse"][0]) for f in facts.values() if len(f["fact"]) > 1 and f["reverse"]
    ]
    if not triples:
        raise InputError("no fact is asked in two wordings and reversed: there is nothing to compare")
    return [triples[i] for i in np.random.default_rng(seed).permutation(len(triples))[:n]]


def continuation_nll(generator: Generator, texts: Sequence[str], n_words: int) -> np.ndarray:
    """Mean -log p a token, in nats, of the words after the first `n_words` of each text: (B,); never as a chat."""
    split = [text.split() for text in texts]
    if any(len(words) <= n_words for words in split):
        raise InputError(f"a text has no more than {n_words} words: nothing is left to be foreseen")
    plain = replace(generator, chat=False)
    beginnings = [" ".join(words[:n_words]) for words in split]
    continuations = [" ".join(words[n_words:]) for words in split]
    return np.array([-row.mean() for row in generation.answer_logprobs(plain, beginnings, continuations)])
