"""Which questions a pilot trains on: never those of the split dev."""

import pytest

from nbutils import generation, pilot, retrieval
from nbutils.data import Passage, question_example, statement_examples
from nbutils.errors import InputError


def of(**sizes: int):
    return [
        question_example(f"{split}{i}", f"{split} {i}?", ("y",), (f"{split} {i}",), split=split)
        for split, n in sizes.items()
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("sizes", "tested", "n_train", "note"),
    [
        ({"train": 20, "dev": 10}, {"dev"}, 20, "(0 test, 10 dev, 20 training): those of the split dev were tested"),
        ({"train": 20, "dev": 10, "test": 3}, {"dev"}, 20, "(3 test, 10 dev, 20 training)"),
        ({"train": 20, "dev": 10, "test": 9}, {"test"}, 20, ""),
        ({"train": 20, "dev": 3}, {"train"}, 10, "(0 test, 3 dev, 20 training): half of all"),
        ({"dev": 10, "test": 20}, {"test"}, 10, "those of dev were left out"),
        ({"test": 20}, {"test"}, 10, "(20 test, 0 training)"),
    ],
)
def test_dev_is_never_trained_on(sizes, tested, n_train, note):
    test, train, notes = pilot.split_questions(of(**sizes), 100, 100, 0)
    assert {q.split for q in test} == tested and len(train) == n_train
    assert "dev" not in {q.split for q in train} and not {*test} & {*train}
    assert note in " ".join(notes) and bool(notes) == bool(note)


def test_dev_alone_is_refused():
    with pytest.raises(InputError, match="0 test, 30 dev, 0 training questions: a pilot never trains"):
        pilot.split_questions(of(dev=30), 100, 100, 0)


def test_nothing_stands_before_a_text_without_title():
    for passage, read in [(Passage("", "A b."), "A b."), (Passage("T", ""), "T"), (Passage("T", "A b."), "T. A b.")]:
        assert retrieval.passage_text(passage) == read
        assert generation.build_prompt("?", passage).startswith(f"Background: {read}\n")
    (example,) = statement_examples({"p": Passage("", "The mill stands by the river.")}, 1.0, 0)
    assert example.query == example.answers[0] == "The mill stands by the river."
