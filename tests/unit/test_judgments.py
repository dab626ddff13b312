"""Relevance judgments in the forms in which people keep them: read, or refused by name, never passed over."""

import gzip
import json

import pytest

from nbutils.data import load_dataset, read_folder
from nbutils.errors import InputError

HEADER = "query-id\tcorpus-id\tscore\n"
TSV = HEADER + "q0\td0\t1\nq1\td1\t0\n"
ROWS = [{"query-id": "q0", "corpus-id": "d0", "score": 1}, {"query-id": "q1", "corpus-id": "d1", "score": 0}]


@pytest.fixture
def folder(tmp_path):
    """Four passages, four questions without judgments, in the test split."""
    passages = [{"_id": f"d{i}", "title": f"T{i}", "text": f"Text {i}."} for i in range(4)]
    queries = [{"_id": f"q{i}", "text": f"Question {i}?", "answers": [str(i)]} for i in range(4)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(p) + "\n" for p in passages))
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    return tmp_path


def put(folder, name: str, content: str | bytes | list) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, list):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), path)
    else:
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)


def jsonl(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "split"),
    [
        ("qrels/test.tsv", TSV, "test"),
        ("qrels/train.jsonl", jsonl(ROWS), "train"),
        ("qrels/dev.ndjson", jsonl(ROWS), "dev"),
        ("qrels/dev.json", json.dumps(ROWS, indent=1), "dev"),
        ("qrels/train.csv", TSV.replace("\t", ","), "train"),
        ("qrels/train.csv", '"query-id","corpus-id","score"\n"q0","d0","1"\n', "train"),
        ("qrels/train.txt", TSV, "train"),
        ("qrels/train.tsv.gz", TSV, "train"),
        ("qrels/train.jsonl.gz", jsonl(ROWS), "train"),
        ("qrels/train.parquet", ROWS, "train"),
        ("qrels/train-00000-of-00001.parquet", ROWS, "train"),
        ("qrels/train-00000-of-00001-0a1b2c3d4e5f6789.parquet", ROWS, "train"),
        ("Qrels/train.tsv", TSV, "train"),
        ("QRELS/Train.TSV", TSV, "train"),
        ("qrels.tsv", TSV, "test"),
        ("qrels.csv.gz", TSV.replace("\t", ","), "test"),
        ("train.tsv", TSV, "train"),
        ("train.jsonl", jsonl(ROWS), "train"),
        ("qrels_train.tsv", TSV, "train"),
        ("train.qrels.tsv", TSV, "train"),
        ("train.parquet", ROWS, "train"),
        ("qrels/train.tsv", "query_id\tcorpus_id\tscore\nq0\td0\t1\n", "train"),
        ("qrels/train.tsv", "qid\tdocid\trelevance\tsource\nq0\td0\t1.0\tx\n", "train"),
        ("qrels/train.tsv", "query-id\tcorpus-id\tscore \nq0\td0\t10000000000\n", "train"),
        ("qrels/train.tsv", "corpus-id\tquery-id\tscore\nd0\tq0\t2\n", "train"),
        ("qrels/train.tsv", "q0 0 d0 1\nq1 0 d1 0\n", "train"),
        ("qrels/train.txt", "q0\tQ0\td0\t1\n", "train"),
    ],
)
def test_each_form_is_read(folder, name, content, split):
    put(folder, name, content)
    found = {e.id: (e.split, e.gold_passages) for e in load_dataset(str(folder)).examples}
    assert found["q0"] == (split, ("d0",))
    assert found["q1"][1] == () and found["q2"] == ("test", ())


def test_parts_of_one_split_belong_together(folder):
    put(folder, "qrels/train-00000-of-00002.parquet", ROWS[:1])
    put(folder, "qrels/train-00001-of-00002.parquet", [{"query-id": "q2", "corpus-id": "d3", "score": 1}])
    found = {e.id: e.gold_passages for e in read_folder(folder).examples if e.split == "train"}
    assert found == {"q0": ("d0",), "q2": ("d3",)}


def test_one_split_in_two_forms(folder):
    put(folder, "qrels/test.tsv", TSV)
    put(folder, "qrels/test.jsonl", jsonl(ROWS))  # as on the hub: both say the same
    assert read_folder(folder).examples[0].gold_passages == ("d0",)
    put(folder, "qrels/test.jsonl", jsonl(ROWS[:1]))
    with pytest.raises(InputError, match=r"test.tsv: says something else than test.jsonl; keep one"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("qrels/validation.jsonl", jsonl(ROWS), "validation.jsonl: is no split; rename it"),
        ("qrels/val.parquet", ROWS, "val.parquet: is no split"),
        ("qrels/test.xlsx", b"PK", "test.xlsx: is no split"),
        ("qrels", TSV, "qrels: is no split's judgments"),
        ("validation.tsv", TSV, "validation.tsv: is no split's judgments"),
        ("my_qrels.tsv", TSV, "my_qrels.tsv: is no split's judgments"),
        ("test.tsv.xz", b"\xfd7zXZ", "test.tsv.xz: is no split's judgments"),
        ("dev.xlsx", b"PK", "dev.xlsx: is no split's judgments"),
        ("qrels.zip", b"PK", "qrels.zip: is no split's judgments"),
        ("relevance.tsv", TSV, "relevance.tsv: is no split's judgments"),
        ("judgements/test.tsv", TSV, "judgements: is no split's judgments"),
        ("qrels_2/test.tsv", TSV, "qrels_2: is no split's judgments"),
        ("test/qrels.tsv", TSV, "test/qrels.tsv: is no split's judgments"),
        ("labels.csv", TSV.replace("\t", ","), "labels.csv: is no split's judgments"),  # by its columns
        ("pairs.jsonl", jsonl(ROWS), "pairs.jsonl: is no split's judgments"),
        ("qrels/test.tsv", "q0\td0\t1\n", "test.tsv, line 1: the first line must be query-id"),
        ("qrels/test.tsv", TSV.encode("utf-16"), "test.tsv: not UTF-8 (byte 1 is 0xff: UTF-16 text)"),
        ("test.jsonl", '{"question": "?"}\n', "test.jsonl, line 1: no judgment; it must have query-id, corpus-id"),
        ("qrels/test.jsonl", jsonl([ROWS[0] | {"score": 0.5}]), "test.jsonl, line 1: score 0.5 is not an integer"),
        ("qrels/test.jsonl", jsonl([ROWS[0] | {"score": True}]), "test.jsonl, line 1: score True is not an integer"),
        ("qrels/test.jsonl", jsonl([ROWS[0] | {"corpus-id": "d9"}]), "test.jsonl, line 1: unknown passage 'd9'"),
        ("qrels/test.parquet", [ROWS[0] | {"query-id": "q9"}], "test.parquet, row 0: unknown query 'q9'"),
        ("qrels/test.parquet", b"PAR1 and no more", "test.parquet: is parquet and cannot be read"),
        (
            "qrels/test.tsv",
            gzip.compress(TSV.encode(), mtime=0)[:40],
            "test.tsv: is compressed by gzip and broken after byte",
        ),
        ("qrels/test.csv", "query-id,corpus-id,score\nq0,d0\n", "test.csv, line 2: 2 columns, must be 3"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(folder, name, content, reason):
    put(folder, name, content)
    with pytest.raises(InputError) as caught:
        load_dataset(str(folder))
    assert str(caught.value).startswith(str(folder)) and reason in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_other_files_are_left_alone(folder):
    put(folder, "qrels/README.md", "x")
    put(folder, "qrels/.DS_Store", b"x")
    put(folder, "notes.txt", "x")
    put(folder, "LICENSE", "x")
    put(folder, "train.py", "x")
    put(folder, "words.csv", "word,count\nx,1\n")
    put(folder, "queries.backup.jsonl", jsonl([{"_id": "x"}]))
    put(folder, "raw/pages.jsonl", "x")
    assert len(read_folder(folder).examples) == 4


@pytest.mark.parametrize("form", ["jsonl.gz", "json", "json.gz", "parquet"])
def test_corpus_and_queries_come_in_other_forms(folder, form):
    before = read_folder(folder)
    for name in ("corpus", "queries"):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        (folder / f"{name}.jsonl").unlink()
        content = rows if form == "parquet" else jsonl(rows) if form == "jsonl.gz" else json.dumps(rows)
        put(folder, f"{name}.{form}", content)
    assert load_dataset(str(folder)) == before
    put(folder, "corpus.ndjson", "")
    with pytest.raises(InputError, match="is there as well; keep one of the two"):
        load_dataset(str(folder))


@pytest.mark.parametrize("other", ["corpus.tsv", "corpus.jsonl.bz2", "Corpus-00000-of-00002.parquet"])
def test_a_corpus_that_cannot_be_read_is_named(folder, other):
    (folder / "corpus.jsonl").unlink()
    put(folder, other, "x")
    with pytest.raises(InputError, match=f"{other}: is no form of corpus that is read; make it corpus.jsonl"):
        load_dataset(str(folder))


@pytest.mark.parametrize("text", ["", None, " ", "\u200b"])
def test_a_title_alone_is_a_passage(folder, text):
    with open(folder / "corpus.jsonl", "a") as file:
        file.write(json.dumps({"_id": "d9", "title": "Only a title", "text": text}))
    passage = read_folder(folder).corpus["d9"]
    assert (passage.title, passage.text) == ("Only a title", "")
    with open(folder / "corpus.jsonl", "a") as file:
        file.write("\n" + json.dumps({"_id": "d10", "title": "\ufeff", "text": text}))
    with pytest.raises(InputError, match=r"corpus.jsonl, line 6: (no|empty) text"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("name", "record", "reason"),
    [
        (
            "corpus.jsonl",
            {"_id": "d9", "title": "word " * 101, "text": "x"},
            "line 5: title has 101 words (word word word word ...) of record 'd9', at most",
        ),
        ("queries.jsonl", {"_id": "q9", "text": "word " * 1001, "answers": ["x"]}, "line 5: text has 1,001 words"),
        ("queries.jsonl", {"_id": "q9", "text": "?", "answers": ["\u200b"]}, "line 5: answers holds an empty string"),
        ("queries.jsonl", {"_id": "q9", "text": "\u00ad", "answers": ["x"]}, "line 5: empty text"),
        ("queries.jsonl", {"id": "q9", "text": "?", "answers": ["x"]}, "no _id; give every record a unique one (its k"),
    ],
)
def test_records_that_would_fail_late_are_refused_with_their_line(folder, name, record, reason):
    with open(folder / name, "a") as file:
        file.write(json.dumps(record))
    with pytest.raises(InputError) as caught:
        read_folder(folder)
    assert str(caught.value).startswith(str(folder / name)) and reason in str(caught.value)


def test_bad_records_are_left_out_on_demand(folder):
    """Of each kind of fault one: the rest is read, and each fault is said."""
    with open(folder / "corpus.jsonl", "a") as file:
        file.write(json.dumps({"_id": "d0", "text": "once more"}) + "\n{nonsense\n")
        file.write(json.dumps({"_id": "d5", "text": ""}) + "\n" + json.dumps({"_id": "d5", "text": "good"}))
    with open(folder / "queries.jsonl", "ab") as file:
        file.write(b'{"_id": "q5", "text": "no answers"}\n{"_id": "q6", "text": "caf\xe9", "answers": ["x"]}\n')
    put(folder, "qrels/test.tsv", TSV + "q9\td0\t1\nq0\td9\t1\nq0\td0\t1\nq2\td2\tmany\nq3\td5\t1\n")
    with pytest.raises(InputError):
        read_folder(folder)
    bad: list[str] = []
    dataset = read_folder(folder, bad=bad)
    assert list(dataset.corpus) == ["d0", "d1", "d2", "d3", "d5"] and dataset.corpus["d0"].text == "Text 0."
    assert {e.id: e.gold_passages for e in dataset.examples} == {"q0": ("d0",), "q1": (), "q2": (), "q3": ("d5",)}
    places = [message.removeprefix(f"{folder}/").split(": ")[0] for message in bad]
    assert sorted(places) == [
        *(f"corpus.jsonl, line {line}" for line in (5, 6, 7)),
        *(f"qrels/test.tsv, line {line}" for line in (4, 5, 6, 7)),
        *(f"queries.jsonl, line {line}" for line in (5, 6)),
    ]
