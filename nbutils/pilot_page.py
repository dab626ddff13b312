"""One page about a folder of the reader's own: five systems measured on it, and what the rule recommends."""

import base64
import io
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nbutils import costs, data, decision, files, metrics, models, pilot, plotting, retrieval
from nbutils.data import Dataset, Example, Passage, Question, words_of
from nbutils.decision import Advice, Needs
from nbutils.errors import InputError
from nbutils.presets import RagOrFinetune
from nbutils.record import claims, report
from nbutils.training import TrainingSettings

MIN_QUESTIONS = 8  # half to train on, half to test
MAX_WORDS = 150  # of a passage, that are searched and read
SHORT_ANSWER = 5  # words; longer ones are scored by token F1
UPDATES, QUERIES = (0, 1, 4, 30, 300), (10, 100, 1_000, 10_000, 100_000)  # of the map


@dataclass(frozen=True)
class Findings:
    """What was measured on one data set."""

    name: str
    generator: str
    n_passages: int
    n_train: int
    metric: str  # how answers are scored
    test: list[Question]
    answers: dict[str, pilot.Answers]
    scores: dict[str, dict[str, np.ndarray]]  # what -> system -> (n,)
    queries: dict[str, dict[str, float]]  # model -> system -> FLOPs of a mean query
    trainings: dict[str, float]  # system -> FLOPs
    index_update: float  # FLOPs of encoding every passage
    index_bytes: float
    seconds: dict[str, float]  # system -> a question, asked alone, here
    notes: list[str] = field(default_factory=list)


def make_page(
    folder: str | Path,
    out: str | Path,
    preset: RagOrFinetune,
    needs: Needs,
    prices: costs.Prices,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> Advice:
    """Measure the five systems on the data set in `folder`, write the page `out`, and return the advice that it gives.

    Raises InputError, before anything is trained, for a bad record, fewer than `MIN_QUESTIONS` questions, an `out` that
    is a folder, and a generator that the cost model does not know; nothing is written then.
    """
    out = Path(out)
    try:  # permissions alone do not tell whether the system will write it
        tempfile.NamedTemporaryFile(prefix=f".{out.name}.", dir=out.parent).close()
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): name another place for the page") from error
    if out.is_dir():
        raise InputError(f"{out} is a folder: name the file of the page, such as {out / 'pilot.html'}")
    if preset.n_questions < MIN_QUESTIONS // 2:
        raise InputError(f"n_questions = {preset.n_questions}: give at least {MIN_QUESTIONS // 2}")
    if seed < 0:
        raise InputError(f"seed = {seed}: give at least 0")
    dataset = data.read_folder(folder)
    split(dataset.questions, preset.n_questions, preset.n_train, seed)  # its errors come before long work
    found = measure(dataset, preset, seed, say)
    advice = advise(found, needs, prices)
    files.write_text(out, render(found, advice, needs, prices))
    return advice


def split(
    questions: Sequence[Question], n_test: int, n_train: int, seed: int
) -> tuple[list[Question], list[Question], list[str]]:
    """Test questions, training questions, and what to know of them.

    The data's own splits "test" and "train" are kept where both have enough; otherwise all questions are shuffled by
    `seed`, and half of them are for training. Questions that share a passage (where none is named: a text) go to one
    side, since a model that has learned one wording has seen the answer to the other. Raises InputError for fewer than
    `MIN_QUESTIONS`.
    """
    short = [question for question in questions if question.kind != "long_form"]
    if len(short) < MIN_QUESTIONS:
        raise InputError(
            f"{len(short)} question{'s' * (len(short) != 1)}: a pilot needs at least {MIN_QUESTIONS}, half of them to "
            "train on; with fewer than about 100 it will say that it cannot tell"
        )
    rng, least = np.random.default_rng(seed), MIN_QUESTIONS // 2
    own = {name: [q for q in short if q.split == name] for name in ("test", "train")}
    notes = []
    if min(map(len, own.values())) < least:
        own, together = _halves(short, rng)
        counts = f"{sum(q.split == 'test' for q in short)} test, {sum(q.split == 'train' for q in short)} training"
        notes.append(f"The data name too few questions of one kind ({counts}): half of all, drawn, were trained on.")
        if not together:
            notes.append("Questions of one passage were trained on and tested: fine-tuning may have seen the answers.")
    drawn = {name: [own[name][i] for i in rng.permutation(len(own[name]))] for name in ("test", "train")}
    return drawn["test"][:n_test], drawn["train"][:n_train], notes


def _halves(questions: list[Question], rng: np.random.Generator) -> tuple[dict[str, list[Question]], bool]:
    """Two halves, and whether questions of one passage stand on one side: not where a side would be left too small."""
    groups = _sharing_passages(questions)
    test: list[Question] = []
    train: list[Question] = []
    for i in rng.permutation(len(groups)):
        side = test if len(test) + len(groups[i]) <= len(questions) // 2 else train
        side += groups[i]
    together = min(len(test), len(train)) >= MIN_QUESTIONS // 2
    if not together:
        shuffled = [questions[i] for i in rng.permutation(len(questions))]
        test, train = shuffled[: len(questions) // 2], shuffled[len(questions) // 2 :]
    return {"test": test, "train": train}, together


def _sharing_passages(questions: list[Question]) -> list[list[Question]]:
    """Groups of questions, no two of which share a gold passage or, where none is named, a text."""
    joined: dict[str, str] = {}  # passage -> a passage of its group; the group's first one -> itself

    def first(passage: str) -> str:
        while joined.setdefault(passage, passage) != passage:
            passage = joined[passage]
        return passage

    keys = [question.gold_passages or (question.text.casefold(),) for question in questions]
    for passages in keys:
        for passage in passages:
            joined[first(passage)] = first(passages[0])
    groups: dict[str, list[Question]] = {}
    for question, passages in zip(questions, keys, strict=True):
        groups.setdefault(first(passages[0]), []).append(question)
    return [*groups.values()]


def _shortened(corpus: Mapping[str, Passage]) -> tuple[dict[str, Passage], list[str]]:
    kept, n_cut = {}, 0
    for id_, passage in corpus.items():
        words = words_of(passage.text)
        n_cut += len(words) > MAX_WORDS
        end = words[MAX_WORDS - 1][1] if len(words) > MAX_WORDS else None
        kept[id_] = Passage(passage.title, passage.text[:end])
    if not n_cut:
        return kept, []
    return kept, [
        f"{n_cut:,} of {len(corpus):,} passages have more than {MAX_WORDS} words: the rest was not read, "
        "split them into shorter passages."
    ]


def measure(dataset: Dataset, preset: RagOrFinetune, seed: int = 0, say: Callable[[str], None] = print) -> Findings:
    """The five systems, trained and asked; `say` gets a line after each stage."""
    start = time.perf_counter()

    def done(what: str) -> None:
        say(f"{time.perf_counter() - start:6.0f} s  {what}")

    test, train, notes = split(dataset.questions, preset.n_questions, preset.n_train, seed)
    corpus, cut = _shortened(dataset.corpus)
    items, learned = data.question_items(test), data.question_items(train, max_words=30)
    parts, trainings = _train(corpus, train, learned, preset, seed, done)
    answers = {}
    for together in (["prompting"], ["fine-tuned"], ["RAG", "RAG, tuned retriever"], ["fine-tuned + RAG"]):
        answers |= pilot.answer(parts, items, together)
        done(f"{' and '.join(together)}: {len(items)} questions answered")
    answers = {system: answers[system] for system in pilot.SYSTEMS}
    seconds = {system: pilot.seconds_a_query(parts, items[:4], system) for system in pilot.SYSTEMS}
    words = np.median([len(question.answers[0].split()) for question in test])
    metric = "exact_match" if words <= SHORT_ANSWER else "token_f1"
    generator, encoder = parts.readers["untuned"], parts.encoders["frozen"]
    sample = [retrieval.passage_text(corpus[id_]) for id_ in [*corpus][:: max(1, len(corpus) // 200)]]
    update = pilot.encoding_flops(encoder, sample) / len(sample) * len(corpus)
    stored = retrieval.index_bytes(len(corpus), models.embedding_dim(encoder), preset.index)
    done("measured")
    if len(corpus) == 1:
        notes.append("One passage: there was nothing for a retriever to learn.")
    return Findings(
        dataset.name, generator.name, len(corpus), len(learned), metric, test, answers,
        _scores(metric, items, answers, parts), _queries(items, answers, parts), trainings, update, stored, seconds,
        notes + cut,
    )  # fmt: skip


def _train(
    corpus: dict[str, Passage],
    train: Sequence[Question],
    learned: Sequence[Example],
    preset: RagOrFinetune,
    seed: int,
    done: Callable[[str], None],
) -> tuple[pilot.Parts, dict[str, float]]:
    """The systems, and the FLOPs of their trainings. `learned` are the questions `train` with shorter answers."""
    generator = models.load_generator(preset.generator, preset.quantize)
    costs.shape_of(generator.model.config)  # its error comes before long work, as the encoder's below
    encoder, passage_encoder = models.load_encoder(preset.question_encoder), models.load_encoder(preset.passage_encoder)
    costs.shape_of(encoder.model.config)
    done("models loaded")
    index = retrieval.build_dense(passage_encoder, corpus, preset.index, preset.search_effort, seed)
    done(f"{len(corpus):,} passages indexed")
    n_docs, n_candidates = (min(n, len(corpus)) for n in (preset.n_docs, preset.n_candidates))
    settings = TrainingSettings(
        preset.tuning_steps, preset.batch_size, preset.lr_generator, lora_rank=preset.lora_rank,
        lora_layers=preset.lora_layers, warmup_steps=preset.warmup_steps, batch_tokens=preset.batch_tokens,
    )  # fmt: skip
    retriever_settings = replace(
        settings, n_steps=preset.retriever_steps, batch_size=preset.batch_retriever,
        encoder_learning_rate=preset.lr_encoder,
    )  # fmt: skip
    closed_book, _ = pilot.train_closed_book(generator, learned, settings, seed)
    done(f"fine-tuned on {len(learned)} questions")
    ids = retrieval.search_dense(index, encoder, [item.query for item in learned], n_docs)[0].tolist()
    reading, _ = pilot.train_reading(generator, learned, ids, corpus, settings, seed)
    done("fine-tuned on the same with passages")
    tuned = encoder
    if n_candidates > 1:
        tuned, _ = pilot.train_retriever(
            generator, encoder, index, corpus, learned, n_candidates, retriever_settings, preset.temperature,
            preset.lsr_temperature, seed,
        )  # fmt: skip
        done("retriever tuned")
    lengths = generator.tokenizer([f" {item.answers[0]}" for item in learned], add_special_tokens=False)["input_ids"]
    longest = int(np.clip(np.percentile([len(row) for row in lengths], 95) + 2, 4, 32))
    shots = [replace(question, answers=item.answers) for question, item in zip(train, learned, strict=True)]
    readers = {"untuned": generator, "closed-book": closed_book, "reading": reading}
    parts = pilot.Parts(
        readers, {"frozen": encoder, "tuned": tuned}, index, corpus, tuple(shots[: preset.n_examples]), n_docs,
        preset.temperature, longest,
    )  # fmt: skip
    return parts, pilot.trainings(generator, encoder, learned, ids, corpus, settings, n_candidates, retriever_settings)


def _queries(items: Sequence[Example], answers: Mapping[str, pilot.Answers], parts: pilot.Parts) -> dict:
    """{model: {system: FLOPs of a mean query}}, of the reader and of larger models with as many tokens."""
    generator, encoder = parts.readers["untuned"], parts.encoders["frozen"]
    asked = int(np.mean([len(row) for row in encoder.tokenizer([item.query for item in items])["input_ids"]]))
    searched = len(parts.corpus), models.embedding_dim(encoder)
    found: dict[str, dict[str, float]] = {}
    for name, shape in {generator.name: costs.shape_of(generator.model.config), **costs.LARGER}.items():
        for system, said in answers.items():
            search = costs.shape_of(encoder.model.config) if system in pilot.RETRIEVING else None
            flops = pilot.flops_a_query(said, shape, search, asked, *searched)
            found.setdefault(name, {})[system] = float(flops.mean())
    return found


def _scores(metric: str, items: Sequence[Example], answers: Mapping[str, pilot.Answers], parts: pilot.Parts) -> dict:
    """{what: {system: (n,)}}: right answers, answers in the source that is shown, and those in no gold passage."""
    accepted, corpus = [item.answers for item in items], parts.corpus
    # A closed-book answer is given a source too: what the frozen retriever finds for the question.
    queries = [item.query for item in items]
    shown = retrieval.search_dense(parts.index, parts.encoders["frozen"], queries, parts.n_docs)[0].tolist()
    scores: dict[str, dict[str, np.ndarray]] = {"right": {}, "in its source": {}, "tokens": {}}
    for system, said in answers.items():
        scores["right"][system] = metrics.answer_scores(metric, said.texts, accepted)
        sources = said.sources if system in pilot.RETRIEVING else shown
        scores["in its source"][system] = pilot.contained(said.texts, sources, corpus)
        scores["tokens"][system] = pilot.tokens_a_query(said)
    if all(item.gold_passages for item in items):
        gold = [item.gold_passages for item in items]
        scores["unsupported"] = {s: 1 - pilot.contained(said.texts, gold, corpus) for s, said in answers.items()}
    return scores


# The advice and the page


def advise(found: Findings, needs: Needs, prices: costs.Prices) -> Advice:
    """What the rule says of these findings."""
    return decision.recommend(found.scores["right"], _bills(found, prices), needs, pilot.RETRIEVING)


def _bills(found: Findings, prices: costs.Prices, model: str | None = None) -> dict[str, costs.Bill]:
    queries = found.queries[model or found.generator]
    return pilot.bills(queries, found.trainings, found.index_update, found.index_bytes, found.n_train, prices)


def opinions(found: Findings) -> list[dict[str, str]]:
    """The rows of the literature's table that a folder can decide: opinion, number with interval, n, verdict."""
    right = found.scores["right"]
    single = max(("fine-tuned", "RAG"), key=lambda system: right[system].mean())
    rows = [
        ("External knowledge required?", "RAG, not fine-tuning (Hotz 2023)", "right", "RAG", "fine-tuned", "> 0"),
        ("Minimise hallucinations?", "RAG (Hotz 2023)", "unsupported", "fine-tuned", "RAG", "> 0"),
        ("Transparency required?", "RAG (Hotz 2023)", "in its source", "RAG", "fine-tuned", "> 0"),
        ("Training data available?", "fine-tuning can use them (Hotz 2023)", "right", "fine-tuned", "prompting", "> 0"),
        ("Short prompts?", "fine-tuning saves tokens (Microsoft 2023)", "tokens", "RAG", "fine-tuned", "> 0"),
        ("Both together?", "yes, for customer support (Hotz 2023)", "right", "fine-tuned + RAG", single, "> -0.03"),
    ]
    table = []
    for question, opinion, what, one, other, rule in rows:
        if what not in found.scores:
            table.append(
                {"question": question, "opinion": opinion, "here": "no gold passages", "verdict": "not measured"}
            )
            continue
        difference = found.scores[what][one] - found.scores[what][other]
        interval_of = metrics.bootstrap_mean if what == "tokens" else decision.interval_of_difference
        value, low, high = interval_of(difference)
        digits = 0 if what == "tokens" else 2
        interval = f"[{low:.{digits}f}, {high:.{digits}f}], n = {len(difference)}"
        here = f"{what}: {one} - {other} = {value:+.{digits}f} {interval}"
        verdict = claims.verdict(value, low, high, {"ordering": rule})
        table.append({"question": question, "opinion": opinion, "here": here, "verdict": verdict})
    for question, opinion in (
        ("Behaviour or style?", "fine-tuning, not RAG (Hotz 2023)"),
        ("Data mostly dynamic?", "RAG (Hotz 2023)"),
    ):
        here = "this folder has no examples of it: see notebook 08"
        table.append({"question": question, "opinion": opinion, "here": here, "verdict": "not measured"})
    return table


def render(found: Findings, advice: Advice, needs: Needs, prices: costs.Prices) -> str:
    """The page as one HTML text: no scripts, nothing loaded from elsewhere."""
    by_model = {model: _bills(found, prices, model) for model in found.queries}
    bills = by_model[found.generator]
    table = []
    for system, said in found.answers.items():
        value, low, high = metrics.bootstrap_mean(found.scores["right"][system])
        table.append(
            {
                "system": system,
                "right": f"{value:.2f} [{low:.2f}, {high:.2f}]",
                "source": f"{found.scores['in its source'][system].mean():.2f}",
                "tokens": f"{pilot.tokens_a_query(said).mean():,.0f}",
                "seconds": f"{found.seconds[system]:.2f}",
                "thousand": [f"{1_000 * one[system].query:.2g}" for one in by_model.values()],
                "update": f"{bills[system].update:.2g}",
                "start": f"{bills[system].start:.2g}",
            }
        )
    meet = costs.break_even(bills["fine-tuned + RAG"], bills["RAG"], needs.updates_per_month)
    return report.fill_template(
        "pilot.html", found=found, advice=advice, needs=needs, prices=prices, table=table, models=list(found.queries),
        opinions=opinions(found), figures=_figures(found, needs, prices), examples=_examples(found),
        break_even=None if meet is None else f"{meet:,.0f}",
    )  # fmt: skip


def _examples(found: Findings, n: int = 5) -> list[dict[str, Any]]:
    """Questions on which the systems disagree."""
    said = {system: answers.texts for system, answers in found.answers.items()}
    different = [i for i in range(len(found.test)) if len({texts[i] for texts in said.values()}) > 1][:n]
    return [
        {
            "question": found.test[i].text,
            "right": found.test[i].answers[0],
            "answers": [(s, texts[i], found.scores["right"][s][i] >= 0.5) for s, texts in said.items()],
        }
        for i in different
    ]


def _figures(found: Findings, needs: Needs, prices: costs.Prices) -> list[dict[str, Any]]:
    """Accuracy, accuracy against cost, sources, and the map, as PNG within the page."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    metrics_, n = {}, len(found.test)
    for what in ("right", "in its source", "unsupported"):
        for system, values in found.scores.get(what, {}).items():
            value, low, high = metrics.bootstrap_mean(values)
            metrics_[f"{what}/{system}"] = {"value": value, "low": low, "high": high}
    for system, flops in found.queries[found.generator].items():
        metrics_[f"cost/{system}"] = dict.fromkeys(("value", "low", "high"), flops)
    record = {"metrics": metrics_, "matrices": _map(found, needs, prices)}
    interval = f"n = {n} questions; whiskers: 95 % bootstrap over questions."
    drawn = []
    with mpl.rc_context():
        plotting.set_style()
        fig = Figure(figsize=plotting.SINGLE)
        groups = {"right": "right", "in its\nsource": "in its source", "unsup-\nported": "unsupported"}
        bars = {
            label: {system: f"{what}/{system}" for system in pilot.SYSTEMS}
            for label, what in groups.items()
            if what in found.scores
        }
        plotting.plot_bars(fig.add_subplot(), record, bars, "what is counted", "share of answers")
        plotting.legend_above(fig)
        text = "Answers that are right; that stand in the passages shown with them (for closed-book systems: in those "
        text += "that a search finds); and, where gold passages are named, that stand in none of these. "
        drawn.append((fig, text + interval))
        fig = Figure(figsize=plotting.SINGLE)
        points = {system: (f"cost/{system}", f"right/{system}") for system in pilot.SYSTEMS}
        plotting.plot_points(fig.add_subplot(), record, points, "FLOPs a query", "right answers")
        plotting.legend_above(fig)
        drawn.append((fig, f"Right answers against the cost of a query. {interval}"))
        fig = Figure(figsize=plotting.SINGLE)
        plotting.plot_map(
            fig.add_subplot(), record, "winner", "sure", list(pilot.SYSTEMS), "queries a day", "updates a month"
        )
        plotting.legend_above(fig)
        text = "What the rule recommends, with the prices below, by volume and by how often the facts change; numbers: "
        text += "share of resamples of the questions in which that system is best; ?: too little data to tell."
        drawn.append((fig, text))
        return [{"src": _data_uri(fig), "caption": caption} for fig, caption in drawn]


def _map(found: Findings, needs: Needs, prices: costs.Prices) -> dict[str, dict]:
    places, sure = [], []
    for updates in UPDATES:
        row = [
            advise(found, replace(needs, updates_per_month=updates, queries_per_day=queries), prices)
            for queries in QUERIES
        ]
        places.append([-1 if one.system is None else list(pilot.SYSTEMS).index(one.system) for one in row])
        sure.append([one.sure for one in row])
    labels = {"rows": [f"{n:,}" for n in UPDATES], "columns": [f"{n:,}" for n in QUERIES]}
    return {"winner": {**labels, "values": places}, "sure": {**labels, "values": sure}}


def _data_uri(fig) -> str:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=plotting.DPI, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
