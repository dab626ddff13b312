"""Questions, claims and clues in one form; batches of one task; scores beside what chance gives."""

import numpy as np
import pytest

from nbutils import tasks
from nbutils.data import Claim, Clue, Passage, Question
from nbutils.errors import InputError
from nbutils.record import Record

QUESTION = Question("q1", "What is the capital of Peru?", ("Lima", "the city of Lima"), ("p1",), split="train")
CLAIM = Claim("c1", "The capital of Peru is Quito.", "refuted", ("p1",), "train")
CLUE = Clue("j1", "The flag of this country or territory: red, white and red.", "Netherlands", ("p2",), "train")


def test_every_task_says_what_is_searched_asked_and_answered():
    (item,) = tasks.question_items([QUESTION])
    assert (item.query, item.question, item.answers) == (QUESTION.text, QUESTION.text, QUESTION.answers)
    assert tasks.question_items([QUESTION], max_words=2)[0].answers == ("Lima", "the city")
    (item,) = tasks.claim_items([CLAIM])
    assert item.query == CLAIM.text and item.question.startswith(CLAIM.text) and item.answers == ("false",)
    (item,) = tasks.clue_items([CLUE])
    assert item.query == "The flag of the Netherlands" and item.query in item.question
    assert item.answers == ("red, white and red.",) and item.gold_passages == ("p2",)
    with pytest.raises(InputError, match="clue 'j2' has no category"):
        tasks.clue_items([Clue("j2", "It is red.", "Peru", ())])


def claims(n, split="test"):
    labels = ("supported", "refuted", "not_enough_information")
    return [Claim(f"{split}{i}", f"claim {i}", labels[i % 3 if i < n // 2 else 0], (), split) for i in range(n)]


def test_draws_are_seeded_of_one_split_and_balanced():
    rows = claims(60) + claims(30, "train")
    assert tasks.draw(rows, 10, 1, "test") == tasks.draw(rows, 10, 1, "test") != tasks.draw(rows, 10, 2, "test")
    assert {row.split for row in tasks.draw(rows, None, 0, "train")} == {"train"}
    assert len(tasks.draw(rows, None, 0, "test")) == 60
    balanced = tasks.draw(rows, 15, 0, "test", by="label")
    assert [sum(row.label == label for row in balanced) for label in tasks.LABEL_ANSWERS] == [5, 5, 5]
    with pytest.raises(InputError, match="no records in split 'dev'"):
        tasks.draw(rows, 5, 0, "dev")


def test_batches_hold_one_task_each():
    items = {"a": tasks.question_items([QUESTION] * 3), "b": tasks.claim_items(claims(5))}
    mixed = tasks.interleave(items, ("a", "b", "b"), 2, 6, seed=0)
    assert [item.id == "q1" for item in mixed] == [True] * 2 + [False] * 4 + [True] * 2 + [False] * 4
    of_b = [item.id for item in mixed if item.id != "q1"]
    assert set(of_b[:5]) == {f"test{i}" for i in range(5)} and of_b[5:] == of_b[:3]  # all, then from the start
    assert mixed == tasks.interleave(items, ("a", "b", "b"), 2, 6, seed=0)
    assert mixed != tasks.interleave(items, ("a", "b", "b"), 2, 6, seed=1)
    assert tasks.interleave(items, ("a",), 2, 0, seed=0) == []
    with pytest.raises(InputError, match="no items of task 'c'"):
        tasks.interleave(items, ("a", "c"), 2, 1, seed=0)


def test_one_prompt_for_each_passage():
    corpus = {"p1": Passage("Peru", "Capital: Lima."), "p2": Passage("Chad", "Desert.")}
    (row,) = tasks.prompts(tasks.question_items([QUESTION]), np.array([["p2", "p1"]]), corpus)
    assert [("Desert." in row[0]), ("Capital: Lima." in row[1])] == [True, True]
    assert all(QUESTION.text in prompt for prompt in row)


def test_scores_of_answers_are_means_over_seeds_beside_chance():
    record = Record("00_start_here", "smoke", 0, {}, {})
    items = tasks.claim_items(claims(40))
    right = [item.answers[0] for item in items]
    wrong = ["maybe"] * 40
    tasks.record_answers(record, "exact_match", "RAG-Token", "verification", items, [right, wrong])
    name = "exact_match/RAG-Token/verification"
    assert record["metrics"][name]["value"] == 0.5 and record["scores"][name]["ids"] == [item.id for item in items]
    seeds = record["metrics"][f"{name}, seeds"]
    assert (seeds["low"], seeds["high"], seeds["interval"]) == (0.0, 1.0, "range over 2 seeds")
    assert record["metrics"][f"{name}, shuffled answers"]["value"] < 0.5  # the right answers to other claims
    tasks.record_answers(record, "exact_match", "RAG-Token", "one seed", items, [right])
    assert "exact_match/RAG-Token/one seed, seeds" not in record["metrics"]
