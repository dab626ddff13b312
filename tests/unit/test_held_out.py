"""Test questions are about what was not trained on: planted leaks are found, in the Factbook and in one's own data."""

import json
from dataclasses import replace

import pytest

from nbutils import data, pilot
from nbutils.data import Passage, question_example, require_held_out
from nbutils.errors import InputError


def refused(train, test):
    with pytest.raises(InputError) as caught:
        require_held_out(train, test)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def sides(factbook_of_12):
    """Training and test examples of the Factbook: questions, claims and clues."""
    found = {split: [e for e in factbook_of_12.examples if e.split == split] for split in ("train", "test")}
    assert all({"verification", "clue", "fact"} <= {e.task for e in side} for side in found.values())
    return found["train"], found["test"]


def test_the_factbooks_splits_share_no_country(sides):
    train, test = sides
    require_held_out(train, test)
    require_held_out([], test)
    require_held_out(train, [])


def test_planted_leak_questions_about_a_trained_country(sides):
    """Other facts of the country, in other words and by other ids: it is about the same all the same."""
    train, test = sides
    country = train[0].subject
    kept = [e for e in train if not (e.subject == country and e.task == "clue")]
    leaked = [replace(e, id=f"again-{e.id}") for e in train if e.subject == country and e.task == "clue"]
    message = refused(kept, [*test, *leaked])
    assert message == (
        f"the subject {country!r} is one of a training and of a test example (1 subject is in both): leave it out of "
        "one of them, or split by subject"
    )
    countries = list(dict.fromkeys(e.subject for e in test))
    assert len(countries) > 1
    message = refused([*train, *test], test)
    assert f"the subject {countries[0]!r} is" in message and f"({len(countries)} subjects are in both)" in message
    spelled = [replace(e, subject=f" {e.subject.upper()}") for e in leaked]
    assert f"the subject {' ' + country.upper()!r}" in refused(kept, spelled)


def test_planted_leak_an_example_on_both_sides(sides):
    train, test = sides
    moved = replace(train[0], subject="Atlantis", query="?", question="?")  # the same id, whatever else it says
    assert f"the id {moved.id!r} is" in refused(train, [*test, moved])


@pytest.fixture
def own(tmp_path):
    """Function (questions, titles) -> the examples of a folder of one's own, as they are read: (train, test)."""

    def own(questions, titles=("", "")):
        folder = tmp_path / "own"
        (folder / "qrels").mkdir(parents=True, exist_ok=True)
        passages = [{"_id": f"p{i}", "title": title, "text": f"Passage {i}."} for i, title in enumerate(titles)]
        queries = [{"_id": f"q{i}", "text": text, "answers": ["x"]} for i, (text, _, _) in enumerate(questions)]
        for name, records in (("corpus", passages), ("queries", queries)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
        for split in ("train", "test"):
            rows = [f"q{i}\t{gold}\t1\n" for i, (_, gold, of) in enumerate(questions) if of == split]
            (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
        examples = data.read_folder(folder).examples
        return [e for e in examples if e.split == "train"], [e for e in examples if e.split == "test"]

    return own


def test_without_subjects_a_shared_passage_is_no_leak_but_a_shared_question_is(own):
    train, test = own([("What is warm?", "p0", "train"), ("What is cold?", "p0", "test")])
    assert [e.subject for e in (*train, *test)] == ["", ""]
    require_held_out(train, test)
    train, test = own([("What is  Warm?", "p0", "train"), ("what is warm? ", "p1", "test")])
    assert refused(train, test) == (
        "the text 'what is warm? ' is one of a training and of a test example (1 text is in both): leave it out of one "
        "of them, or split by subject"
    )


def test_titles_are_subjects(own):
    questions = [("What is warm?", "p0", "train"), ("What is cold?", "p1", "test")]
    require_held_out(*own(questions, ("Ovens", "Fridges")))
    assert "the subject 'Ovens' is" in refused(*own(questions, ("Ovens", "Ovens")))


def test_the_same_words_about_two_subjects_are_two_questions(own):
    questions = [("Who wrote it?", "p0", "train"), ("Who wrote it?", "p1", "test")]
    require_held_out(*own(questions, ("Emma", "Ulysses")))
    for titles in (("", "Ulysses"), ("Emma", "")):  # of one it is not known what it is about
        assert "the text 'Who wrote it?' is" in refused(*own(questions, titles))


def test_a_statement_is_compared_by_what_is_searched():
    (statement,) = data.statement_examples({"p": Passage("", "The stove in the kitchen is always warm.")}, 1.0, 0)
    other = replace(statement, id="other", query=f"{statement.query} Indeed")
    require_held_out([statement], [other])
    assert "the text" in refused([statement], [replace(other, query=statement.query)])


# --- the pilot --------------------------------------------------------------------------------------------------------


def test_a_pilot_puts_one_text_on_one_side():
    questions = [question_example(f"q{i}", f"Who wrote {i // 2}?", ("x",), (f"p{i}",)) for i in range(40)]
    for seed in range(3):
        test, train, notes = pilot.split_questions(questions, 100, 100, seed)
        assert len(notes) == 1 and not {q.query for q in test} & {q.query for q in train}
        require_held_out(train, test)


def test_planted_leak_a_pilot_says_what_its_splits_share():
    own = [question_example(f"q{i}", f"{i // 2}?", ("x",), (), split=("train", "test")[i % 2]) for i in range(20)]
    test, train, notes = pilot.split_questions(own, 100, 100, 0)
    assert notes == [
        "Not held out: the text '0?' is one of a training and of a test example (10 texts are in both): leave it out "
        "of one of them, or split by subject."
    ]
    assert {q.split for q in train} == {"train"} and {q.split for q in test} == {"test"}  # and goes on
    about_one = [question_example(f"q{i}", f"{i}?", ("x",), (f"p{i}",), subject="Manual") for i in range(20)]
    assert "Not held out: the subject 'Manual' is" in pilot.split_questions(about_one, 100, 100, 0)[2][1]
