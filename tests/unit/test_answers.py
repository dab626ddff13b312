"""What systems answered, kept for the page of answers: whole, or refused as it comes."""

import copy
import json

import numpy as np
import pytest

from nbutils.data import Example, Passage, question_example
from nbutils.errors import InputError
from nbutils.record import answers
from nbutils.record.answer_files import load_answers, validate_answers

CORPUS = {"p": Passage("Peru", "Its capital is Lima."), "c": Passage("Chad", "Desert.")}
ITEMS = [
    question_example("q1", "Capital of Peru?", ("Lima",), ("p",), subject="Peru", field="capital"),
    question_example("q0", "Capital of Chad?", ("N'Djamena", "Ndjamena"), (), subject="Chad"),
]


@pytest.fixture
def answered():
    found = answers.nothing()
    answers.add(found, CORPUS, "RAG", ITEMS, ["Lima", ""], np.array([1.0, 1 / 3]), np.array([["p"], ["c"]]))
    return found


def test_two_systems(answered):
    answers.add(answered, CORPUS, "closed-book", ITEMS[:1], ["Quito"], [False], None)
    assert answered["systems"] == {
        "RAG": {
            "q1": {"text": "Lima", "right": 1.0, "passages": ["p"]},
            "q0": {"text": "", "right": 1 / 3, "passages": ["c"]},
        },
        "closed-book": {"q1": {"text": "Quito", "right": 0, "passages": []}},
    }
    assert answered["questions"]["q1"] == {
        "question": "Capital of Peru?",
        "answers": ["Lima"],
        "gold": ["p"],
        "subject": "Peru",
        "field": "capital",
    }
    assert answered["passages"]["p"] == {"title": "Peru", "text": "Its capital is Lima."}
    validate_answers(answered)


def test_what_is_written_is_read_again_the_same_whatever_the_order(answered, tmp_path):
    path = tmp_path / "answers.json"
    path.write_text(answers.to_json(answered), encoding="utf-8")
    assert load_answers(path) == json.loads(json.dumps(answered))
    backward = answers.nothing()
    answers.add(backward, CORPUS, "RAG", ITEMS[::-1], ["", "Lima"], [1 / 3, 1.0], [["c"], ["p"]])
    assert answers.to_json(backward).splitlines()[:10] == answers.to_json(answered).splitlines()[:10]
    assert sum('"text": "Lima"' in line for line in answers.to_json(answered).splitlines()) == 1  # a line an answer


def test_gold_passages_are_kept_though_no_system_read_them():
    found = answers.nothing()
    answers.add(found, CORPUS, "closed-book", ITEMS, ["a", "b"], [0, 0], None)
    assert [*found["passages"]] == ["p"]


def test_a_statement_that_stands_in_no_prompt_shows_what_was_searched():
    found = answers.nothing()
    statement = Example("s", "statement", "Peru: capital Lima", None, ("Its capital is Lima.",), ("p",))
    answers.add(found, CORPUS, "RAG", [statement], ["Lima"], [0.5], [["p"]])
    assert found["questions"]["s"]["question"] == "Peru: capital Lima"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": "RAG"}, "answers of 'RAG' are in the record already"),
        ({"system": " "}, "answers of ' ': systems: ' ' is no name"),
        ({"examples": [ITEMS[0], ITEMS[0]]}, "question 'q1' occurs twice"),
        ({"texts": ["a"]}, "2 question ids but values of 1 questions"),
        ({"texts": ["a", None]}, "answers of 'new': answer of 'new' to 'q0': \"text\" is not a text"),
        ({"right": [1]}, "2 texts, 1 scores and passages of 2 questions"),
        ({"right": [1, 1.5]}, "answer of 'new' to 'q0': \"right\" is 1.5, not a number from 0 to 1"),
        ({"right": [1, float("nan")]}, "answers of 'new' to q0: nan is not a finite number"),
        ({"passages": [["p"]]}, "2 texts, 2 scores and passages of 1 questions"),
        ({"passages": [["p"], ["x"]]}, "there is no passage 'x' in the corpus: call record.dataset first"),
        ({"examples": [], "texts": [], "right": [], "passages": []}, "answers of 'new': no questions"),
    ],
)
def test_bad_answers_are_refused_and_nothing_is_kept_of_them(answered, change, message):
    good = {"system": "new", "examples": ITEMS, "texts": ["a", "b"], "right": [1, 0], "passages": [["p"], []]}
    before = copy.deepcopy(answered)
    with pytest.raises(InputError) as caught:
        answers.add(answered, CORPUS, **(good | change))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert answered == before
    answers.add(answered, CORPUS, **good)
