"""Files of other people brought into the folder format, and the data sets of the hub in their own schemas.

The hub is stood in for by small local folders of the same columns, and by a `datasets.load_dataset` that fails or
returns them; what the hub itself answers today is not tested.
"""

import dataclasses
import json
import logging
import os
import re

import datasets
import pytest

from nbutils import data, paths
from nbutils.data import (
    Dataset,
    Passage,
    documents,
    hub_dataset,
    import_file,
    import_jsonl,
    import_squad,
    load_corpus,
    load_dataset,
    load_questions,
    read_folder,
    split_text,
    write_folder,
)
from nbutils.errors import InputError

# --- splitting --------------------------------------------------------------------------------------------------------


def pieces(text: str, max_words: int) -> list[str]:
    return [text[start:end] for start, end in split_text(text, max_words)]


def test_short_texts_stay_whole():
    assert pieces("  One two. Three four.  ", 4) == ["One two. Three four."]
    assert pieces(" \n", 4) == []


def test_long_texts_are_cut_at_sentence_ends():
    text = 'He said "no." Then he left (at noon). Was it 3.5 km? Mr. Smith knew... it was not!'
    assert pieces(text, 10) == ['He said "no." Then he left (at noon).', "Was it 3.5 km? Mr. Smith knew... it was not!"]


def test_abbreviations_end_no_sentence():
    assert pieces("In the U.S. Army of Dr. J. Smith there was no peace. Then came war.", 13) == [
        "In the U.S. Army of Dr. J. Smith there was no peace.",
        "Then came war.",
    ]
    assert pieces("A b c d e four. Mr. Smith left at 3 p.m. today.", 7) == [
        "A b c d e four.",
        "Mr. Smith left at 3 p.m. today.",
    ]


def test_texts_without_spaces_are_split_too():
    sentence = "\u9996\u90fd\u306f\u30ea\u30de\u3067\u3059\u3002"  # eight characters, the last one a full stop
    assert pieces(sentence * 3, 10) == [sentence] * 3
    assert pieces(f"{sentence}\u3000Lima.", 10) == [f"{sentence}\u3000Lima."]  # a space of theirs is a space
    assert [len(piece) for piece in pieces("x" * 150, 1)] == [60, 60, 30]


def test_pieces_are_about_equal():
    text = " ".join(f"This is sentence number {i}." for i in range(21))  # 105 words
    assert [len(piece.split()) for piece in pieces(text, 100)] == [55, 50]


def test_an_endless_sentence_is_cut_between_words():
    text = " ".join(f"w{i}" for i in range(250))
    assert [len(piece.split()) for piece in pieces(text, 100)] == [100, 100, 50]


@pytest.mark.parametrize("max_words", [1, 7, 30, 100])
def test_no_word_is_lost_and_no_piece_too_long(max_words):
    text = "Lima is the capital of Peru. It has ten million people! Why? Nobody knows (really). " * 20
    found = pieces(text, max_words)
    assert " ".join(found).split() == text.split()
    assert max(len(piece.split()) for piece in found) <= max_words


# --- SQuAD-style JSON -------------------------------------------------------------------------------------------------

LIMA = "Lima is the capital of Peru. It was founded in 1535."
CHAD = "N'Djamena is the capital of Chad."


def qa(id: str, question: str, *answers: tuple[str, int], **more) -> dict:
    return {"id": id, "question": question, "answers": [{"text": t, "answer_start": s} for t, s in answers], **more}


def squad() -> dict:
    return {
        "version": "v2.0",
        "data": [
            {
                "title": "South_America",
                "paragraphs": [
                    {
                        "context": LIMA,
                        "qas": [
                            qa("a", "Capital of Peru?", ("Lima", 0), ("Lima", 0), ("lima", 0)),
                            qa("b", "Founded when?", ("1535", 47)),
                            qa("c", "Mayor?", is_impossible=True, plausible_answers=[{"text": "x", "answer_start": 0}]),
                        ],
                    },
                    {"context": "A passage that nobody asks about.", "qas": []},
                ],
            },
            {
                "title": "Chad",
                "paragraphs": [
                    {"context": CHAD, "qas": [qa("d", "Capital of Chad?", ("N'Djamena", 0), is_impossible=False)]},
                    {"context": LIMA, "qas": [qa("e", "Peru?", ("Lima", 0))]},
                ],
            },
        ],
    }


@pytest.mark.parametrize("indent", [None, 1])
def test_import_squad(tmp_path, indent):
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(squad(), indent=indent))
    counts = import_file(path, tmp_path / "out")
    assert counts == {
        "questions": 4,
        "passages": 4,
        "unanswerable questions left out": 1,
        "duplicate passages merged": 0,  # one text under two titles is two passages
    }
    dataset = read_folder(tmp_path / "out")
    assert [p.text for p in dataset.corpus.values()] == [LIMA, "A passage that nobody asks about.", CHAD, LIMA]
    assert [p.title for p in dataset.corpus.values()] == ["South America", "South America", "Chad", "Chad"]
    assert {q.id: (q.answers, dataset.corpus[q.gold_passages[0]].text, q.split) for q in dataset.examples} == {
        "a": (("Lima", "lima"), LIMA, "test"),
        "b": (("1535",), LIMA, "test"),
        "d": (("N'Djamena",), CHAD, "test"),
        "e": (("Lima",), LIMA, "test"),
    }


def test_version_1_and_split(tmp_path):
    content = squad()
    content["data"][0]["paragraphs"][0]["qas"].pop()
    (tmp_path / "train.json").write_text(json.dumps({"data": content["data"]}))
    counts = import_squad(tmp_path / "train.json", tmp_path / "out", split="train")
    assert counts["unanswerable questions left out"] == 0
    assert {q.split for q in read_folder(tmp_path / "out").examples} == {"train"}


def long_context() -> str:
    """Two pieces of 60 words; "Lima" is in both."""
    return ("Lima is big. " * 20 + "Chad is not Lima. " * 15).strip()


@pytest.mark.parametrize(
    ("answers", "gold"),
    [
        ([("Lima", 0)], [0]),  # also in the second piece: the start decides
        ([("Lima", 272)], [1]),
        ([("Lima", 0), ("Lima", 272)], [0, 1]),
        ([("Lima", 5)], [0, 1]),  # a wrong start: wherever the words occur
        ([("Chad", 5)], [1]),
        ([("Lima is big. Chad", 247)], [0, 1]),  # across the cut
        ([("the capital", 0)], [0, 1]),  # nowhere
        ([("Cha", 999)], [0, 1]),  # no whole word, so nowhere
    ],
)
def test_gold_is_the_piece_that_holds_the_answer(tmp_path, answers, gold):
    text = long_context()
    content = {"data": [{"title": "t", "paragraphs": [{"context": text, "qas": [qa("a", "?", *answers)]}]}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    import_squad(tmp_path / "a.json", tmp_path / "out", max_words=60)
    dataset = read_folder(tmp_path / "out")
    assert [len(p.text.split()) for p in dataset.corpus.values()] == [60, 60]
    assert [list(dataset.corpus).index(id) for id in dataset.examples[0].gold_passages] == gold


def at(*keys):
    """A function that applies a change to the value of `content` at `keys`."""

    def apply(content, change):
        for key in keys:
            content = content[key]
        change(content)

    return apply


QA = at("data", 1, "paragraphs", 0, "qas", 0)
PARAGRAPH = at("data", 1, "paragraphs", 0)
ARTICLE = at("data", 1)
BAD_SQUAD = [
    (QA, lambda r: r.pop("id"), "no id"),
    (QA, lambda r: r.update(id=""), "empty id"),
    (QA, lambda r: r.update(id="b"), "duplicate id 'b', first used in data[0].paragraphs[0].qas[1]"),
    (QA, lambda r: r.pop("question"), "no question"),
    (QA, lambda r: r.update(question="  "), "empty question"),
    (QA, lambda r: r.update(question="\ud800"), "not UTF-8"),
    (QA, lambda r: r.pop("answers"), "no answers"),
    (QA, lambda r: r.update(answers=[""]), "answers holds an empty string"),
    (QA, lambda r: r.update(answers=["\u200b"]), "answers holds an empty string"),
    (QA, lambda r: r.update(question="word " * 1001), "question has 1,001 words"),
    (QA, lambda r: r.update(answers=[{"answer_start": 3}]), "must be a list of strings"),
    (QA, lambda r: r.update(answers=[{"text": "", "answer_start": 3}]), "answers holds an empty string"),
    (QA, lambda r: r.update(answers="Lima"), "must be a list of strings"),
    (PARAGRAPH, lambda r: r.pop("context"), "no context"),
    (PARAGRAPH, lambda r: r.update(context=""), "empty context"),
    (PARAGRAPH, lambda r: r.update(context="\udc00"), "not UTF-8"),
    (PARAGRAPH, lambda r: r.pop("qas"), "no list 'qas'"),
    (PARAGRAPH, lambda r: r.update(qas=["?"]), "not a JSON object"),
    (ARTICLE, lambda r: r.update(title=7), "title is 7"),
    (ARTICLE, lambda r: r.update(paragraphs={}), "no list 'paragraphs'"),
    (at(), lambda r: r.update(data="x"), "no list 'data'"),
]


@pytest.mark.parametrize(("place", "change", "reason"), BAD_SQUAD, ids=[reason for _, _, reason in BAD_SQUAD])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_bad_squad_record_is_refused(tmp_path, place, change, reason, indent):
    content = squad()
    place(content, change)
    text = json.dumps(content, indent=indent)
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InputError) as caught:
        import_squad(tmp_path / "bad.json", tmp_path / "out")
    message = str(caught.value)
    where = re.match(rf"{re.escape(str(tmp_path / 'bad.json'))}, line (\d+): ", message)
    assert where and reason in message and "\n" not in message
    # The line is the one on which the object with the bad value begins.
    if indent and place is QA:
        lines = text.split("\n")
        depth = len(lines[int(where[1]) - 1]) - len(lines[int(where[1]) - 1].lstrip())
        assert lines[int(where[1]) - 1].strip() == "{" and depth == 12
        assert int(where[1]) > next(i for i, line in enumerate(lines) if '"Chad"' in line)
        assert "data[1].paragraphs[0].qas[0]: " in message
    assert os.listdir(tmp_path) == ["bad.json"], "something was written"


def test_line_of_the_second_record(tmp_path):
    text = '{"data": [\n{"title": "", "paragraphs": [\n{"context": "x",\n "qas": [\n{"id": "a"},\n{"id": "b"}]}]}]}'
    assert documents.line_of(text, ("data", 0, "paragraphs", 0, "qas", 1)) == 6
    assert documents.line_of(text, ("data", 0, "paragraphs", 0, "qas")) == 3
    assert documents.line_of(text, ("data", 0, "absent")) == 2
    assert documents.line_of(text, ()) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"data": [\n{"title": "\xff"}]}', r"bad.json, line 2: not UTF-8"),
        (b'{\n"data": [\n{"title": ', r"bad.json, line 3: not JSON \(Expecting value, column 11\)"),
        (b'{"data": [', r"bad.json, line 1: not JSON"),
        (b'{"data": []}', r"bad.json: holds no question with an answer \(0 unanswerable ones\)"),
        (b"", r"bad.json: holds no question"),
        (b'[\n{"question": "?"}\n]', r"bad.json: holds no questions with passages .* its rows have question"),
        (b'[\n"question"]', r"bad.json, line 1: \[0\]: not a JSON object"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, content, reason):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(InputError, match=reason):
        import_file(tmp_path / "bad.json", tmp_path / "out")
    assert os.listdir(tmp_path) == ["bad.json"]


# --- JSONL ------------------------------------------------------------------------------------------------------------

ROW = {"question": "Capital?", "answers": ["Lima"], "passage": LIMA}


def write_jsonl(path, *rows) -> None:
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))


def test_import_jsonl(tmp_path):
    rows = [ROW, b"", ROW | {"id": "mine"}, ROW | {"passage": CHAD, "title": "Chad", "answers": ["x"]}]
    write_jsonl(tmp_path / "qa.jsonl", *rows)
    assert import_file(tmp_path / "qa.jsonl", tmp_path / "out") == {
        "questions": 3,
        "passages": 2,
        "unanswerable questions left out": 0,
        "duplicate passages merged": 1,
    }
    dataset = read_folder(tmp_path / "out")
    assert list(dataset.corpus.values()) == [Passage("", LIMA), Passage("Chad", CHAD)]
    assert [q.id for q in dataset.examples] == ["q1", "mine", "q4"]
    assert [dataset.corpus[q.gold_passages[0]].text for q in dataset.examples] == [LIMA, LIMA, CHAD]


def test_import_jsonl_of_one_line(tmp_path):
    write_jsonl(tmp_path / "qa.json", ROW)
    assert import_file(tmp_path / "qa.json", tmp_path / "out", split="dev")["questions"] == 1
    assert read_folder(tmp_path / "out").examples[0].split == "dev"


def test_jsonl_gold_is_every_piece_with_an_answer(tmp_path):
    write_jsonl(tmp_path / "qa.jsonl", ROW | {"passage": long_context(), "answers": ["CHAD"]})
    import_jsonl(tmp_path / "qa.jsonl", tmp_path / "out", max_words=60)
    dataset = read_folder(tmp_path / "out")
    assert dataset.examples[0].gold_passages == (list(dataset.corpus)[1],)


def without(key: str) -> dict:
    return {k: v for k, v in ROW.items() if k != key}


BAD_ROWS = [
    (b'{"question": "caf\xe9"}', "not UTF-8"),
    (b'{"question": ', "not JSON"),
    (b'"question"', "not a JSON object"),
    (without("question"), "no question"),
    (ROW | {"question": " "}, "empty question"),
    (without("answers"), "no answers"),
    (ROW | {"answers": [""]}, "answers holds an empty string"),
    (ROW | {"answers": ["Lima", "\u00ad\ufeff"]}, "answers holds an empty string ('\\xad\\ufeff'"),
    (ROW | {"title": "word " * 101}, "title has 101 words"),
    (ROW | {"answers": "Lima"}, "must be a list of strings"),
    (without("passage"), "no passage"),
    (ROW | {"passage": ""}, "empty passage"),
    (ROW | {"title": 3}, "title is 3"),
    (ROW | {"id": ""}, "empty id"),
    (ROW | {"id": "first"}, "duplicate id 'first'"),
    (ROW | {"passage": "\ud800"}, "not UTF-8"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_ROWS, ids=[reason for _, reason in BAD_ROWS])
def test_a_bad_row_is_refused(tmp_path, bad, reason):
    write_jsonl(tmp_path / "qa.jsonl", ROW | {"id": "first"}, bad, ROW)
    with pytest.raises(InputError) as caught:
        import_jsonl(tmp_path / "qa.jsonl", tmp_path / "out")
    assert str(caught.value).startswith(f"{tmp_path / 'qa.jsonl'}, line 2: ")
    assert reason in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["qa.jsonl"], "something was written"


def test_a_failed_import_leaves_the_earlier_folder(tmp_path):
    write_jsonl(tmp_path / "good.jsonl", ROW)
    write_jsonl(tmp_path / "bad.jsonl", ROW, without("answers"))
    import_file(tmp_path / "good.jsonl", tmp_path / "out")
    before = read_folder(tmp_path / "out")
    with pytest.raises(InputError):
        import_file(tmp_path / "bad.jsonl", tmp_path / "out")
    assert read_folder(tmp_path / "out") == before
    import_file(tmp_path / "good.jsonl", tmp_path / "out")  # once more is no error


def test_a_second_split_is_added_and_a_first_never_lost(tmp_path):
    write_jsonl(tmp_path / "test.jsonl", ROW)
    write_jsonl(tmp_path / "train.jsonl", {**ROW, "question": "Who trains?"})
    write_jsonl(tmp_path / "other.jsonl", {**ROW, "question": "Who else?"})
    import_file(tmp_path / "test.jsonl", tmp_path / "out")
    import_file(tmp_path / "train.jsonl", tmp_path / "out", split="train")
    both = read_folder(tmp_path / "out")
    assert [(q.query, q.split) for q in both.examples] == [(ROW["question"], "test"), ("Who trains?", "train")]
    with pytest.raises(InputError, match="already; name a new folder"):
        import_file(tmp_path / "test.jsonl", tmp_path / "out", split="train")
    assert read_folder(tmp_path / "out") == both
    counts = import_file(tmp_path / "other.jsonl", tmp_path / "out")
    assert counts["questions that the split held before"] == 1
    three = read_folder(tmp_path / "out")
    assert {(q.id, q.query, q.split) for q in three.examples} == {
        ("q1", ROW["question"], "test"),
        ("test-q1", "Who else?", "test"),
        ("train-q1", "Who trains?", "train"),
    }
    import_file(tmp_path / "other.jsonl", tmp_path / "out")
    assert {q.id for q in read_folder(tmp_path / "out").examples} == {q.id for q in three.examples}  # not doubled


def test_bad_arguments_are_refused_before_anything_is_read(tmp_path):
    write_jsonl(tmp_path / "qa.jsonl", ROW)
    for arguments, reason in [
        ({"split": "validation"}, "split is 'validation'"),
        ({"max_words": 0}, "max_words is 0"),
        ({"out_folder": tmp_path}, r"holds other files \(qa.jsonl\)"),
    ]:
        with pytest.raises(InputError, match=reason):
            import_file(**({"path": tmp_path / "qa.jsonl", "out_folder": tmp_path / "out"} | arguments))
    with pytest.raises(InputError, match=r"absent.json: cannot be read \(No such file"):
        import_file(tmp_path / "absent.json", tmp_path / "out")
    assert os.listdir(tmp_path) == ["qa.jsonl"]


# --- the hub, in its own schemas --------------------------------------------------------------------------------------

datasets.disable_progress_bars()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """`datasets` leaves a lock file in its cache for each folder that it reads: not in the user's cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("hf")))


@pytest.fixture
def complaints():
    """What the libraries log while a test runs."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    for logger in loggers:
        logger.addHandler(handler)
    yield records
    for logger in loggers:
        logger.removeHandler(handler)


def nq_rows(n: int, name: str) -> list[dict]:
    return [{"question": f"{name} question {i}", "answer": [f"answer {i}", f"answer {i}", "b"]} for i in range(n)]


def trivia_rows(n: int, name: str) -> list[dict]:
    answer = {
        "aliases": ["Sinclair Lewis", "Harry Sinclair Lewis"],
        "matched_wiki_entity_name": "",
        "normalized_aliases": ["sinclair lewis"],
        "normalized_matched_wiki_entity_name": "",
        "normalized_value": "sinclair lewis",
        "type": "WikipediaEntity",
        "value": "Sinclair Lewis",
    }
    more = {"question_source": "x", "entity_pages": {"title": []}, "search_results": {"title": ["t"]}, "answer": answer}
    return [{"question": f"{name} {i}?", "question_id": f"{name}_{i}", **more} for i in range(n)]


def web_rows(n: int, name: str) -> list[dict]:
    url = "http://www.freebase.com/view/en/"
    return [
        {"url": f"{url}{name}_{i}", "question": f"{name} question {i}?", "answers": [f"{name} {i}", f"{name} {i}", "c"]}
        for i in range(n)
    ]


def squad_rows(n: int, name: str) -> list[dict]:
    rows = []
    for i in range(n):
        context = f"The capital of {name} number {i // 2} is City {i // 2}."
        answer = f"City {i // 2}"
        answers = {"text": [answer, answer], "answer_start": [context.index(answer)] * 2}
        row = {"id": f"{name}{i}", "title": f"{name}_land", "context": context, "question": f"{name} {i}?"}
        rows.append(row | {"answers": answers})
    return rows


def wiki_rows(n: int) -> list[dict]:
    return [{"id": str(i), "text": f"Passage {i}.", "title": f"T{i}", "embeddings": [0.5] * 4} for i in range(n)]


def save(folder, as_jsonl: bool = False, **splits: list[dict]) -> str:
    folder.mkdir()
    for split, rows in splits.items():
        if as_jsonl:
            write_jsonl(folder / f"{split}.jsonl", *rows)
        else:
            datasets.Dataset.from_list(rows).to_parquet(folder / f"{split}.parquet")
    return str(folder)


@pytest.mark.parametrize("as_jsonl", [False, True])
def test_nq_open(tmp_path, as_jsonl):
    folder = save(tmp_path / "nq", as_jsonl, train=nq_rows(20, "train"), validation=nq_rows(5, "validation"))
    test = load_questions(folder)
    assert [q.id for q in test] == [f"validation-{i}" for i in range(5)]
    assert test[3].query == "validation question 3"
    assert test[3].answers == ("answer 3", "b")
    assert (test[3].gold_passages, test[3].task, test[3].split) == ((), "open", "test")
    assert [q.id for q in load_questions(folder, "dev")] == ["train-18", "train-19"]
    train = load_questions(folder, "train")
    assert [q.id for q in train] == [f"train-{i}" for i in range(18)]
    sample = load_questions(folder, "train", n=6, seed=3)
    assert len(sample) == 6 and set(sample) < set(train)
    assert sample == load_questions(folder, "train", n=6, seed=3) != load_questions(folder, "train", n=6, seed=4)


@pytest.mark.parametrize("as_jsonl", [False, True])
def test_trivia_qa(tmp_path, as_jsonl):
    folder = save(tmp_path / "tqa", as_jsonl, train=trivia_rows(4, "tc"), validation=trivia_rows(2, "qw"))
    questions = load_questions(folder, "test")
    assert [q.id for q in questions] == ["qw_0", "qw_1"]
    assert questions[0].answers == ("Sinclair Lewis", "Harry Sinclair Lewis")


@pytest.mark.parametrize("as_jsonl", [False, True])
def test_web_questions_has_a_test_split_of_its_own(tmp_path, as_jsonl):
    folder = save(tmp_path / "wq", as_jsonl, train=web_rows(20, "train"), test=web_rows(3, "test"))
    test = load_questions(folder, "test")
    assert [(q.id, q.query, q.answers) for q in test] == [
        (f"test-{i}", f"test question {i}?", (f"test {i}", "c")) for i in range(3)
    ]
    assert [q.id for q in load_questions(folder, "dev")] == ["train-18", "train-19"]
    both = save(tmp_path / "both", train=nq_rows(9, "a"), validation=nq_rows(1, "b"), test=nq_rows(2, "hidden"))
    assert [q.query for q in load_questions(both, "test")] == ["b question 0"]  # validation wherever there is one


@pytest.mark.parametrize("as_jsonl", [False, True])
def test_squad_brings_its_own_passages(tmp_path, as_jsonl):
    folder = save(tmp_path / "squad", as_jsonl, train=squad_rows(20, "A"), validation=squad_rows(6, "B"))
    dataset = hub_dataset(folder)
    assert len(dataset.corpus) == 13
    assert [sum(q.split == s for q in dataset.examples) for s in ("train", "dev", "test")] == [18, 2, 6]
    for question in dataset.examples:
        (gold,) = question.gold_passages
        (answer,) = question.answers  # the hub repeats what several annotators agreed on
        assert answer in dataset.corpus[gold].text
        assert dataset.corpus[gold].title in ("A land", "B land")
    write_folder(tmp_path / "out", dataset)
    assert read_folder(tmp_path / "out", dataset.name) == dataset


def test_a_smaller_squad_keeps_the_gold_passages(tmp_path):
    folder = save(tmp_path / "squad", train=squad_rows(40, "A"), validation=squad_rows(20, "B"))
    dataset = hub_dataset(folder, n_questions=3, n_passages=12, seed=1)
    assert len(dataset.corpus) == 12
    assert [sum(q.split == s for q in dataset.examples) for s in ("train", "dev", "test")] == [3, 3, 3]
    assert all(q.gold_passages for q in dataset.examples)
    assert dataset == hub_dataset(folder, n_questions=3, n_passages=12, seed=1)
    order = list(load_corpus(folder))
    assert list(dataset.corpus) == sorted(dataset.corpus, key=order.index)
    with pytest.raises(InputError, match="n_passages is 2, but the questions have"):
        hub_dataset(folder, n_questions=3, n_passages=2)


def test_wiki_dpr_is_a_corpus(tmp_path):
    folder = save(tmp_path / "wiki", train=wiki_rows(2500))
    assert load_corpus(folder, n=2) == {"0": Passage("T0", "Passage 0."), "1": Passage("T1", "Passage 1.")}
    assert len(load_corpus(folder)) == 2500  # more than one batch


def test_questions_and_corpus_are_combined(tmp_path):
    nq = save(tmp_path / "nq", train=nq_rows(10, "train"), validation=nq_rows(5, "validation"))
    wiki = save(tmp_path / "wiki", train=wiki_rows(30))
    squad_folder = save(tmp_path / "squad", train=squad_rows(10, "A"), validation=squad_rows(6, "B"))
    dataset = load_dataset(f"{nq}+{wiki}", n_questions=4, n_passages=20)
    assert len(dataset.corpus) == 20
    assert [sum(q.split == s for q in dataset.examples) for s in ("train", "dev", "test")] == [4, 1, 4]
    assert dataset.name == f"{nq}+{wiki}" and len(dataset.sha256) == 64
    # SQuAD's questions over another corpus: its gold passages are not in there, so none are claimed.
    assert all(q.gold_passages == () for q in load_dataset(f"{squad_folder}+{wiki}").examples)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"question": "?", "answer": ["a"]}, {"question": "", "answer": ["a"]}], "row 1: empty question"),
        ([{"question": "?", "answer": ["a"]}, {"question": None, "answer": ["a"]}], "row 1: no question"),
        ([{"question": "?", "answer": []}], "row 0: no answer"),
        ([{"question": "?", "answer": ["a", " "]}], "row 0: answer holds an empty string"),
        ([{"question": "?", "answer": "a"}], "row 0: answer is 'a', it must be a list of strings"),
        ([{"question": 3, "answer": ["a"]}], "row 0: question is 3"),
        ([{"question": "?", "answers": ["a"]}], "columns question, answers are no known schema"),
        ([{"text": "?"}], "columns text are no known schema (nq_open: question, answer;"),
        ([trivia_rows(1, "x")[0] | {"answer": {"aliases": ["a"], "value": None}}], "row 0: answer is [None, 'a']"),
        ([trivia_rows(1, "x")[0] | {"answer": {"value": "a", "aliases": "b"}}], "row 0: answer is"),
        ([trivia_rows(1, "x")[0] | {"answer": ["a"]}], "row 0: answer is ['a'], it must hold value and aliases"),
        (trivia_rows(1, "x") * 2, "row 1: duplicate id 'x_0'"),
        ([web_rows(1, "x")[0] | {"answers": []}], "row 0: no answers"),
        ([web_rows(1, "x")[0] | {"answers": "a"}], "row 0: answers is 'a', it must be a list of strings"),
        ([squad_rows(1, "x")[0] | {"context": " "}], "row 0: empty context"),
        ([squad_rows(1, "x")[0] | {"answers": {"text": [], "answer_start": []}}], "no question with an answer (1 un"),
        ([squad_rows(1, "x")[0] | {"answers": {"text": None, "answer_start": []}}], "row 0: no text"),
        ([squad_rows(1, "x")[0] | {"answers": ["a"]}], "row 0: answers is ['a'], it must hold text"),
        ([squad_rows(1, "x")[0] | {"answers": {"text": ["a"], "answer_start": [1, 2]}}], "1 texts but 2 starts"),
        ([squad_rows(1, "x")[0] | {"answers": {"text": ["a"], "answer_start": ["1"]}}], "row 0: answers is"),
    ],
)
def test_a_row_of_the_wrong_schema_is_refused(tmp_path, rows, reason):
    folder = save(tmp_path / "bad", as_jsonl=True, train=rows, validation=rows)
    with pytest.raises(InputError) as caught:
        load_questions(folder, "test")
    assert str(caught.value).startswith(folder) and reason in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"id": "1", "title": "", "text": ""}], "train row 0: empty text"),
        ([{"id": "", "title": "", "text": "a"}], "train row 0: empty id"),
        (wiki_rows(1) * 2, "train row 1: duplicate id '0', first used in"),
        ([{"id": "1", "title": 3, "text": "a"}], "train row 0: title is 3"),
        (nq_rows(1, "x"), "has questions and no passages; name questions and a corpus as questions+corpus"),
    ],
)
def test_a_passage_of_the_wrong_schema_is_refused(tmp_path, rows, reason):
    folder = save(tmp_path / "bad", as_jsonl=True, train=rows)
    with pytest.raises(InputError) as caught:
        load_corpus(folder)
    assert str(caught.value).startswith(folder) and reason in str(caught.value) and "\n" not in str(caught.value)


def test_a_corpus_has_no_questions(tmp_path):
    folder = save(tmp_path / "wiki", train=wiki_rows(3), validation=wiki_rows(3))
    with pytest.raises(InputError, match="has passages and no questions"):
        load_questions(folder)


@pytest.mark.parametrize("damage", ["empty", "junk", "json", "one split"])
def test_a_damaged_folder_is_one_line(tmp_path, damage, complaints):
    folder = tmp_path / "bad"
    if damage == "one split":
        save(folder, train=nq_rows(3, "x"))
    else:
        folder.mkdir()
        if damage == "junk":
            (folder / "train.parquet").write_bytes(b"junk")
            (folder / "validation.parquet").write_bytes(b"junk")
        elif damage == "json":
            (folder / "train.jsonl").write_text('{"question": "?"')
            (folder / "validation.jsonl").write_text('{"question": "?"')
    with pytest.raises(InputError) as caught:
        load_questions(folder, "test")
    assert str(caught.value).startswith(f"{folder}: cannot be read (") and "\n" not in str(caught.value)
    assert complaints == []


def test_code_in_a_folder_is_never_run(tmp_path):
    folder = save(tmp_path / "nq", train=nq_rows(1, "a"), validation=nq_rows(1, "b"))
    (tmp_path / "nq" / "nq.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="scripts are no longer supported"):
        load_questions(folder)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for the hub: `datasets.load_dataset` serves rows from memory; `calls` lists how it was called."""
    served = {
        "google-research-datasets/nq_open": {"train": nq_rows(20, "train"), "validation": nq_rows(5, "validation")},
        "mandarjoshi/trivia_qa": {"train": trivia_rows(20, "tc"), "validation": trivia_rows(5, "qw")},
        "rajpurkar/squad": {"train": squad_rows(20, "A"), "validation": squad_rows(6, "B")},
        "parquet": {"train": wiki_rows(40)},
        "stanfordnlp/web_questions": {"train": web_rows(20, "train"), "test": web_rows(5, "test")},
    }
    calls = []

    def load(path, config=None, *, split, streaming=False, **more):
        calls.append((path, config, split, streaming, more))
        rows = datasets.Dataset.from_list(served[path][split])
        return rows.to_iterable_dataset() if streaming else rows

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    return calls


NQ, TRIVIA, SQUAD, WIKI, WEB = data.HUB_SETS


def test_hub_sets_are_asked_for_correctly(hub):
    assert len(load_questions(NQ, "test", revision="abc")) == 5
    assert len(load_questions(f"{TRIVIA}@v1", "train")) == 18
    assert len(load_corpus(SQUAD)) == 13
    assert len(load_corpus(WIKI, n=7, revision="def")) == 7
    assert len(load_corpus(WIKI)) == 40
    assert len(load_questions(WEB, "test")) == 5
    files = "hf://datasets/facebook/wiki_dpr@{}/data/psgs_w100/no_embeddings/train-*.parquet"
    assert hub == [
        (NQ, None, "validation", False, {"revision": "abc"}),
        (TRIVIA, "unfiltered.nocontext", "train", False, {"revision": "v1"}),
        (SQUAD, "plain_text", "train", False, {"revision": None}),
        (SQUAD, "plain_text", "validation", False, {"revision": None}),
        ("parquet", None, "train", True, {"data_files": files.format("def")}),
        ("parquet", None, "train", True, {"data_files": files.format("main")}),
        (WEB, None, "test", False, {"revision": None}),
    ]


@pytest.mark.parametrize("name", [SQUAD, f"{NQ}+{WIKI}", f"{TRIVIA}@v1+{WIKI}@v2", f"{WEB}+{WIKI}"])
def test_a_hub_set_is_downloaded_once(hub, name):
    first = load_dataset(name, n_questions=4, n_passages=12, seed=1)
    n_calls = len(hub)
    assert load_dataset(name, n_questions=4, n_passages=12, seed=1) == first
    assert len(hub) == n_calls
    assert first.name == name and len(first.corpus) == 12
    assert load_dataset(name, n_questions=4, n_passages=12, seed=2).sha256 != first.sha256
    assert len(hub) == 2 * n_calls


def test_a_question_set_alone_asks_for_a_corpus(hub):
    with pytest.raises(InputError, match=r"nq_open: has questions and no passages; name .* as questions\+corpus"):
        load_dataset(NQ)


def test_an_unreachable_hub_is_one_line(hub, monkeypatch, complaints):
    def unreachable(*args, **kwargs):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s")
        raise ConnectionError("Couldn't reach it\nand a second line")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    for load in (load_questions, load_corpus, load_dataset):
        with pytest.raises(InputError) as caught:
            load(SQUAD)
        message = str(caught.value)
        assert message.startswith(f"cannot reach the hub for {SQUAD} (Couldn't reach it): download it")
        assert "HF_HOME" in message and "local folder" in message and "\n" not in message
    assert complaints == []
    logging.getLogger("huggingface_hub.utils._http").warning("heard again afterwards")
    assert len(complaints) == 1


def test_a_connection_lost_half_way_is_one_line(hub, monkeypatch, tmp_path):
    def break_off():
        yield from wiki_rows(3)
        raise OSError("connection reset")

    rows = datasets.IterableDataset.from_generator(break_off)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: rows)
    with pytest.raises(InputError, match=r"cannot reach the hub for facebook/wiki_dpr \(.*\): download it"):
        load_corpus(WIKI)


@pytest.mark.parametrize("name", [NQ, WIKI])
def test_offline_mode_is_one_line(name, monkeypatch):
    """The library's own answer, not a stand-in's: no network is needed for it to refuse."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=f"cannot reach the hub for {name} "):
        load_questions(name) if name == NQ else load_corpus(name)


def test_unknown_hub_ids_are_refused():
    for load in (load_questions, load_corpus):
        with pytest.raises(InputError, match="neither a folder nor one of the known hub ids, google-research-datasets"):
            load("squad")
    with pytest.raises(InputError, match="split is 'validation'"):
        load_questions(SQUAD, "validation")


def test_content_ids_agree_between_files_and_hub(tmp_path):
    """A context gets the same passage id from the hub's rows and from the SQuAD file."""
    folder = save(tmp_path / "squad", train=squad_rows(2, "A"), validation=squad_rows(2, "B"))
    context = squad_rows(2, "B")[0]["context"]
    content = {"data": [{"title": "B_land", "paragraphs": [{"context": context, "qas": [qa("a", "?", ("City", 0))]}]}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    import_squad(tmp_path / "a.json", tmp_path / "out")
    assert set(read_folder(tmp_path / "out").corpus) < set(load_corpus(folder))


def test_data_sets_are_not_changed_by_use(tmp_path):
    """The lru_cache behind the pieces hands out one object twice: nobody may change it."""
    folder = save(tmp_path / "squad", train=squad_rows(6, "A"), validation=squad_rows(6, "B"))
    first = hub_dataset(folder)
    assert isinstance(first, Dataset) and first == hub_dataset(folder)
    assert dataclasses.replace(first) == first
