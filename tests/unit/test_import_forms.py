"""Rows of questions with passages in the forms of the wild: imported, or one line says which keys are wanted."""

import gc
import gzip
import json
import subprocess
import sys

import pytest

from nbutils import __main__ as cli
from nbutils import paths
from nbutils.data import hub_dataset, import_file, read_folder
from nbutils.errors import InputError

BAY = "Marlow Bay is a harbour town. It was founded in 1840 by Ada Quill."
MILL = "The mill stands by the river. Its owner is unknown."
AT = BAY.index("1840")
FLAT = {"id": "a1", "title": "Marlow_Bay", "context": BAY, "question": "When?"}
FLAT |= {"answers": {"text": ["1840"], "answer_start": [AT]}}
EMPTY = FLAT | {"id": "a2", "answers": {"text": [], "answer_start": []}}
QA = {"id": "a1", "question": "When?", "answers": [{"text": "1840", "answer_start": AT}]}
ARTICLE = {"title": "Marlow_Bay", "paragraphs": [{"context": BAY, "qas": [QA]}]}
OWN = {"question": "When?", "answers": ["1840"], "passage": BAY, "title": "Marlow Bay"}
CTX = {"title": "Marlow Bay", "text": BAY, "score": 1000, "passage_id": "1"}
OTHER = {"title": "Mill", "text": MILL}
DPR = {"question": "When?", "answers": ["1840"], "positive_ctxs": [CTX], "negative_ctxs": []}
DPR |= {"hard_negative_ctxs": [OTHER]}
FOUND = {"question": "When?", "answers": ["1840"], "ctxs": [OTHER | {"has_answer": False}, CTX | {"has_answer": True}]}
HOTPOT = {"_id": "h1", "question": "When?", "answer": "1840", "supporting_facts": [["Marlow Bay", 1]]}
HOTPOT |= {"context": [["Marlow Bay", [BAY[:29], BAY[29:]]], ["Mill", [MILL]]]}
COLUMNS = {"title": ["Marlow Bay", "Mill"], "sentences": [[BAY[:29], BAY[29:]], [MILL]]}
HUB_HOTPOT = HOTPOT | {"context": COLUMNS, "supporting_facts": {"title": ["Marlow Bay"], "sent_id": [1]}}
FLASHRAG = {"id": "t0", "question": "When?", "golden_answers": ["1840"], "metadata": {}}
IN_METADATA = {"context": COLUMNS, "supporting_facts": {"title": ["Marlow Bay"], "sent_id": [1]}}
MRQA_QA = {"qid": "m1", "question": "When?", "answers": ["1840"]}
MRQA_QA |= {"detected_answers": [{"text": "1840", "char_spans": [[AT, AT + 3]], "token_spans": [[10, 10]]}]}
MRQA = {"context": BAY, "qas": [MRQA_QA]}
HUB_MRQA = {"qid": "m1", "context": BAY, "question": "When?", "answers": ["1840"]}
HUB_MRQA |= {"detected_answers": {"text": ["1840"], "char_spans": [{"start": [AT], "end": [AT + 3]}]}}
MUSIQUE = {"id": "2hop", "question": "When?", "answer": "1840", "answer_aliases": ["in 1840"], "answerable": True}
MUSIQUE |= {
    "paragraphs": [
        {"idx": 0, "title": "Mill", "paragraph_text": MILL, "is_supporting": False},
        {"idx": 1, "title": "Marlow Bay", "paragraph_text": BAY, "is_supporting": True},
    ]
}
TRIVIA = {"question": "When?", "question_id": "tc_1", "answer": {"value": "1840", "aliases": ["1840", "MDCCCXL"]}}
EVIDENCE = {"entity_pages": {"title": ["Marlow Bay", "Mill"], "wiki_context": [BAY, MILL]}, "search_results": {}}
KILT = {"id": "k1", "input": "When?", "output": [{"answer": "1840", "provenance": [{"title": "Marlow Bay"}]}]}
KILT_TEXT = KILT | {"output": [{"answer": "1840", "provenance": [{"title": "Marlow Bay", "text": BAY}]}]}


def lines(*rows) -> str:
    return "\n".join(map(json.dumps, rows))


FORMS = {
    "flat rows": lines(FLAT),
    "flat rows in data": json.dumps({"version": "0.1.0", "data": [FLAT]}),
    "flat rows, indented": json.dumps({"data": [FLAT]}, indent=4),
    "flat rows, array": json.dumps([FLAT]),
    "SQuAD": json.dumps({"data": [ARTICLE]}),
    "SQuAD, version first": '{"version": "v2.0",\n"data": ' + json.dumps([ARTICLE]) + "}",
    "SQuAD, other keys first": '{"created": "x", "tool": {"data": 1},\n "data": ' + json.dumps([ARTICLE]) + "}",
    "SQuAD, data alone": json.dumps([ARTICLE], indent=1),
    "SQuAD, articles as lines": lines(ARTICLE),
    "SQuAD, answers as columns": json.dumps(
        {"data": [{**ARTICLE, "paragraphs": [{"context": BAY, "qas": [{**QA, "answers": FLAT["answers"]}]}]}]}
    ),
    "SQuAD, without ids": json.dumps({"data": [ARTICLE]}).replace('"id": "a1", ', ""),
    "simpletransformers": json.dumps([{"context": BAY, "qas": [QA]}]),
    "own": lines(OWN),
    "own, array": json.dumps([OWN]),
    "own, indented": json.dumps(OWN, indent=1),
    "own, context": lines({"question": "When?", "answer": "1840", "context": BAY}),
    "DPR": json.dumps([DPR], indent=4),
    "DPR, retrieved": lines(FOUND),
    "HotpotQA": json.dumps([HOTPOT]),
    "HotpotQA of the hub": lines(HUB_HOTPOT),
    "FlashRAG with contexts": lines(FLASHRAG | {"metadata": IN_METADATA}),
    "MRQA": lines({"header": {"dataset": "x", "split": "dev"}}, MRQA),
    "MRQA of the hub": lines(HUB_MRQA),
    "MuSiQue": lines(MUSIQUE),
    "TriviaQA with evidence": lines(TRIVIA | EVIDENCE),
    "KILT with texts": lines(KILT_TEXT),
    "HotpotQA of the hub, as JSON in strings": lines(
        HOTPOT | {key: json.dumps(HOTPOT[key]) for key in ("context", "supporting_facts")}
    ),
    "HotpotQA, a fact of no sentence": json.dumps([HOTPOT | {"supporting_facts": [["Marlow Bay", 9]]}]),
    "contexts": lines({"question": "When?", "answer": "1840", "contexts": [MILL, " ", BAY]}),
    "RAGAS with contexts": lines({"question": "When?", "answer": "x", "ground_truth": "1840", "contexts": [BAY, MILL]}),
    "CSV": f'question,answer,passage,title\nWhen?,1840,"{BAY}",\n\n',
    "CSV, lists and line breaks": '\n"title","question","answers","context"\r\n'
    f'"Marlow\nBay",When?,"[""1840""]","{BAY}"\r\n',
    "TSV": f"question\tanswers\tcontext\nWhen?\t1840\t{BAY}\n",
    "CSV with semicolons": f"question;golden_answers;passage\nWhen?;1840;{BAY}\n",
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_form_with_passages_is_imported(tmp_path, form, packed):
    raw = FORMS[form].encode()
    (tmp_path / "file").write_bytes(gzip.compress(raw) if packed else raw)
    counts = import_file(tmp_path / "file", tmp_path / "out")
    (question,) = read_folder(tmp_path / "out").examples
    corpus = read_folder(tmp_path / "out").corpus
    assert counts["questions"] == 1 and question.query == "When?" and question.answers[0] == "1840"
    assert [corpus[id].text for id in question.gold_passages] == [BAY]
    assert {passage.title for passage in corpus.values()} <= {"Marlow Bay", "Marlow\nBay", "Mill", ""}
    has_others = form.split(",")[0] in ("DPR", "HotpotQA", "HotpotQA of the hub", "MuSiQue", "TriviaQA with evidence")
    assert len(corpus) == (2 if has_others or "contexts" in form else 1)


def test_parquet_is_imported(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([FLAT, EMPTY]), tmp_path / "rows")
    counts = import_file(tmp_path / "rows", tmp_path / "out")
    assert (counts["questions"], counts["unanswerable questions left out"]) == (1, 1)
    (tmp_path / "bad").write_bytes(b"PAR1" + b"\0" * 20)
    with pytest.raises(InputError, match="bad: is parquet and cannot be read"):
        import_file(tmp_path / "bad", tmp_path / "other")


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (lines({"question": "q", "title": "t", "answer": True, "passage": BAY}), "question, title, answer, passage"),
        (lines(KILT), "id, input, output; output has answer, provenance"),
        (lines(FLASHRAG), "id, question, golden_answers, metadata"),
        (lines({"question": "q", "answer": ["a"]}), "question, answer"),
        (json.dumps({"Data": [{"Question": "q", "Answer": {"Value": "a"}}]}), "Question, Answer; Answer has Value"),
        (json.dumps([{"url": "x", "targetValue": "a", "utterance": "q"}]), "url, targetValue, utterance"),
        (lines({"Question": "q", "Answers": ["a"], "Passage": BAY}), "Question, Answers, Passage"),
        (json.dumps({"questions": [{"body": "q"}]}, indent=1), "questions; questions has body"),
        (lines(TRIVIA | {"entity_pages": {"title": [], "wiki_context": []}}), "question, question_id, answer, entity"),
        (json.dumps({"data": [{"story": "s", "questions": [{"input_text": "q"}]}]}), "story, questions"),
    ],
)
def test_a_form_without_passages_is_told_which_keys_are_wanted_and_there(tmp_path, content, keys):
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(InputError) as caught:
        import_file(tmp_path / "file.json", tmp_path / "out")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'file.json'}: ") and "\n" not in message and len(message) < 600
    assert "wanted are question, answers and passage" in message and f"its rows have {keys}" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('a,b\n1,"x"\n', "file, line 1: not JSON (Expecting value, column 1)"),
        (json.dumps(OWN, indent=1) * 2, "line 8: a second JSON document; write one JSON object per line"),
        ('{"data": [{"title": "x", "par', "line 1: not JSON (Unterminated string starting at, column 26); is the"),
        (lines(OWN, OWN)[:-3], "line 2: not JSON"),
        ("3", "no JSON objects, and no list of them"),
        (json.dumps(OWN).encode("utf-16"), "file: not UTF-8 (byte 1 is 0xff: UTF-16 text)"),
        (b"PK\x03\x04rest", "file: not UTF-8 (byte 1 is 0x50: a zip archive or an Excel file)"),
        (gzip.compress(b"PAR1 rest", mtime=0), "file: unpacked, is parquet (byte 1 is 0x50)"),
        (gzip.compress(b"\0" * 257 + b"ustar", mtime=0), "file: is a tar archive, compressed by gzip (byte 1 is 0x1f)"),
        (gzip.compress(json.dumps(OWN).encode(), mtime=0)[:-12], "file: is compressed by gzip and broken"),
        (gzip.compress(b'{"question": "caf\xe9"}', mtime=0), "file, line 1: not UTF-8 (byte 18 of the file)"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "file: is compressed by gzip twice"),
        (b"\0" * 257 + b"ustar", "file: is a tar archive; unpack it"),
        (b"\xff\xff\xff\xff\x10\0\0\0", "file: not UTF-8 (byte 1 is 0xff: an Arrow file)"),
        (b"\x80\x02]q\0.", "file: not UTF-8 (byte 1 is 0x80: a Python pickle)"),
        ("question,answer,passage\nWhen?,1840\n", "file, line 2: 2 cells, the header has 3; correct it"),
        (f"question,answers,passage\n?,['1840'],{MILL}\n", "line 2: answers \"['1840']\" is no list in JSON; write"),
        ('question,answer,passage\nWhen?,1840,"x\n', "file, line 2: no row of cells (unexpected end of data); correct"),
        ("question\tanswer\nWhen?\t1840\n", "its rows have question, answer"),
        ("question,answer,passage\n", "file: holds no question with an answer"),
        (
            lines({"question": "When?", "answer": 1840, "passage": BAY}),
            "file, line 1: answers is 1840, it must be a list of",
        ),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path, content, reason):
    (tmp_path / "file").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        import_file(tmp_path / "file", tmp_path / "out")
    assert str(caught.value).startswith(str(tmp_path / "file")) and reason in str(caught.value)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"answers": []},
        {"answers": None},
        {"answers": {"text": [], "answer_start": []}},
        {"answers": [{"text": "", "answer_start": -1}]},
        {"answers": [], "is_impossible": False},
        {"is_impossible": True},
        {"is_impossible": "true"},
        {"answers": {"text": [""], "answer_start": [-1]}},
        {"answers": {"text": ["CANNOTANSWER"], "answer_start": [66]}},
        {"answers": [{"text": "CANNOTANSWER", "answer_start": 66}]},
    ],
)
def test_unanswerable_questions_are_counted(tmp_path, change):
    second = QA | {"id": "a2", "question": "Who is the mayor?"} | change
    article = {"title": "t", "paragraphs": [{"context": BAY, "qas": [QA, second]}]}
    (tmp_path / "squad.json").write_text(json.dumps({"data": [article]}))
    (tmp_path / "flat.jsonl").write_text(lines(FLAT, FLAT | second))
    for name in ("squad.json", "flat.jsonl"):
        counts = import_file(tmp_path / name, tmp_path / f"{name} out")
        assert (counts["questions"], counts["unanswerable questions left out"]) == (1, 1)


def test_unanswerable_rows_of_a_hub_folder_are_counted(tmp_path):
    rows = [(EMPTY if i % 3 == 0 else FLAT) | {"id": f"q{i}"} for i in range(30)]
    (tmp_path / "train.jsonl").write_text(lines(*rows[:20]))
    (tmp_path / "validation.jsonl").write_text(lines(*rows[20:]))
    dataset = hub_dataset(str(tmp_path))
    assert [sum(q.split == split for q in dataset.examples) for split in ("train", "dev", "test")] == [12, 1, 7]
    assert dataset.left_out == {"unanswerable questions left out": 10}


@pytest.mark.parametrize(
    ("splits", "counts"),
    [
        ({"train": 20, "test": 10}, [18, 2, 10]),
        ({"train": 20}, [18, 2, 0]),
        ({"validation": 10}, [0, 0, 10]),
        ({"test": 10}, [0, 0, 10]),
        ({"train": 20, "validation": 10, "test": 5}, [18, 2, 10]),
    ],
)
def test_a_hub_folder_may_have_any_of_the_splits(tmp_path, splits, counts):
    for split, n in splits.items():
        rows = [FLAT | {"id": f"{split}{i}", "context": f"{BAY} {split} {i}."} for i in range(n)]
        (tmp_path / f"{split}.jsonl").write_text(lines(*rows))
    dataset = hub_dataset(str(tmp_path))
    assert [sum(q.split == split for q in dataset.examples) for split in ("train", "dev", "test")] == counts
    assert len(dataset.corpus) == sum(splits.values())


def test_equal_texts_under_two_titles_are_two_passages(tmp_path):
    text = "The warranty is two years. Register online."
    rows = [
        {"question": f"Warranty of the {name}?", "answers": ["two years"], "passage": text, "title": f"Model {name}"}
        for name in ("X100", "X200", "X200")
    ]
    (tmp_path / "faq.jsonl").write_text(lines(*rows))
    counts = import_file(tmp_path / "faq.jsonl", tmp_path / "out")
    dataset = read_folder(tmp_path / "out")
    assert (counts["passages"], counts["duplicate passages merged"]) == (2, 1)
    gold = [dataset.corpus[q.gold_passages[0]].title for q in dataset.examples]
    assert gold == ["Model X100", "Model X200", "Model X200"] == [q.subject for q in dataset.examples]


def contract(number: int, state: str, person: str) -> list[dict]:
    return [
        {
            "question": "What is the governing law?",
            "answers": [state],
            "passage": f"Contract {number}. The governing law is that of {state}.",
        },
        {"question": f"Who signs {number}?", "answers": [person], "passage": f"Contract {number}. Signed by {person}."},
    ]


def test_two_splits_may_ask_the_same(tmp_path):
    for number, (name, state, person) in enumerate([("train", "Utah", "Ann"), ("test", "Ohio", "Bob")]):
        (tmp_path / f"{name}.jsonl").write_text(lines(*contract(number, state, person)))
    (tmp_path / "more.jsonl").write_text(lines(*contract(3, "Iowa", "Cem")))
    import_file(tmp_path / "train.jsonl", tmp_path / "out", "train")
    counts = import_file(tmp_path / "test.jsonl", tmp_path / "out", "test")
    assert counts["questions with a text that another split has too"] == 1
    dataset = read_folder(tmp_path / "out")
    assert sorted((q.split, q.answers[0]) for q in dataset.examples) == [
        ("test", "Bob"), ("test", "Ohio"), ("train", "Ann"), ("train", "Utah"),
    ]  # fmt: skip
    # A second file of one split that asks the same of another contract is added, once.
    for _ in range(2):
        import_file(tmp_path / "more.jsonl", tmp_path / "out", "train")
        dataset = read_folder(tmp_path / "out")
        answers = sorted(q.answers[0] for q in dataset.examples if q.split == "train")
        assert answers == ["Ann", "Cem", "Iowa", "Utah"] and len(dataset.corpus) == 6
    for question in dataset.examples:
        assert question.answers[0] in dataset.corpus[question.gold_passages[0]].text


def test_a_corrected_answer_replaces_the_earlier_one(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines(OWN | {"answers": ["1841"]}))
    import_file(tmp_path / "a.jsonl", tmp_path / "out")
    (tmp_path / "a.jsonl").write_text(lines(OWN))
    import_file(tmp_path / "a.jsonl", tmp_path / "out")
    assert [q.answers for q in read_folder(tmp_path / "out").examples] == [("1840",)]


def test_bad_rows_of_cells_are_left_out_on_demand(tmp_path):
    (tmp_path / "a.csv").write_text(f"question,answer,passage\nWhen?,1840\nWho?,,{BAY}\nWhere?,the river,{MILL}\n")
    bad: list[str] = []
    import_file(tmp_path / "a.csv", tmp_path / "out", bad=bad)
    assert [q.query for q in read_folder(tmp_path / "out").examples] == ["Where?"]
    assert [message.split(": ")[0] for message in bad] == [f"{tmp_path}/a.csv, line {n}" for n in (2, 3)]


def test_a_title_that_cannot_be_seen_is_none(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines(OWN | {"title": "\u200b"}))
    import_file(tmp_path / "a.jsonl", tmp_path / "out")
    assert [passage.title for passage in read_folder(tmp_path / "out").corpus.values()] == [""]


@pytest.mark.parametrize("name", ["Test.jsonl", "TEST-00000-of-00001.jsonl", "Validation/rows.jsonl"])
def test_splits_named_in_capitals_are_no_part_of_train(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    for file in ("train.jsonl", name):
        (tmp_path / file).write_text(lines(FLAT | {"context": f"{BAY} {file}"}))
    with pytest.raises(InputError, match=f"{name}: would be taken for one of train, splits are known by small letters"):
        hub_dataset(str(tmp_path))


def test_a_hub_folder_needs_no_home(tmp_path):
    (tmp_path / "train.jsonl").write_text(lines(*(FLAT | {"id": f"q{i}"} for i in range(20))))
    code = f"from nbutils.data import hub_dataset; print(len(hub_dataset({str(tmp_path)!r}).examples))"
    environment = {"HOME": "/proc/none", "HF_HOME": "/proc/none", "PYTHONPATH": str(paths.ROOT), "PATH": ""}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.stdout.strip() == "20", ran.stderr


BAD_LINES = [
    lines(OWN | {"id": "good"}).encode(),
    b"{nonsense",
    b'{"question": "caf\xe9"}',
    lines(OWN | {"answers": ["\u200b"]}).encode(),
    lines(OWN | {"id": "good"}).encode(),
    lines(OWN | {"id": "taken", "answers": 3}).encode(),
    b"[1]",
    lines(OWN | {"id": "taken", "question": "Who?", "answers": ["Ada Quill"]}).encode(),
]


@pytest.mark.parametrize("first_is_bad", [False, True])
def test_bad_lines_are_left_out_on_demand(tmp_path, first_is_bad):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([lines({"x": 1}).encode()] * first_is_bad + BAD_LINES))
    with pytest.raises(InputError):
        import_file(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    bad: list[str] = []
    counts = import_file(path, tmp_path / "out", bad=bad)
    assert counts["bad records left out"] == len(bad) == 6 + first_is_bad
    numbers = [int(message.removeprefix(f"{path}, line ").split(":")[0]) for message in bad]
    assert sorted(numbers) == [*[1] * first_is_bad, *(n + first_is_bad for n in (2, 3, 4, 5, 6, 7))]
    assert [q.id for q in read_folder(tmp_path / "out").examples] == ["good", "taken"]


def test_bad_parts_of_a_document_are_left_out_on_demand(tmp_path):
    """A paragraph without a context, a question without text: the rest of the article is kept."""
    paragraphs = [
        {"context": BAY, "qas": [QA, QA | {"id": "a2", "question": ""}, QA, QA | {"id": "a3", "question": "In?"}]},
        {"qas": [QA | {"id": "a4"}]},
        {"context": MILL, "qas": [{"id": "a5", "question": "By what?", "answers": [{"text": "the river"}]}]},
    ]
    (tmp_path / "squad.json").write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}, indent=1))
    bad: list[str] = []
    import_file(tmp_path / "squad.json", tmp_path / "out", bad=bad)
    assert [q.id for q in read_folder(tmp_path / "out").examples] == ["a1", "a3", "a5"]
    assert [message.split(": ")[1] for message in bad] == [
        "data[0].paragraphs[0].qas[1]",
        "data[0].paragraphs[0].qas[2]",
        "data[0].paragraphs[1]",
    ]


def test_the_command_lists_what_it_leaves_out(tmp_path, monkeypatch, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(BAD_LINES))
    arguments = ["nbutils", "data", "import", str(path), str(tmp_path / "out")]
    for more, status in (([], 2), (["--skip-bad"], 0)):
        monkeypatch.setattr("sys.argv", arguments + more)
        with pytest.raises(SystemExit) as ending:
            cli.main()
        assert (ending.value.code or 0) == status
    out, err = capsys.readouterr()
    assert "bad records left out 6" in out
    assert sum(line.startswith(f"left out: {path}, line ") for line in err.splitlines()) == 6


def test_a_folder_is_copied_in_the_one_form(tmp_path):
    (tmp_path / "beir").mkdir()
    (tmp_path / "beir" / "corpus.json").write_text(json.dumps([{"_id": "d", "title": "T", "text": "x"}]))
    (tmp_path / "beir" / "queries.jsonl").write_text(
        lines({"_id": "q", "text": "?", "answers": ["x"]}, {"_id": "r", "text": "?"})
    )
    (tmp_path / "beir" / "dev.csv").write_text("query-id,corpus-id,score\nq,d,1\n")
    with pytest.raises(InputError, match=r"queries\.jsonl, line 2: no answers"):
        import_file(tmp_path / "beir", tmp_path / "out")
    assert import_file(tmp_path / "beir", tmp_path / "out", bad=[])["bad records left out"] == 1
    assert (tmp_path / "out" / "qrels" / "dev.tsv").read_text() == "query-id\tcorpus-id\tscore\nq\td\t1\n"
    with pytest.raises(InputError, match="holds a data set already"):
        import_file(tmp_path / "beir", tmp_path / "out", bad=[])
    with pytest.raises(InputError, match="leave out split 'dev'"):
        import_file(tmp_path / "beir", tmp_path / "new", split="dev")


def test_the_search_for_cycles_is_on_again_after_an_import_and_after_a_refusal(tmp_path):
    (tmp_path / "file.jsonl").write_text(lines(OWN))
    (tmp_path / "bad.jsonl").write_text("{")
    import_file(tmp_path / "file.jsonl", tmp_path / "out")
    assert gc.isenabled()
    with pytest.raises(InputError):
        import_file(tmp_path / "bad.jsonl", tmp_path / "other")
    assert gc.isenabled()
