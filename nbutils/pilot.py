"""The pilot: five systems over one language model, trained on the same questions and asked the same questions.

Each system is a reader and, but for two of them, a retriever. Training and answering are those of the other notebooks.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbutils import costs, decision, generation, metrics, rag, retrieval, training
from nbutils.data import Example, Passage, Question
from nbutils.errors import InputError
from nbutils.models import Encoder, Generator
from nbutils.retrieval import DenseIndex
from nbutils.training import History, TrainingSettings

# system -> (reader, retriever); the untuned reader is shown solved examples
SYSTEMS: dict[str, tuple[str, str | None]] = {
    "prompting": ("untuned", None),
    "fine-tuned": ("closed-book", None),
    "RAG": ("untuned", "frozen"),
    "RAG, tuned retriever": ("untuned", "tuned"),
    "fine-tuned + RAG": ("reading", "frozen"),
}
RETRIEVING = tuple(system for system, (_, retriever) in SYSTEMS.items() if retriever)
TRAINED = tuple(system for system in SYSTEMS if system not in ("prompting", "RAG"))
IN_WEIGHTS = ("prompting", "fine-tuned")  # what they know does not change with an index


@dataclass(frozen=True)
class Parts:
    """What the five systems are made of."""

    readers: dict[str, Generator]  # untuned, closed-book, reading
    encoders: dict[str, Encoder]  # of questions: frozen, tuned
    index: DenseIndex
    corpus: dict[str, Passage]
    examples: tuple[Question, ...]  # solved ones, shown to the untuned reader
    n_docs: int  # passages a question
    temperature: float  # of p(z|x)
    max_new_tokens: int


@dataclass(frozen=True)
class Answers:
    """What one system says to B questions, and what it read to say it."""

    texts: list[str]
    logprobs: np.ndarray  # (B,) log p(answer | question) in nats, the ending included
    sources: list[list[str]]  # ids of the passages read, best first; none for a closed-book system
    prompt_tokens: list[list[int]]  # length of each prompt that was read
    new_tokens: list[int]  # of the answer, its ending included
    n_candidates: list[int]  # answers weighed against each other; 0 where there is one prompt


def train_closed_book(
    generator: Generator, items: Sequence[Example], settings: TrainingSettings, seed: int
) -> tuple[Generator, History]:
    """The generator fine-tuned on questions and answers alone."""
    prompts = [generation.build_prompt(item.question) for item in items]
    return training.fine_tune(generator, prompts, [item.answers[0] for item in items], settings, seed, "fine-tuned")


def train_reading(
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
    rows, rng, width = generation.passage_prompts(items, ids, corpus), np.random.default_rng(seed), len(ids[0])
    order = [(i, (i + turn) % width) for turn in range(width) for i in rng.permutation(len(items)).tolist()]
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
    candidates = retrieval.search_dense(index, encoder, queries, n_candidates)[0]
    prompts = generation.passage_prompts(items, candidates, corpus)
    scores = rag.answer_logprobs_by_passage(generator, prompts, [item.answers[0] for item in items])
    tuned, _, curves = training.train_lsr(
        encoder, index, corpus, queries, candidates, scores, settings, temperature, lsr_temperature, seed=seed
    )
    return tuned, curves


def answer(
    parts: Parts, items: Sequence[Example], systems: Sequence[str] = tuple(SYSTEMS), use_cache: bool = True
) -> dict[str, Answers]:
    """{system: its answers}. A reader reads each passage once, for all systems that need it.

    A system without passages has one prompt; one with K weighs the answers that its passages propose,
    sum_z p(z|x) p(y|x,z) (RAG-Sequence, thorough decoding). Raises InputError for a system that is none.
    """
    if unknown := [system for system in systems if system not in SYSTEMS]:
        raise InputError(f"no system {unknown[0]!r}: use some of {', '.join(SYSTEMS)}")
    retrievers = dict.fromkeys(SYSTEMS[system][1] for system in systems if SYSTEMS[system][1])
    queries = [item.query for item in items]
    found = {
        name: retrieval.search_dense(parts.index, parts.encoders[name], queries, parts.n_docs, use_cache)
        for name in retrievers
    }
    answers = {}
    for reader in dict.fromkeys(SYSTEMS[system][0] for system in systems):
        mine = {system: SYSTEMS[system][1] for system in systems if SYSTEMS[system][0] == reader}
        for closed in [system for system, retriever in mine.items() if retriever is None]:
            answers[closed] = _closed_book(parts, reader, items, use_cache)
        if reading := {system: found[retriever] for system, retriever in mine.items() if retriever}:
            answers |= read(parts, reader, items, reading, use_cache)
    return {system: answers[system] for system in systems}


def _closed_book(parts: Parts, reader: str, items: Sequence[Example], use_cache: bool) -> Answers:
    prompts = [[generation.build_prompt(item.question, examples=_shown(parts, reader))] for item in items]
    found = rag.sequence_candidates(parts.readers[reader], prompts, parts.max_new_tokens, use_cache=use_cache)
    return _answers(parts.readers[reader], prompts, found, [np.zeros(1)] * len(items), [[]] * len(items))


def read(
    parts: Parts,
    reader: str,
    items: Sequence[Example],
    found: Mapping[str, tuple[np.ndarray, np.ndarray]],
    use_cache: bool = True,
) -> dict[str, Answers]:
    """For each way of `found` to passages, {name: (ids (B, K), scores (B, K))}, what the reader answers from them.

    The scores are inner products, of which the temperature makes p(z|x); equal ones give equal weights. A passage that
    several ways found is read once.
    """
    import torch

    rows = {system: ids.tolist() for system, (ids, _) in found.items()}
    pools = [
        list(dict.fromkeys(id_ for row in per_item for id_ in row)) for per_item in zip(*rows.values(), strict=True)
    ]
    shots = _shown(parts, reader)
    prompts = [
        [generation.build_prompt(item.question, parts.corpus[id_], shots) for id_ in pool]
        for item, pool in zip(items, pools, strict=True)
    ]
    candidates = rag.sequence_candidates(parts.readers[reader], prompts, parts.max_new_tokens, use_cache=use_cache)
    answers = {}
    for system, (_, scores) in found.items():
        logpriors = rag.doc_logprobs(torch.tensor(np.asarray(scores)), parts.temperature).numpy()
        priors = [
            rag.scatter_prior(pool, row, prior) for pool, row, prior in zip(pools, rows[system], logpriors, strict=True)
        ]
        answers[system] = _answers(parts.readers[reader], prompts, candidates, priors, rows[system])
    return answers


def _answers(generator: Generator, prompts, candidates, priors, sources: list[list[str]]) -> Answers:
    """Texts and costs, of the prompts that the prior does not leave out."""
    texts, logprobs, n_candidates = [], [], []
    for found, prior in zip(candidates, priors, strict=True):
        scores = rag.marginal_logprobs(found, prior)
        texts.append(found.texts[int(scores.argmax())])
        logprobs.append(scores.max())
        read = np.isfinite(prior)
        n_candidates.append(int(found.in_beam[:, read].any(1).sum()) if read.sum() > 1 else 0)
    kept = [
        [p for p, log in zip(row, prior, strict=True) if np.isfinite(log)]
        for row, prior in zip(prompts, priors, strict=True)
    ]
    lengths = iter(map(len, generator.tokenizer([prompt for row in kept for prompt in row])["input_ids"]))
    tokens = [[next(lengths) for _ in row] for row in kept]
    new = [
        len(ids) + 1
        for ids in generator.tokenizer([f" {text}" for text in texts], add_special_tokens=False)["input_ids"]
    ]
    return Answers(texts, np.array(logprobs), sources, tokens, new, n_candidates)


def _shown(parts: Parts, reader: str) -> tuple[Question, ...]:
    return parts.examples if reader == "untuned" else ()


# What is measured of the answers, one value a question


def contained(texts: Sequence[str], ids: Sequence[Sequence[str]], corpus: Mapping[str, Passage]) -> np.ndarray:
    """1 where an answer stands, word for word, in one of its passages (title or text), else 0: (B,).

    An empty answer and one without passages are in none. Words are compared as DPR compares them.
    """
    visible = [any(letter.isprintable() and not letter.isspace() for letter in text) for text in texts]
    places = [i for i, (seen, row) in enumerate(zip(visible, ids, strict=True)) if seen and len(row)]
    values = np.zeros(len(texts))
    for i in places:
        passages = {id_: f"{corpus[id_].title}. {corpus[id_].text}" for id_ in ids[i]}
        values[i] = metrics.topk_accuracy([list(ids[i])], passages, [[texts[i]]], [len(ids[i])])[0, 0]
    return values


def seconds_a_query(parts: Parts, items: Sequence[Example], system: str) -> float:
    """Median seconds from a question to its answer, asked one at a time; the first one warms up and does not count."""
    times = []
    for item in items:
        start = time.perf_counter()
        answer(parts, [item], [system], use_cache=False)
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:] or times))


def tokens_a_query(answers: Answers) -> np.ndarray:
    """Tokens that are read and written for each question: (B,)."""
    pairs = zip(answers.prompt_tokens, answers.new_tokens, strict=True)
    return np.array([sum(prompts) + len(prompts) * new for prompts, new in pairs], dtype=float)


def flops_a_query(
    answers: Answers,
    generator: costs.Shape,
    encoder: costs.Shape | None,
    question_tokens: int,
    n_passages: int,
    width: int,
) -> np.ndarray:
    """FLOPs of each question; with an encoder, of the search over `n_passages` vectors of `width` numbers too: (B,)."""
    search = 0
    if encoder is not None:
        search = costs.reading_flops(encoder, question_tokens) + costs.search_flops(n_passages, width)
    rows = zip(answers.prompt_tokens, answers.new_tokens, answers.n_candidates, strict=True)
    return np.array(
        [search + costs.query_flops(generator, prompts, new, candidates) for prompts, new, candidates in rows],
        dtype=float,
    )


def fine_tuning_flops(
    generator: Generator, prompts: Sequence[str], answers: Sequence[str], settings: TrainingSettings
) -> float:
    """FLOPs of a whole fine-tuning: those of the mean example, times the examples that its steps see."""
    prompt_ids, answer_ids = generation.tokenize_pairs(generator, list(prompts), list(answers))
    lengths = [len(p) + len(a) - 1 for p, a in zip(prompt_ids, answer_ids, strict=True)]
    shape = costs.shape_of(generator.model.config)
    rank, layers = settings.lora_rank, settings.lora_layers
    once = costs.training_flops(shape, lengths, [len(ids) for ids in answer_ids], rank, layers)
    return once / len(lengths) * settings.n_steps * settings.batch_size


def trainings(
    generator: Generator,
    encoder: Encoder,
    items: Sequence[Example],
    ids: Sequence[Sequence[str]],
    corpus: dict[str, Passage],
    settings: TrainingSettings,
    n_candidates: int,
    retriever_settings: TrainingSettings,
) -> dict[str, float]:
    """{system: FLOPs of its training}; those of the tuned retriever count the reader's scores of its candidates.

    `ids` are the passages with which the reader is trained. The question encoder counts three times its reading.
    """
    answers = [item.answers[0] for item in items]
    plain = [generation.build_prompt(item.question) for item in items]
    rows = generation.passage_prompts(items, ids, corpus)
    reading = [prompt for row in rows for prompt in row], [y for y, row in zip(answers, rows, strict=True) for _ in row]
    shape = costs.shape_of(generator.model.config)
    lengths = [len(row) for row in generator.tokenizer([row[0] for row in rows])["input_ids"]]
    own = [len(row) for row in generator.tokenizer([f" {y}" for y in answers], add_special_tokens=False)["input_ids"]]
    scored = [costs.reading_flops(shape, n + m, n_logits=m + 1) for n, m in zip(lengths, own, strict=True)]
    a_query = encoding_flops(encoder, [item.query for item in items]) / len(items)
    learning = 3 * a_query * retriever_settings.batch_size * retriever_settings.n_steps
    return {
        "fine-tuned": fine_tuning_flops(generator, plain, answers, settings),
        "fine-tuned + RAG": fine_tuning_flops(generator, *reading, settings),
        "RAG, tuned retriever": float(n_candidates * sum(scored) + learning),
    }


def encoding_flops(encoder: Encoder, texts: Sequence[str]) -> float:
    """FLOPs of encoding these texts, each cut at the encoder's length limit."""
    shape = costs.shape_of(encoder.model.config)
    lengths = [min(len(ids), encoder.max_length) for ids in encoder.tokenizer(list(texts))["input_ids"]]
    return float(sum(costs.reading_flops(shape, n) for n in lengths))


def bills(
    queries: Mapping[str, float],
    trainings: Mapping[str, float],
    index_update: float,
    index_bytes: float,
    n_examples: int,
    prices: costs.Prices,
) -> dict[str, costs.Bill]:
    """{system: its bill}, from FLOPs of a query and of a training (absent: none), and of an update of the index.

    A system that retrieves keeps an index, and its knowledge is brought up to date there; the others know what is in
    their weights: those that are trained are trained anew, prompting stays as it is.
    """
    return {
        system: costs.bill(
            flops,
            index_update if system in RETRIEVING else 0,
            index_bytes if system in RETRIEVING else 0,
            trainings.get(system, 0),
            n_examples,
            system in IN_WEIGHTS,
            prices,
        )
        for system, flops in queries.items()
    }


@dataclass(frozen=True)
class Evidence:
    """What a pilot has measured, as the decision needs it."""

    right: dict[int, dict[str, Sequence[float]]]  # training examples -> system -> score of each question
    queries: dict[str, float]  # system -> FLOPs of a mean query
    trainings: dict[str, float]  # system -> FLOPs of its training; absent: none
    index_update: float  # FLOPs of an update of the index
    index_bytes: float
    style: dict[str, Sequence[float]]  # system -> 1 where an answer kept the house style; {}: not measured
    fresh: dict[str, Sequence[float]]  # system -> score of changed facts after its own update; {}: not measured


def advise(
    evidence: Evidence, needs: decision.Needs, prices: costs.Prices, n_examples: int, style: bool = False
) -> decision.Advice:
    """What `decision.recommend` says to one who has `n_examples`: the largest measured number not above it counts.

    Systems that cannot be had with so few are left out there. Where facts change, what a system says of changed facts
    after its own update is a demand; and the house style, if it is asked for.
    """
    level = max((n for n in evidence.right if n <= n_examples), default=min(evidence.right))
    demands = {}
    if style:
        demands["house style"] = evidence.style
    if needs.updates_per_month and evidence.fresh:
        demands["changed facts"] = evidence.fresh
    account = bills(evidence.queries, evidence.trainings, evidence.index_update, evidence.index_bytes, level, prices)
    advice = decision.recommend(evidence.right[level], account, needs, RETRIEVING, demands)
    most = max(evidence.right)
    if demands and level < most:
        advice.reasons.append(f"{' and '.join(demands)}: as measured with {most} training examples, not with {level}")
    return advice


def wordings(questions: Sequence[Question], n: int, seed: int) -> list[tuple[Question, Question, Question]]:
    """`n` facts, drawn by `seed`, each asked three times: as it will be trained on, in other words, and reversed.

    A fact is what one passage says of one field. Raises InputError when no fact is asked in all three ways.
    """
    asked: dict[tuple[str, str], dict[str, list[Question]]] = {}
    for question in questions:
        if question.gold_passages and question.kind in ("fact", "reverse"):
            fact = asked.setdefault((question.gold_passages[0], question.field), {"fact": [], "reverse": []})
            fact[question.kind].append(question)
    found = [
        (f["fact"][0], f["fact"][1], f["reverse"][0]) for f in asked.values() if len(f["fact"]) > 1 and f["reverse"]
    ]
    if not found:
        raise InputError("no fact is asked in two wordings and reversed: there is nothing to compare")
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))[:n]]


def perplexity_losses(generator: Generator, texts: Sequence[str], n_words: int) -> np.ndarray:
    """Mean -log p a token, in nats, of the words after the first `n_words` of each text: (B,)."""
    split = [text.split() for text in texts]
    if any(len(words) <= n_words for words in split):
        raise InputError(f"a text has no more than {n_words} words: nothing is left to be foreseen")
    starts, rests = [" ".join(words[:n_words]) for words in split], [" ".join(words[n_words:]) for words in split]
    return np.array([-row.mean() for row in generation.answer_logprobs(generator, starts, rests)])


def with_index(parts: Parts, index: DenseIndex, corpus: dict[str, Passage]) -> Parts:
    """The same systems over another index and corpus: an update without training."""
    return replace(parts, index=index, corpus=corpus)


def with_readers(parts: Parts, **readers: Any) -> Parts:
    """The same systems with other readers."""
    return replace(parts, readers={**parts.readers, **readers})
