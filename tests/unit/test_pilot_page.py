"""The pilot on a folder: the page, what it refuses before any work, and its command line; small random checkpoints."""

import html
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser

import checkpoints
import numpy as np
import pytest
from substitution import substitute

from nbutils import __main__ as cli
from nbutils import data, paths, pilot
from nbutils.data import Dataset, Passage, question_example
from nbutils.errors import InputError
from nbutils.models import load as load_module
from nbutils.pilot import flops, measure
from nbutils.presets import load_preset
from nbutils.retrieval import dense as dense_module

COUNTRIES = ("Chad", "Peru", "Japan", "France", "Russia", "<b>Mali</b>")


def folder_of(place, n_questions=24, gold=True, splits=True, long_passage=False):
    """A data set of a few countries; questions repeat with other words."""
    corpus = {f"p{i}": Passage(name, f"The capital of {name} is City{i}.") for i, name in enumerate(COUNTRIES)}
    if long_passage:
        corpus["long"] = Passage("Long", "word " * 200)
    questions = []
    for n in range(n_questions):
        i = n % len(COUNTRIES)
        split = ("train", "test")[n % 2] if splits else "test"
        text = f"Number {n}: what is the capital of {COUNTRIES[i]}?"
        questions.append(question_example(f"q{n}", text, (f"City{i}",), (f"p{i}",) if gold else (), split=split))
    data.write_folder(place, Dataset("mine", corpus, questions))
    return place


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    names = {
        "sources.generator": checkpoints.llama(tmp_path_factory.mktemp("llama"), positions=1024),
        "sources.question_encoder": (encoder := checkpoints.minilm(tmp_path_factory.mktemp("minilm"))),
        "sources.passage_encoder": encoder,
    }
    small = load_preset("08_rag_or_finetune", "smoke", names)
    return replace(small, n_questions=100, n_train=100)


@pytest.fixture(scope="module")
def made(preset, tmp_path_factory):
    """The page of a small folder, its findings, and the lines printed meanwhile."""
    place, lines = tmp_path_factory.mktemp("made"), []
    folder_of(place / "mine", long_passage=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "seconds_per_query", lambda shared, items, system: 0.5)
        recommendation = pilot.make_page(
            place / "mine", place / "page.html", preset, pilot.Requirements(), pilot.Prices(), log=lines.append
        )
        findings = pilot.run_pilot(data.read_folder(place / "mine"), preset, log=lambda line: None)
    return (place / "page.html").read_text(encoding="utf-8"), findings, recommendation, lines


def test_the_page_shows_all_systems_and_loads_nothing(made):
    page, _, recommendation, lines = made
    for system in pilot.SYSTEMS:
        assert f"<td>{system}</td>" in page
    assert (recommendation.system or pilot.TOO_LITTLE_DATA) in page
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 3
    assert not re.search(r"(?:src|href)=\"(?!data:)|<script|https?://", page)
    assert "&lt;b&gt;Mali" in page and "<b>Mali" not in page
    assert "1 of 7 passages have more than 150 words" in page
    assert pilot.page.metrics.RULE_NOTES["own data"] in html.unescape(page)
    assert "12 test questions" in page and len(lines) >= 8


class Cells(HTMLParser):
    """The cells of the tables of a page, by the class of the table: {class: [[text of each cell] of each row]}."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.in_cell = {}, False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.rows = self.tables.setdefault(dict(attributes)["class"], [])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, text):
        if self.in_cell:
            self.rows[-1][-1] += text


def faults_of_page(page):
    """What stands where a number belongs and is none, and Python objects that were written as they are."""
    number = r"-?\d[\d,]*(\.\d+)?(e[+-]\d+)?"
    head, *rows = Cells(page).tables["numbers"]
    faults = [text for text in ("built-in method", " object at 0x") if text in page]
    faults += [f"{len(row)} cells" for row in rows if len(row) != len(head)]
    for _, right, source, *cells in rows:
        faults += [] if re.fullmatch(rf"{number} \[{number}, {number}\]", right) else [right]
        faults += [] if re.fullmatch(f"{number}|not measured", source) else [source]
        faults += [cell for cell in cells if not re.fullmatch(number, cell)]
    return faults


def test_every_cell_holds_its_number(made):
    page, findings, _, _ = made
    assert faults_of_page(page) == []
    head, *rows = Cells(page).tables["numbers"]
    assert [row[0] for row in rows] == list(pilot.SYSTEMS)
    costs = pilot.costs_by_system(
        findings.query_flops[findings.generator], findings.training_flops, findings.index_update_flops,
        findings.index_bytes, findings.n_train, pilot.Prices(),
    )  # fmt: skip
    columns = {name: i for i, name in enumerate(head)}
    for row in rows:
        assert float(row[columns["an update"]]) == pytest.approx(costs[row[0]].update, rel=0.1)
        assert float(row[columns["the start"]]) == pytest.approx(costs[row[0]].start, rel=0.1)
    # Planted faults: a method in place of the entry of its name, a cell that is empty, a cell too few.
    cell = f"<td>{rows[-1][columns['an update']]}</td>"
    for wrong in (f"<td>{html.escape(str({}.update))}</td>", "<td></td>", ""):
        assert faults_of_page(page.replace(cell, wrong))


def test_equal_runs_give_equal_bytes(made):
    page, findings, recommendation, _ = made  # the findings are those of a second run
    again = pilot.recommend_from_findings(findings, pilot.Requirements(), pilot.Prices())
    assert again == recommendation
    assert pilot.render_page(findings, again, pilot.Requirements(), pilot.Prices()) == page


def test_a_page_that_is_made_again_has_the_same_bytes(preset, tmp_path, monkeypatch):
    """Though no two questions take equally long. With another number of cores they are measured anew."""
    monkeypatch.setattr(measure, "seconds_per_query", lambda shared, items, system: time.perf_counter())
    folder, page = folder_of(tmp_path / "open", n_questions=8, gold=False, splits=False), tmp_path / "page.html"

    def make():
        pilot.make_page(folder, page, preset, pilot.Requirements(), pilot.Prices(), log=str)
        return page.read_bytes()

    first = make()
    assert make() == first
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert make() != first


CHINESE = "\u6e2f\u53e3\u5f88\u5b89\u9759\uff0c\u6d77\u6c34\u662f\u84dd\u8272\u7684\u3002"


def test_each_note_stands_where_it_applies(made, preset, tmp_path, monkeypatch):
    """On the page and in the terminal: texts that are cut, languages, answers that are labels, the rule."""
    monkeypatch.setattr(measure, "seconds_per_query", lambda shared, items, system: 0.5)
    corpus = {f"p{i}": Passage("", CHINESE + str(i)) for i in range(6)}
    asked = [question_example(f"q{n}", f"{n}?", (("yes", "no")[n % 2],), (f"p{n % 6}",)) for n in range(12)]
    data.write_folder(tmp_path / "zh", Dataset("zh", corpus, asked))
    lines = []
    pilot.make_page(
        tmp_path / "zh", tmp_path / "p.html", preset, pilot.Requirements(), pilot.Prices(), log=lines.append
    )
    chinese = html.unescape((tmp_path / "p.html").read_text(encoding="utf-8"))
    english = html.unescape(made[0])
    notes = {
        "1 of 7 passages have more than 150 words": english,
        "1 of 7 passages (14%) have more than the ": english,
        "Words of Chinese or Japanese are found by ICU's dictionaries": chinese,
        "The accepted answers are labels or in other words": chinese,
    }
    for note, page in notes.items():
        for other, terminal in ((english, made[3]), (chinese, lines)):
            assert (note in other) == (page is other) == any(f"note: {note}" in line for line in terminal), note
    rule = pilot.page.metrics.RULE_NOTES["own data"]
    assert all(rule in page for page in (english, chinese)) and f"note: {rule}" in lines
    assert faults_of_page(chinese) == []
    assert [row[2] for row in Cells(chinese).tables["numbers"][1:]] == ["not measured"] * len(pilot.SYSTEMS)
    assert "no passage supports these answers" in chinese and "no passage supports these answers" not in english
    assert "match" not in " ".join(lines).replace("exact match", "")  # vectors find K passages for every question


def test_everything_is_measured_on_the_same_questions(made):
    _, findings, _, _ = made
    assert len(findings.test_questions) == findings.n_train == 12
    for what in ("right", "in its source", "tokens", "unsupported"):
        assert {len(values) for values in findings.scores[what].values()} == {12} and list(
            findings.scores[what]
        ) == list(pilot.SYSTEMS)
    assert set(findings.query_flops) == {findings.generator, *pilot.LARGER_MODELS}
    mine, larger = findings.query_flops[findings.generator], findings.query_flops["Llama-3.1-8B"]
    assert all(larger[system] > mine[system] > 0 for system in pilot.SYSTEMS)
    assert mine["RAG"] > mine["fine-tuned + RAG"] > mine["fine-tuned"]
    assert findings.training_flops["fine-tuned + RAG"] > findings.training_flops["fine-tuned"] > 0


def test_opinions_have_numbers_and_verdicts(made):
    rows = {row["question"]: row for row in pilot.opinions(made[1])}
    assert rows["Short prompts?"]["verdict"] == "holds"
    assert rows["Behaviour or style?"]["verdict"] == rows["Data mostly dynamic?"]["verdict"] == "not measured"
    assert all("n = 12" in row["here"] for row in rows.values() if row["verdict"] != "not measured")


def test_equal_answers_to_a_few_questions_decide_no_opinion(made):
    right = {system: np.zeros(4) for system in pilot.SYSTEMS}  # resamples of which are all equal
    rows = pilot.opinions(replace(made[1], scores={**made[1].scores, "right": right}))
    verdicts = {row["question"]: row["verdict"] for row in rows}
    assert verdicts["Both together?"] == verdicts["Training data available?"] == "open"


def test_better_answers_change_the_advice(made):
    """Planted: one system is right always, and then another."""
    findings = made[1]
    for system in ("RAG", "fine-tuned"):
        right = {name: np.full(200, float(name == system)) for name in pilot.SYSTEMS}
        planted = replace(findings, scores={**findings.scores, "right": right})
        recommendation = pilot.recommend_from_findings(planted, pilot.Requirements(updates_per_month=0), pilot.Prices())
        assert recommendation.system == system
    assert pilot.recommend_from_findings(planted, pilot.Requirements(sources=True), pilot.Prices()).excluded.keys() == {
        "prompting",
        "fine-tuned",
    }


def test_questions_without_gold_passages_and_splits_will_do(preset, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "seconds_per_query", lambda shared, items, system: 0.5)
    folder_of(tmp_path / "open", n_questions=8, gold=False, splits=False)
    pilot.make_page(tmp_path / "open", tmp_path / "page.html", preset, pilot.Requirements(), pilot.Prices(), log=str)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "The data name too few questions of one kind (8 test, 0 training)" in page and "no gold passages" in page
    assert pilot.TOO_LITTLE_DATA in page


def test_one_passage_will_do(preset, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "seconds_per_query", lambda shared, items, system: 0.5)
    questions = [question_example(f"q{n}", f"Question {n}?", ("Lima",), ("p",)) for n in range(8)]
    data.write_folder(tmp_path / "one", Dataset("one", {"p": Passage("Peru", "Its capital is Lima.")}, questions))
    pilot.make_page(tmp_path / "one", tmp_path / "page.html", preset, pilot.Requirements(), pilot.Prices(), log=str)
    assert "nothing for a retriever to learn" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_split_is_kept_or_drawn():
    named = [question_example(f"q{i}", f"{i}?", ("y",), (), split=("train", "test")[i % 2]) for i in range(20)]
    test, train, notes = pilot.split_questions(named, 5, 100, 0)
    assert len(test) == 5 and len(train) == 10 and notes == []
    assert {q.split for q in test} == {"test"} and {q.split for q in train} == {"train"}
    unnamed = [replace(q, split="test") for q in named]
    test, train, notes = pilot.split_questions(unnamed, 100, 100, 0)
    assert (
        {q.id for q in test} | {q.id for q in train} == {q.id for q in named}
        and not {*test} & {*train}
        and len(notes) == 1
    )
    assert pilot.split_questions(unnamed, 100, 100, 1)[0] != test


def test_questions_of_one_passage_stand_on_one_side():
    """A model that was trained on one wording has seen the answer to the other."""
    questions = [question_example(f"q{i}", f"Wording {i}?", ("y",), (f"p{i // 3}",)) for i in range(60)]
    test, train, notes = pilot.split_questions(questions, 100, 100, 0)
    assert len(test) == len(train) == 30 and len(notes) == 1
    assert not {q.gold_passages for q in test} & {q.gold_passages for q in train}
    same = [question_example(f"q{i}", ("Who?", "where?")[i % 2], ("y",), ()) for i in range(20)]
    test, train, _ = pilot.split_questions(same, 100, 100, 0)
    assert not {q.query for q in test} & {q.query for q in train}
    # A question of two passages ties together the questions of each, and a large group does not end the filling.
    two = [
        replace(q, gold_passages=(f"p{i // 3}", f"p{i // 3 + 1}") if i == 2 else q.gold_passages)
        for i, q in enumerate(questions)
    ]
    two += [question_example(f"r{i}", f"Of one {i}?", ("y",), ("large",)) for i in range(50)]
    for seed in range(5):
        test, train, notes = pilot.split_questions(two, 100, 100, seed)
        read, tested = ({p for q in side for p in q.gold_passages} for side in (train, test))
        assert len(notes) == 1 and not read & tested
        assert min(len(test), len(train)) >= 40
    one = [replace(question, gold_passages=("p",)) for question in questions]
    test, train, notes = pilot.split_questions(one, 100, 100, 0)
    assert len(test) == len(train) == 30 and "may have seen the answers" in notes[1]


@pytest.fixture
def no_models(monkeypatch):
    def fail(*arguments):
        raise AssertionError("a model was loaded before the input was checked")

    substitute(monkeypatch, load_module, "load_generator", fail)
    substitute(monkeypatch, load_module, "load_encoder", fail)


def test_an_encoder_of_unknown_cost_is_refused_before_anything_is_encoded(preset, tmp_path, monkeypatch):
    real = flops.shape_of

    def shape_of(config):
        if config.model_type == "bert":
            raise InputError("the cost model does not know bert")
        return real(config)

    def fail(*arguments):
        raise AssertionError("passages were encoded before the encoder was checked")

    folder_of(tmp_path / "mine")
    monkeypatch.setattr(flops, "shape_of", shape_of)
    substitute(monkeypatch, dense_module, "build_dense", fail)
    with pytest.raises(InputError, match="does not know bert"):
        pilot.run_pilot(data.read_folder(tmp_path / "mine"), preset, log=str)


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["nbutils", "pilot", *map(str, arguments)])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    return (ending.value.code or 0, *capsys.readouterr())


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("queries.jsonl", '{"_id": "q", "text": "Who?"}\n', r"queries.jsonl, line 1: no answers"),
        ("queries.jsonl", "{\n", r"queries.jsonl, line 1"),
        ("queries.jsonl", '{"_id": "q", "text": "Who?", "answers": ["I"]}\n', r"1 question: a pilot needs at least 8"),
        ("corpus.jsonl", "", r"corpus.jsonl: holds no passage"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\tnowhere\t1\n", r"unknown passage 'nowhere'"),
    ],
)
def test_bad_folders_are_refused_in_one_line(no_models, tmp_path, monkeypatch, capsys, file, text, message):
    folder_of(tmp_path / "mine")
    if file == "queries.jsonl":
        for path in (tmp_path / "mine" / "qrels").iterdir():
            path.unlink()
    (tmp_path / "mine" / file).write_text(text)
    status, _, err = call(monkeypatch, capsys, "--data", tmp_path / "mine", "-o", tmp_path / "page.html")
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and re.search(message, err)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--queries-per-day", "0"), "queries_per_day = 0"),
        (("--hour", "-1"), "hour = -1"),
        (("--questions", "0"), "n_questions = 0"),
        (("--questions", "3"), "n_questions = 3"),
        (("--seed", "-1"), "seed = -1"),
        (("--flops", "0"), "flops = 0"),
        (("-o", "nowhere/page.html"), "nowhere/page.html cannot be written"),
        (("-o", f"{'x' * 300}.html"), "cannot be written (File name too long)"),
        (("-o", "."), "is a folder"),
    ],
)
def test_bad_options_are_refused_in_one_line(no_models, tmp_path, monkeypatch, capsys, options, message):
    folder_of(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    status, _, err = call(monkeypatch, capsys, "--data", "mine", *options)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert call(monkeypatch, capsys, "--data", "nowhere")[0] == 2


def test_the_command_line_writes_the_page(preset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "seconds_per_query", lambda shared, items, system: 0.5)
    monkeypatch.setattr(
        "nbutils.presets.load_preset",
        lambda notebook, scale, chosen: replace(preset, n_questions=chosen["n_questions"]),
    )
    folder_of(tmp_path / "mine")
    status, out, err = call(
        monkeypatch, capsys, "--data", tmp_path / "mine", "-o", tmp_path / "p.html", "--questions", 5, "--sources"
    )
    assert (status, err) == (0, "") and "p.html: " in out
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "5 test questions" in page and "prompting left out: shows no source" in page


@pytest.mark.slow  # a minute: 50,000 passages are encoded
def test_fifty_thousand_passages_fit_in_memory(tmp_path):
    """With small models: what is measured grows with the corpus; the embedded ones take about 3 GB besides."""
    names = [checkpoints.llama(tmp_path / "llama", positions=1024), checkpoints.minilm(tmp_path / "minilm")]
    corpus = {f"p{i}": Passage(f"Country {i}", f"The capital of Country {i} is City{i}. " * 8) for i in range(50_000)}
    questions = [
        question_example(f"q{i}", f"What is the capital of Country {i}?", (f"City{i}",), (f"p{i}",)) for i in range(40)
    ]
    data.write_folder(tmp_path / "large", Dataset("large", corpus, questions))
    code = (
        "import resource, sys; from nbutils import pilot, presets\n"
        "generator, encoder, folder, out = sys.argv[1:]\n"
        "models = {'sources.generator': generator, 'sources.question_encoder': encoder}\n"
        "models |= {'sources.passage_encoder': encoder}\n"
        "preset = presets.load_preset('08_rag_or_finetune', 'smoke', models)\n"
        "pilot.make_page(folder, out, preset, pilot.Requirements(), pilot.Prices())\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)"
    )
    command = [sys.executable, "-c", code, *names, str(tmp_path / "large"), str(tmp_path / "page.html")]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "50,000 passages" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert float(done.stdout.split()[-1]) < 3, done.stdout  # GB
