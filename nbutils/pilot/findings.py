"""A pilot on one data set: the five systems trained, asked and measured."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nbutils import cache, data, generation, metrics, models, retrieval, text
from nbutils.data import Dataset, Example, Passage
from nbutils.models import Encoder
from nbutils.pilot import flops, measure, trainings
from nbutils.pilot.costs import Cost, Prices, costs_by_system
from nbutils.pilot.recommendation import Recommendation, Requirements, recommend
from nbutils.pilot.split import split_questions
from nbutils.pilot.systems import RAG_SYSTEMS, SYSTEMS, Answers, SharedModels, answer, count_answer_tokens, count_tokens
from nbutils.presets.rag_or_finetune import RagOrFinetune
from nbutils.training import TrainingSettings

MAX_PASSAGE_WORDS = 150  # that are read; of these, the encoder searches as many as its limit lets it
SHORT_ANSWER_WORDS = 5  # longer ones are scored by token F1


@dataclass(frozen=True)
class Findings:
    """What was measured on one data set."""

    name: str
    generator: str
    n_passages: int
    n_train: int
    metric: str  # how answers are scored
    test_questions: list[Example]
    answers: dict[str, Answers]
    scores: dict[str, dict[str, np.ndarray]]  # what -> system -> (n,)
    query_flops: dict[str, dict[str, float]]  # model -> system -> FLOPs of a mean query
    training_flops: dict[str, float]  # system -> FLOPs
    index_update_flops: float  # of encoding every passage
    index_bytes: float
    seconds: dict[str, float]  # system -> a question, asked alone, here
    notes: list[str] = field(default_factory=list)


def run_pilot(dataset: Dataset, preset: RagOrFinetune, seed: int = 0, log: Callable[[str], None] = print) -> Findings:
    """The five systems, trained and asked; `log` gets a line after each stage."""
    start = time.perf_counter()

    def done(what: str) -> None:
        log(f"{time.perf_counter() - start:6.0f} s  {what}")

    test, train, notes = split_questions(dataset.examples, preset.n_questions, preset.n_train, seed)
    corpus, truncated = _truncate_passages(dataset.corpus)
    test_items, train_items = data.trim_answers(test), data.trim_answers(train, max_words=30)
    shared, training_flops, beyond_limit = _train(corpus, train, train_items, preset, seed, done)
    answers = {}
    for systems in (["prompting"], ["fine-tuned"], ["RAG", "RAG, tuned retriever"], ["fine-tuned + RAG"]):
        answers |= answer(shared, test_items, systems)
        done(f"{' and '.join(systems)}: {len(test_items)} questions answered")
    answers = {system: answers[system] for system in SYSTEMS}
    seconds = _seconds_per_query(shared, test_items[:4], repr(preset.sources))
    answer_words = np.median([len(text.words(question.answers[0])) for question in test])
    metric = "exact_match" if answer_words <= SHORT_ANSWER_WORDS else "token_f1"
    generator, encoder = shared.generators["untuned"], shared.question_encoders["frozen"]
    sample = [retrieval.encoder_text(encoder, corpus[id_]) for id_ in [*corpus][:: max(1, len(corpus) // 200)]]
    index_update_flops = measure.encoding_flops(encoder, sample) / len(sample) * len(corpus)
    index_bytes = retrieval.index_bytes(len(corpus), models.embedding_dim(encoder), preset.sources.index)
    supported = measure.stand_in_passages(test_items, corpus)
    scores = _scores(metric, test_items, answers, shared, supported)
    done("measured")
    notes += text.language_notes(passage.text for passage in corpus.values())
    if not supported:
        notes.append("The accepted answers are labels or in other words than the passages': no passage supports them.")
    if len(corpus) == 1:
        notes.append("One passage: there was nothing for a retriever to learn.")
    return Findings(
        name=dataset.name,
        generator=generator.name,
        n_passages=len(corpus),
        n_train=len(train_items),
        metric=metric,
        test_questions=test,
        answers=answers,
        scores=scores,
        query_flops=_query_flops(test_items, answers, shared),
        training_flops=training_flops,
        index_update_flops=index_update_flops,
        index_bytes=index_bytes,
        seconds=seconds,
        notes=notes + truncated + beyond_limit,
    )


def _truncate_passages(corpus: Mapping[str, Passage]) -> tuple[dict[str, Passage], list[str]]:
    """The first `MAX_PASSAGE_WORDS` words of each passage, and a note if that cut any."""
    truncated, n_cut = {}, 0
    for id_, passage in corpus.items():
        words = text.word_spans(passage.text)
        is_long = len(words) > MAX_PASSAGE_WORDS
        n_cut += is_long
        end = words[MAX_PASSAGE_WORDS - 1][1] if is_long else None
        truncated[id_] = Passage(passage.title, passage.text[:end])
    if not n_cut:
        return truncated, []
    return truncated, [
        f"{n_cut:,} of {len(corpus):,} passages have more than {MAX_PASSAGE_WORDS} words: the rest was not read, "
        "split them into shorter passages."
    ]


def _train(
    corpus: dict[str, Passage],
    questions: Sequence[Example],
    items: Sequence[Example],
    preset: RagOrFinetune,
    seed: int,
    done: Callable[[str], None],
) -> tuple[SharedModels, dict[str, float], list[str]]:
    """The systems, the FLOPs of their trainings, and notes. `items` are the `questions` with shorter answers."""
    sources = preset.sources
    generator = models.load_generator(sources.generator, sources.quantize)
    n_layers = flops.shape_of(generator.model.config).n_layers  # its error comes before long work, as the encoder's
    encoder = models.load_encoder(sources.question_encoder)
    passage_encoder = models.load_encoder(sources.passage_encoder)
    flops.shape_of(encoder.model.config)
    preset = replace(preset, sft=_fit_layers(preset.sft, n_layers))
    done("models loaded")
    notes = _note_beyond_limit(passage_encoder, corpus)
    index = retrieval.build_dense(passage_encoder, corpus, sources.index, sources.search_parameters, seed)
    done(f"{len(corpus):,} passages indexed")
    n_docs, n_candidates = (min(n, len(corpus)) for n in (preset.n_docs, preset.n_candidates))
    closed_book = trainings.train_closed_book(generator, items, preset.sft, seed).generator
    done(f"fine-tuned on {len(items)} questions")
    retriever = retrieval.DenseRetriever(index, encoder)
    ids = retrieval.search(retriever, [item.query for item in items], n_docs)[0].tolist()
    reading = trainings.train_with_passages(generator, items, ids, corpus, preset.sft, seed).generator
    done("fine-tuned on the same with passages")
    tuned = encoder
    if n_candidates > 1:
        tuned = trainings.train_retriever(
            generator, encoder, index, corpus, items, n_candidates, preset.retriever, preset.temperature,
            preset.lsr_temperature, seed,
        ).question_encoder  # fmt: skip
        done("retriever tuned")
    lengths = count_answer_tokens(generator, [item.answers[0] for item in items])
    longest = int(np.clip(np.percentile(lengths, 95) + 2, 4, 32))
    solved = [replace(question, answers=item.answers) for question, item in zip(questions, items, strict=True)]
    shared = SharedModels(
        generators={"untuned": generator, "closed-book": closed_book, "reading": reading},
        question_encoders={"frozen": encoder, "tuned": tuned},
        index=index,
        corpus=corpus,
        examples=tuple(solved[: preset.n_examples]),
        n_docs=n_docs,
        temperature=preset.temperature,
        max_new_tokens=longest,
    )
    training_flops = measure.training_flops_by_system(
        generator, encoder, items, ids, corpus, preset.sft, n_candidates, preset.retriever
    )
    return shared, training_flops, notes


def _fit_layers(settings: TrainingSettings, n_layers: int) -> TrainingSettings:
    """The settings for a generator of `n_layers` layers: all of them are trained where there are fewer than asked."""
    return replace(settings, lora_layers=settings.lora_layers and min(settings.lora_layers, n_layers))


def _seconds_per_query(shared: SharedModels, items: Sequence[Example], sources: str) -> dict[str, float]:
    """{system: seconds of a question, asked alone}, kept as answers are: no two runs take equally long.

    So a pilot that is made again writes the page that it wrote. Another machine or number of cores is measured anew.
    """
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    machine = f"{platform.node()} {len(cores)} {os.environ.get('OMP_NUM_THREADS')}"
    key = cache.key(
        [measure.seconds_per_query, answer],
        f"{machine} {sources} {shared.n_docs} {shared.max_new_tokens} {data.corpus_sha256(shared.corpus)}",
        *map(generation.fingerprint, shared.generators.values()),
        *map(models.encoder_fingerprint, shared.question_encoders.values()),
        *(part for item in (*items, *shared.examples) for part in (item.query, item.question, item.answers[0])),
    )
    kept = cache.json_list(
        "seconds", key, lambda: [measure.seconds_per_query(shared, items, system) for system in SYSTEMS]
    )
    return dict(zip(SYSTEMS, kept, strict=True))


def _note_beyond_limit(encoder: Encoder, corpus: Mapping[str, Passage]) -> list[str]:
    """A note on passages that are longer than what the encoder reads, if there are any."""
    n = retrieval.n_cut(encoder, corpus)
    advice = "Split them into shorter passages, or name an encoder that reads more."
    return [f"{retrieval.cut_sentence(encoder, n, len(corpus))} {advice}"] if n else []


def _query_flops(items: Sequence[Example], answers: Mapping[str, Answers], shared: SharedModels) -> dict:
    """{model: {system: FLOPs of a mean query}}, of the generator and of larger models with as many tokens."""
    generator, encoder = shared.generators["untuned"], shared.question_encoders["frozen"]
    queries = [item.query for item in items]
    question_tokens = int(np.mean(count_tokens(encoder.tokenizer, models.query_texts(encoder, queries))))
    searched = len(shared.corpus), models.embedding_dim(encoder)
    means: dict[str, dict[str, float]] = {}
    for model, shape in {generator.name: flops.shape_of(generator.model.config), **flops.LARGER_MODELS}.items():
        for system, of_system in answers.items():
            encoder_shape = flops.shape_of(encoder.model.config) if system in RAG_SYSTEMS else None
            per_query = measure.flops_per_query(of_system, shape, encoder_shape, question_tokens, *searched)
            means.setdefault(model, {})[system] = float(per_query.mean())
    return means


def _scores(
    metric: str, items: Sequence[Example], answers: Mapping[str, Answers], shared: SharedModels, supported: bool
) -> dict:
    """{what: {system: (n,)}}: right answers, answers in the source that is shown, and those in no gold passage.

    The latter two only where accepted answers are words that passages support.
    """
    accepted, corpus = [item.answers for item in items], shared.corpus
    # A closed-book answer is given a source too: what the frozen retriever finds for the question.
    queries = [item.query for item in items]
    frozen = retrieval.DenseRetriever(shared.index, shared.question_encoders["frozen"])
    shown = retrieval.search(frozen, queries, shared.n_docs)[0].tolist()
    scores: dict[str, dict[str, np.ndarray]] = {"right": {}, "tokens": {}}
    for system, of_system in answers.items():
        scores["right"][system] = metrics.answer_scores(metric, of_system.texts, accepted, metrics.OWN_DATA)
        scores["tokens"][system] = measure.tokens_per_query(of_system)
        if supported:
            sources = of_system.sources if system in RAG_SYSTEMS else shown
            values = measure.has_answer(of_system.texts, sources, corpus)
            scores.setdefault("in its source", {})[system] = values
    if supported and all(item.gold_passages for item in items):
        gold = [item.gold_passages for item in items]
        scores["unsupported"] = {
            system: 1 - measure.has_answer(of_system.texts, gold, corpus) for system, of_system in answers.items()
        }
    return scores


def costs_from_findings(findings: Findings, prices: Prices, model: str | None = None) -> dict[str, Cost]:
    """{system: its cost}, with the pilot's own generator, or another model of which the FLOPs were extrapolated."""
    return costs_by_system(
        findings.query_flops[model or findings.generator],
        findings.training_flops,
        findings.index_update_flops,
        findings.index_bytes,
        findings.n_train,
        prices,
    )


def recommend_from_findings(findings: Findings, requirements: Requirements, prices: Prices) -> Recommendation:
    """What the rule says of these findings."""
    return recommend(findings.scores["right"], costs_from_findings(findings, prices), requirements, RAG_SYSTEMS)
