"""Examples of each task: questions, claims, clues, statements and continuations; and which of them are questions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nbutils.data.schema import CLAIM_LABELS, OTHER_TASKS, Example, Passage
from nbutils.errors import InputError
from nbutils.text import first_words, sentences_before_capitals

LABEL_ANSWERS = dict(zip(CLAIM_LABELS, ("true", "false", "unknown"), strict=True))
_ANSWER_LABELS = {answer: label for label, answer in LABEL_ANSWERS.items()}
_INDIRECT_TASKS = ("reverse", "multi_hop")  # what is known of the subject is turned round, or asked over two hops


def question_example(
    id: str,
    text: str,
    answers: tuple[str, ...],
    gold_passages: tuple[str, ...],
    task: str = "open",
    split: str = "test",
    field: str = "",
    subject: str = "",
    template: int = -1,
    held_out_template: bool = False,
) -> Example:
    """A question, searched and asked as it is; "open" is the task where the data name none."""
    return Example(id, task, text, text, answers, gold_passages, split, field, subject, template, held_out_template)


def claim_example(
    id: str,
    text: str,
    label: str,
    gold_passages: tuple[str, ...],
    split: str = "test",
    field: str = "",
    subject: str = "",
) -> Example:
    """Fact verification as question answering (FEVER's three classes): the answer is "true", "false" or "unknown".

    The claim itself is searched. One word is the whole answer, so that RAG-Sequence and RAG-Token nearly agree.
    """
    request = f"{text} Is this true, false or unknown?"
    return Example(id, "verification", text, request, (LABEL_ANSWERS[label],), gold_passages, split, field, subject)


def claim_label(claim: Example) -> str:
    """Which of CLAIM_LABELS the claim has."""
    if claim.answers[0] not in _ANSWER_LABELS:
        raise InputError(f"claim {claim.id!r} has the answer {claim.answers[0]!r}: use {', '.join(_ANSWER_LABELS)}")
    return _ANSWER_LABELS[claim.answers[0]]


def clue_example(
    id: str, text: str, entity: str, named: str, gold_passages: tuple[str, ...], split: str = "test"
) -> Example:
    """Jeopardy question generation (Lewis et al. 2020, section 3.3): from an entity, here a country, to its clue.

    As on the show the clue has a category, here what stands before its colon ("The flag of this country"); without it
    a country's clues could not be told apart. `named` is the entity as a sentence has it ("the Netherlands").
    Raises InputError for a text without a category.
    """
    category, colon, clue = text.partition(": ")
    if not category or not colon:
        raise InputError(f"clue {id!r} has no category: write it as 'category: text'")
    topic = re.sub(r"this (country or territory|country|territory)", lambda _: named, category)
    request = f"Write a clue on this topic: {topic}."
    return Example(id, "clue", topic, request, (clue,), gold_passages, split, field=category, subject=entity)


def written_text(example: Example) -> str:
    """The text of a question, claim or clue as it was written, before it became a task."""
    return f"{example.field}: {example.answers[0]}" if example.task == "clue" else example.query


def questions(examples: Sequence[Example]) -> list[Example]:
    """The questions among the examples: no claims, clues, statements and continuations."""
    return [example for example in examples if example.task not in OTHER_TASKS]


def short_answer(examples: Sequence[Example], indirect: bool = False) -> list[Example]:
    """The questions with a short answer, asked directly; `indirect`: also those in reverse and over two hops."""
    others = ("long_form",) if indirect else ("long_form", *_INDIRECT_TASKS)
    return [example for example in questions(examples) if example.task not in others]


def trim_answers(examples: Sequence[Example], max_words: int | None = None) -> list[Example]:
    """The examples with answers on one line, single spaces between words, cut to `max_words` words (None: left whole).

    Words are counted as by `text.word_spans`. An answer over several lines could not be learned: a generated one ends
    with its line.
    """

    def trimmed(answer: str) -> str:
        line = " ".join(answer.split())
        return line if max_words is None else first_words(line, max_words)

    return [replace(example, answers=tuple(map(trimmed, example.answers))) for example in examples]


def statement_examples(
    corpus: Mapping[str, Passage], kept: float, seed: int, min_words: int = 6, max_words: int = 30
) -> list[Example]:
    """Statement reconstruction (Siriwardhana et al. 2023, "+R"): sentences of the corpus, to be written again.

    A statement is a sentence of `min_words` to `max_words` words, with its passage's title before it. It is searched
    and is the answer, but does not stand in the prompt: the generator has the retrieved passages alone. These sentences
    stand in a passage word for word, so that it is found by its words and the statement copied from it. The share
    `kept` of its words, drawn by `seed`, is what is searched (1: all of them, as in the paper); the title stays.
    Raises InputError for a share outside (0, 1] and a corpus without such a sentence.
    """
    if not 0 < kept <= 1:
        raise InputError(f"kept = {kept}: give a share of the words above 0, at most 1")
    rng, made = np.random.default_rng(seed), []
    for id_, passage in corpus.items():
        for number, sentence in enumerate(sentences_before_capitals(passage.text)):
            words = sentence.split()
            if min_words <= len(words) <= max_words:
                some = np.sort(rng.permutation(len(words))[: max(1, round(kept * len(words)))])
                title = f"{passage.title}: " if passage.title else ""
                query = title + " ".join(words[i] for i in some)
                answers = (title + " ".join(words),)
                made.append(
                    Example(
                        f"{id_}-statement-{number}",
                        "statement",
                        query,
                        None,
                        answers,
                        (id_,),
                        split="train",
                        subject=passage.title,
                    )
                )
    if not made:
        raise InputError(f"no sentence of {min_words} to {max_words} words in {len(corpus)} passages: no statements")
    return made


def continuation_examples(corpus: Mapping[str, Passage], ids: Sequence[str], max_words: int) -> list[Example]:
    """Passages as their own teachers: their first words are searched and shown, their last ones are the answer.

    Half of a passage each, at most `max_words`; Lin et al. 2023 sec. 2.4 takes the first and the last 50 tokens.
    """
    made = []
    for id_ in ids:
        words = corpus[id_].text.split()
        if len(words) < 2:
            raise InputError(f"passage {id_!r} is a single word: it has no second half")
        size = min(max_words, len(words) // 2)
        first, second = " ".join(words[:size]), " ".join(words[-size:])
        subject = corpus[id_].title
        made.append(Example(id_, "continuation", first, first, (second,), (), split="train", subject=subject))
    return made
