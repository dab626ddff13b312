"""Questions, claims and clues in one form; batches of one task."""

from dataclasses import replace

import numpy as np
import pytest

from nbutils import data, generation
from nbutils.data import Passage, claim_example, clue_example, question_example
from nbutils.errors import InputError

QUESTION = question_example(
    "q1", "What is the capital of Peru?", ("Lima", "the  city\nof Lima"), ("p1",), split="train"
)
CLAIM = claim_example("c1", "The capital of Peru is Quito.", "refuted", ("p1",), "train")
FLAG = "The flag of this country or territory: red, white and red."
CLUE = clue_example("j1", FLAG, "Netherlands", "the Netherlands", ("p2",), "train")


def test_every_task_says_what_is_searched_asked_and_answered():
    assert QUESTION.query == QUESTION.question == "What is the capital of Peru?" and QUESTION.task == "open"
    assert CLAIM.query == "The capital of Peru is Quito." and CLAIM.question.startswith(CLAIM.query)
    assert (CLAIM.task, CLAIM.answers, data.claim_label(CLAIM)) == ("verification", ("false",), "refuted")
    assert CLUE.query == "The flag of the Netherlands" and CLUE.query in CLUE.question
    assert CLUE.answers == ("red, white and red.",) and CLUE.gold_passages == ("p2",)
    assert (CLUE.task, CLUE.subject, data.written_text(CLUE)) == ("clue", "Netherlands", FLAG)
    for text in ("It is red.", ": red"):
        with pytest.raises(InputError, match="clue 'j2' has no category: write it as 'category: text'"):
            clue_example("j2", text, "Peru", "Peru", ())
    with pytest.raises(InputError, match="claim 'c1' has the answer 'no': use true, false, unknown"):
        data.claim_label(replace(CLAIM, answers=("no",)))


def test_answers_are_put_on_one_line_and_cut():
    (whole,), (cut,) = data.trim_answers([QUESTION]), data.trim_answers([QUESTION], max_words=2)
    assert whole == replace(QUESTION, answers=("Lima", "the city of Lima")) and cut.answers == ("Lima", "the city")


def test_words_are_cut_where_no_space_divides_them():
    (cut,) = data.trim_answers([replace(QUESTION, answers=("\u6771\u4eac\u90fd", "a  b\nc d"))], max_words=2)
    assert cut.answers == ("\u6771\u4eac", "a b")


LIMA = Passage(
    "Peru", "The capital is Lima, on the coast. Short one. Its currency is the sol, used since 1991 in all of it."
)


def test_a_statement_is_searched_and_written_but_not_shown():
    corpus = {"p1": LIMA, "p2": Passage("Chad", "Desert.")}
    first, second = data.statement_examples(corpus, 1.0, seed=0)
    assert first.answers == (first.query,) == ("Peru: The capital is Lima, on the coast.",)
    assert second.answers == ("Peru: Its currency is the sol, used since 1991 in all of it.",)
    assert {first.gold_passages, second.gold_passages} == {("p1",)} and first.id != second.id
    ((prompt,),) = generation.passage_prompts([first], [["p2"]], corpus)
    assert prompt == "Background: Chad. Desert.\n\nStatement:"  # of the statement itself there is nothing
    ((asked,),) = generation.passage_prompts([QUESTION], [["p2"]], corpus)
    assert "Question:" in asked and "Statement:" not in asked


def test_half_of_a_statement_s_words_are_not_searched():
    items = data.statement_examples({"p1": LIMA}, 0.5, seed=0)
    for item, whole in zip(items, data.statement_examples({"p1": LIMA}, 1.0, seed=0), strict=True):
        (answer,) = item.answers
        words, some = answer.split()[1:], item.query.split()[1:]
        assert answer == whole.query and item.query.startswith("Peru: ")
        assert len(some) == round(len(words) / 2) and iter_holds(words, some)
    assert items == data.statement_examples({"p1": LIMA}, 0.5, seed=0)
    assert items != data.statement_examples({"p1": LIMA}, 0.5, seed=1)


def iter_holds(words, some):
    """Whether `some` stand among the words in this order."""
    rest = iter(words)
    return all(word in rest for word in some)


@pytest.mark.parametrize(
    ("corpus", "kept", "message"),
    [
        ({"p1": LIMA}, 0.0, "kept = 0.0: give a share"),
        ({"p1": LIMA}, 1.5, "kept = 1.5: give a share"),
        ({"p2": Passage("Chad", "Desert.")}, 1.0, "no sentence of 6 to 30 words in 1 passages"),
    ],
)
def test_statements_that_cannot_be(corpus, kept, message):
    with pytest.raises(InputError, match=message):
        data.statement_examples(corpus, kept, 0)


def claims(n, split="test"):
    labels = ("supported", "refuted", "not_enough_information")
    return [claim_example(f"{split}{i}", f"claim {i}", labels[i % 3 if i < n // 2 else 0], (), split) for i in range(n)]


def test_draws_are_seeded_of_one_split_and_balanced():
    rows = claims(60) + claims(30, "train")
    assert data.sample(rows, 10, 1, "test") == data.sample(rows, 10, 1, "test") != data.sample(rows, 10, 2, "test")
    assert {row.split for row in data.sample(rows, None, 0, "train")} == {"train"}
    assert len(data.sample(rows, None, 0, "test")) == 60
    balanced = data.sample(rows, 15, 0, "test", by=data.claim_label)
    assert [sum(data.claim_label(row) == label for row in balanced) for label in data.LABEL_ANSWERS] == [5, 5, 5]
    # Of the 60, 10 each are refuted and without evidence: neither all nor many are more of the others than of these.
    for n in (None, 45):
        balanced = data.sample(rows, n, 0, "test", by=data.claim_label)
        assert [sum(data.claim_label(row) == label for row in balanced) for label in data.LABEL_ANSWERS] == [10, 10, 10]
    with pytest.raises(InputError, match="no records in split 'dev'"):
        data.sample(rows, 5, 0, "dev")


def test_one_wording_of_each_fact():
    facts = [("a", ("Lima",)), ("a", ("Quito",)), ("b", ("Lima",))]
    questions = [
        question_example(
            f"{field}-{answers[0]}-{wording}", "", answers, ("p",), "fact", "test", field, template=wording
        )
        for field, answers in facts
        for wording in range(3)
    ]
    kept = data.one_per_fact(questions, 0)
    assert sorted((q.field, q.answers) for q in kept) == sorted(facts)
    assert data.one_per_fact(questions, 0) == kept
    assert len({q.template for seed in range(20) for q in data.one_per_fact(questions, seed)}) == 3
    foreign = [question_example(f"q{i}", "", ("Lima",), ("p",)) for i in range(4)]  # of which wordings are unknown
    assert len(data.one_per_fact(foreign, 0)) == 4


def test_batches_hold_one_task_each():
    items = {"a": [QUESTION] * 3, "b": claims(5)}
    mixed = data.task_batches(items, ("a", "b", "b"), 2, 6, seed=0)
    assert [item.id == "q1" for item in mixed] == [True] * 2 + [False] * 4 + [True] * 2 + [False] * 4
    of_b = [item.id for item in mixed if item.id != "q1"]
    assert set(of_b[:5]) == {f"test{i}" for i in range(5)} and of_b[5:] == of_b[:3]  # all, then from the start
    assert mixed == data.task_batches(items, ("a", "b", "b"), 2, 6, seed=0)
    assert mixed != data.task_batches(items, ("a", "b", "b"), 2, 6, seed=1)
    assert data.task_batches(items, ("a",), 2, 0, seed=0) == []
    with pytest.raises(InputError, match="no items of task 'c'"):
        data.task_batches(items, ("a", "c"), 2, 1, seed=0)


def test_one_prompt_for_each_passage():
    corpus = {"p1": Passage("Peru", "Capital: Lima."), "p2": Passage("Chad", "Desert.")}
    (row,) = generation.passage_prompts([QUESTION], np.array([["p2", "p1"]]), corpus)
    assert [("Desert." in row[0]), ("Capital: Lima." in row[1])] == [True, True]
    assert all(QUESTION.question in prompt for prompt in row)


# Instruction tuning

PEOPLE = Passage("Peru", "Capital: Lima. Currency: sol. The old capital was Cuzco.")
SANDS = Passage("Chad", "Capital: N'Djamena. Currency: franc.")
LAND = {"p1": PEOPLE, "p2": SANDS}


def asked(id_, text, answer, gold, field="capital", split="train"):
    return question_example(id_, text, (answer,), (gold,), "fact", split, field)


def test_wordings_are_files_that_say_what_is_asked():
    known = generation.instruction_templates("continuation")
    assert len(known) == len(set(known)) and all(wording.count("{question}") == 1 for wording in known)
    assert known[0] == "{question}"
    assert all(wording == wording.rstrip() and "\n\n" not in wording for wording in known)


def test_prompts_by_exact_string():
    prompt = generation.instruction_prompt("Where?", "Q: {question}\nA:", SANDS)
    assert prompt == f"Background: Chad. {SANDS.text}\n\nQ: Where?\nA:"
    with pytest.raises(InputError, match=r"task 'poems' has no wordings: write instructions_poems\.txt"):
        generation.instruction_templates("poems")


def test_a_passage_teaches_by_its_two_ends():
    (item,) = data.continuation_examples(LAND, ["p1"], 25)
    assert (item.query, item.answers) == ("Capital: Lima. Currency: sol.", ("old capital was Cuzco.",))
    (item,) = data.continuation_examples(LAND, ["p1"], 2)
    assert (item.query, item.answers, item.gold_passages) == ("Capital: Lima.", ("was Cuzco.",), ())
    with pytest.raises(InputError, match="passage 'p3' is a single word"):
        data.continuation_examples({"p3": Passage("A", "word")}, ["p3"], 25)


def test_a_mix_has_its_shares():
    rows = data.sample_mixture([3, 5], [0.25, 0.75], 40, 0)
    counts = [rows.count(row) for row in range(8)]
    assert sum(counts[:3]) == 10 and sum(counts[3:]) == 30 and counts[3:] == [6] * 5 and set(counts[:3]) == {3, 4}
    assert rows != data.sample_mixture([3, 5], [0.25, 0.75], 40, 1) and rows == data.sample_mixture(
        [3, 5], [0.25, 0.75], 40, 0
    )
    assert set(data.sample_mixture([3, 5], [0, 1], 20, 0)) == set(range(3, 8))
    with pytest.raises(InputError, match="give one to each, 1 in all"):
        data.sample_mixture([3, 5], [0.5, 0.6], 20, 0)
