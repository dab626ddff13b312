"""SQuADShifts by name: on small files of the same schema, and on the real ones where the cache holds them."""

import dataclasses
import hashlib
import json
from collections import Counter

import pytest

from nbutils import data, paths
from nbutils.data import downloads, squadshifts
from nbutils.errors import InputError
from nbutils.text import word_spans

NAMES = list(squadshifts.FILES)
# What the published files hold: questions and passages; test, dev and train subjects; digest of the data set.
REAL = {
    "squadshifts-wiki": (7_938, 2_728, (24, 6, 18)),
    "squadshifts-reddit": (9_803, 4_191, (1_013, 253, 760)),
    "squadshifts-amazon": (9_885, 4_317, (1_025, 256, 769)),
}


def article(title, texts):
    """An article in SQuAD's form: of each text its number is asked, twice, with two annotators' answers."""
    paragraphs = []
    for number, text in texts:
        start = text.index(f"n{number}")
        answers = [{"text": f"n{number}", "answer_start": start}, {"text": f"n{number} it", "answer_start": start}]
        asked = [{"id": f"{title}-{number}-{i}", "question": f"Which number, {i}?", "answers": answers} for i in "ab"]
        paragraphs.append({"context": text, "qas": asked})
    return {"title": title, "paragraphs": paragraphs}


def short(number):
    return number, f"Here the number n{number} it is."


def long(number, shared=""):
    """About 150 words, so two passages; the number is in the second one, `shared` may be the first."""
    first = shared or " ".join([f"Part_{number}", *["word"] * 73]) + "."
    return number, f"{first} " + " ".join([f"Then n{number} it", *["is"] * 72]) + "."


WIKI = [article(f"The_title_{i}", [short(10 * i), long(10 * i + 1)]) for i in range(15)]
WIKI.append(article("Marxism%E2%80%93Leninism", [short(999)]))
SHARED = " ".join(["Shared", *["words"] * 73]) + "."
REDDIT = [article("Filtered_Reddit_Comments", [*map(short, range(14)), long(20, SHARED), long(21, SHARED), long(22)])]
AMAZON = [article(f"Amazon_Reviews_{5 * i}", [short(10 * i), short(10 * i + 1)]) for i in range(8)]
CONTENTS = dict(zip(NAMES, (WIKI, REDDIT, AMAZON), strict=True))


@pytest.fixture
def small(monkeypatch, cache_folder):
    """Small files of the same schema in place of the published ones; the folder that holds them."""
    folder = cache_folder / "downloads" / "squadshifts"
    folder.mkdir(parents=True)
    digests = {}
    for name, articles in CONTENTS.items():
        content = json.dumps({"version": "1.0", "data": articles}).encode()
        (folder / squadshifts.FILES[name]).write_bytes(content)
        digests[squadshifts.FILES[name]] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(squadshifts, "SOURCE", dataclasses.replace(squadshifts.SOURCE, files=digests))
    monkeypatch.setattr(downloads, "GITHUB", "http://127.0.0.1:9")  # nobody answers
    return folder


@pytest.fixture(scope="module")
def real():
    """Function name -> the real data set; skips the test where its file is not in the cache."""

    def load(name):
        file = squadshifts.FILES[name]
        if not downloads.is_complete(squadshifts.SOURCE, file):
            folder = downloads.folder_of(squadshifts.SOURCE)
            pytest.skip(f"{file} is not in {folder}; `python -m nbutils data show {name}` downloads it")
        return data.load_dataset(name)

    return load


def subjects_by_split(dataset):
    found = {split: {e.subject for e in dataset.examples if e.split == split} for split in ("test", "dev", "train")}
    assert all(found[a].isdisjoint(found[b]) for a, b in (("test", "dev"), ("test", "train"), ("dev", "train")))
    return found


def require_sound(dataset):
    """What holds of each of the sets, small or real."""
    assert all(e.task == "open" and e.field == "" and e.subject and e.gold_passages for e in dataset.examples)
    assert len({e.id for e in dataset.examples}) == len(dataset.examples)
    assert all(len(word_spans(passage.text)) <= 100 for passage in dataset.corpus.values())
    splits_of_passage: dict[str, set] = {}
    for example in dataset.examples:
        for id in example.gold_passages:
            splits_of_passage.setdefault(id, set()).add(example.split)
    assert all(len(splits) == 1 for splits in splits_of_passage.values())
    by_split = {split: [e for e in dataset.examples if e.split == split] for split in ("train", "dev", "test")}
    data.require_held_out(by_split["train"] + by_split["dev"], by_split["test"])
    data.require_held_out(by_split["train"], by_split["dev"])


def test_articles_are_split_by_the_digest_of_their_titles():
    titles = [f"title {i}" for i in range(48)]
    found = squadshifts.splits(titles)
    assert Counter(found.values()) == {"test": 24, "dev": 6, "train": 18}
    assert squadshifts.splits([*reversed(titles), "title 3"]) == found
    # The order of sha256 over lengths and texts, by the standard library.
    parts = {t: b"".join(len(p).to_bytes(8, "big") + p.encode() for p in ("squadshifts", t)) for t in titles}
    ordered = sorted(titles, key=lambda title: hashlib.sha256(parts[title]).hexdigest())
    assert [found[title] for title in ordered] == ["test"] * 24 + ["dev"] * 6 + ["train"] * 18


def test_wikipedia_has_articles_as_subjects(small):
    dataset = data.load_dataset("squadshifts-wiki")
    require_sound(dataset)
    assert dataset.name == "squadshifts-wiki" and len(dataset.examples) == 2 * 31 and len(dataset.corpus) == 16 + 30
    titles = {f"The title {i}" for i in range(15)} | {"Marxism\u2013Leninism"}
    assert {passage.title for passage in dataset.corpus.values()} == titles
    by_split = subjects_by_split(dataset)
    assert [len(by_split[split]) for split in ("test", "dev", "train")] == [8, 2, 6]
    assert set.union(*by_split.values()) == titles
    one = next(e for e in dataset.examples if e.id == "The_title_3-31-b")
    assert (one.question, one.answers, one.subject) == ("Which number, b?", ("n31", "n31 it"), "The title 3")
    assert [dataset.corpus[id].text.split()[:2] for id in one.gold_passages] == [["Then", "n31"]]


def test_reddit_and_amazon_have_texts_as_subjects_and_no_titles(small):
    for name, n_texts, n_passages in (("squadshifts-reddit", 16, 14 + 5), ("squadshifts-amazon", 16, 16)):
        dataset = data.load_dataset(name)
        require_sound(dataset)
        assert {passage.title for passage in dataset.corpus.values()} == {""} and len(dataset.corpus) == n_passages
        by_split = subjects_by_split(dataset)
        assert [len(by_split[split]) for split in ("test", "dev", "train")] == [n_texts // 2, n_texts // 8, 6]
    subject_of = {e.id[25:-2]: e.subject for e in data.load_dataset("squadshifts-reddit").examples}
    assert subject_of["20"] == subject_of["21"]  # two posts with a passage in common
    assert len(set(subject_of.values())) == 16


def test_sizes_are_drawn_by_seed(small):
    name, whole = "squadshifts-wiki", data.load_dataset("squadshifts-wiki")
    drawn = data.load_dataset(name, n_questions=3, n_passages=20, seed=1)
    assert Counter(e.split for e in drawn.examples) == {"train": 3, "dev": 3, "test": 3}
    assert set(drawn.examples) < set(whole.examples) and len(drawn.corpus) == 20
    assert {id for e in drawn.examples for id in e.gold_passages} <= drawn.corpus.keys() < whole.corpus.keys()
    assert data.load_dataset(name, n_questions=3, n_passages=20, seed=1) == drawn
    assert data.load_dataset(name, n_questions=3, n_passages=20, seed=2).sha256 != drawn.sha256
    with pytest.raises(InputError, match="n_passages is 2, but the questions have"):
        data.load_dataset(name, n_questions=3, n_passages=2)


def test_it_is_built_once(small, cache_folder):
    whole = data.load_dataset("squadshifts-amazon")
    for file in small.iterdir():
        file.unlink()
    assert data.load_dataset("squadshifts-amazon", n_countries=3, seed=5) == whole  # nothing is drawn, nothing read
    assert len([p for p in (cache_folder / "datasets").iterdir() if p.is_dir()]) == 1


def test_a_damaged_file_is_never_read(small):
    (small / squadshifts.FILES["squadshifts-reddit"]).write_text('{"data": []}')
    with pytest.raises(InputError, match=r"cannot download http://127.0.0.1:9/.*reddit_v1.0.json \(no connection\)"):
        data.load_dataset("squadshifts-reddit")


def test_without_the_file_the_command_line_says_where_it_belongs(small, capsys, monkeypatch):
    import sys

    import nbutils.__main__ as cli

    (small / squadshifts.FILES["squadshifts-wiki"]).unlink()
    for command in (["data", "show"], ["pilot", "-o", str(small / "page.html"), "--data"]):
        monkeypatch.setattr(sys, "argv", ["nbutils", *command, "squadshifts-wiki"])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        out, err = capsys.readouterr()
        assert (ending.value.code, out) == (2, "")
        assert err.count("\n") == 1 and f"put it into {small} as new_wiki_v1.0.json" in err


def test_the_export_says_where_the_data_come_from():
    from nbutils.record.every_eval_ever import _source_data

    kept = {"sha256": "d" * 64, "n_passages": 9, "n_questions": 30}
    details = _source_data({"data": {"name": "squadshifts-wiki", **kept}, "versions": {}})["additional_details"]
    assert details["source"].endswith("/b7cc4d50af791c36c49417fb94dd739d6a9e7bef/datasets/new_wiki_v1.0.json")
    assert "source" not in _source_data({"data": {"name": "mine", **kept}, "versions": {}})["additional_details"]


@pytest.mark.parametrize("name", NAMES)
def test_the_published_files_give_what_the_data_card_says(real, name):
    dataset = real(name)
    require_sound(dataset)
    n_questions, n_passages, n_subjects = REAL[name]
    assert (len(dataset.examples), len(dataset.corpus)) == (n_questions, n_passages)
    by_split = subjects_by_split(dataset)
    assert tuple(len(by_split[split]) for split in ("test", "dev", "train")) == n_subjects
    counts = Counter(e.split for e in dataset.examples)
    card = (paths.ROOT / "data" / "README.md").read_text(encoding="utf-8")
    sizes = " | ".join(f"{counts[split]:,}" for split in ("train", "dev", "test"))
    assert f"| `{name}` | {sizes} | {n_passages:,} | {sum(n_subjects):,} |" in card
    assert dataset.sha256 in card and squadshifts.digest_of(name) in card
