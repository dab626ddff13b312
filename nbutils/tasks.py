"""Tasks in one form: what is searched, what is asked, which answers count; instruction mixes and probes of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbutils.data import CLAIM_LABELS, Claim, Clue, Passage, Question
from nbutils.errors import InputError
from nbutils.factbook import with_article
from nbutils.generation import build_prompt
from nbutils.paths import PROMPTS

LABEL_ANSWERS = dict(zip(CLAIM_LABELS, ("true", "false", "unknown"), strict=True))


@dataclass(frozen=True)
class Item:
    """One example of a task."""

    id: str
    query: str  # what is searched
    question: str | None  # what stands in the prompt; None: nothing, a statement is to be written
    answers: tuple[str, ...]  # accepted ones; the first is trained on
    gold_passages: tuple[str, ...]


def question_items(questions: Sequence[Question], max_words: int | None = None) -> list[Item]:
    """Questions, searched and asked as they are; answers are cut to `max_words` words (None: left whole)."""
    return [
        Item(
            question.id,
            question.text,
            question.text,
            tuple(" ".join(answer.split()[:max_words]) for answer in question.answers),
            question.gold_passages,
        )
        for question in questions
    ]


def claim_items(claims: Sequence[Claim]) -> list[Item]:
    """Fact verification as question answering (FEVER's three classes): the answer is "true", "false" or "unknown".

    The claim itself is searched. One word is the whole answer, so that RAG-Sequence and RAG-Token nearly agree.
    """
    return [
        Item(
            claim.id,
            claim.text,
            f"{claim.text} Is this true, false or unknown?",
            (LABEL_ANSWERS[claim.label],),
            claim.gold_passages,
        )
        for claim in claims
    ]


def clue_items(clues: Sequence[Clue]) -> list[Item]:
    """Jeopardy question generation (Lewis et al. 2020, section 3.3): from an answer, here a country, to its clue.

    As on the show the clue has a category, here what stands before its colon ("The flag of this country"); without it
    a country's clues could not be told apart.
    """
    items = []
    for clue in clues:
        category, colon, text = clue.text.partition(": ")
        if not colon:
            raise InputError(f"clue {clue.id!r} has no category: write it as 'category: text'")
        topic = re.sub(r"this (country or territory|country|territory)", with_article(clue.answer), category)
        request = f"Write a clue on this topic: {topic}."
        items.append(Item(clue.id, topic, request, (text,), clue.gold_passages))
    return items


def statement_items(
    corpus: Mapping[str, Passage], kept: float, seed: int, min_words: int = 6, max_words: int = 30
) -> list[Item]:
    """Statement reconstruction (Siriwardhana et al. 2023, "+R"): sentences of the corpus, to be written again.

    A statement is a sentence of `min_words` to `max_words` words, with its passage's title before it. It is searched
    and is the answer, but does not stand in the prompt: the generator has the retrieved passages alone. These sentences
    stand in a passage word for word, so that it is found by its words and the statement copied from it. The share
    `kept` of its words, drawn by `seed`, is what is searched (1: all of them, as in the paper); the title stays.
    Raises InputError for a share outside (0, 1] and a corpus without such a sentence.
    """
    if not 0 < kept <= 1:
        raise InputError(f"kept = {kept}: give a share of the words above 0, at most 1")
    rng, items = np.random.default_rng(seed), []
    for id_, passage in corpus.items():
        for number, sentence in enumerate(re.split(r"(?<=[.!?]) (?=[A-Z])", passage.text)):
            words = sentence.split()
            if min_words <= len(words) <= max_words:
                some = np.sort(rng.permutation(len(words))[: max(1, round(kept * len(words)))])
                query = f"{passage.title}: {' '.join(words[i] for i in some)}"
                answer = f"{passage.title}: {' '.join(words)}"
                items.append(Item(f"{id_}-statement-{number}", query, None, (answer,), (id_,)))
    if not items:
        raise InputError(f"no sentence of {min_words} to {max_words} words in {len(corpus)} passages: no statements")
    return items


def draw(records: Sequence, n: int | None, seed: int, split: str, by: str | None = None) -> list:
    """`n` records of a split drawn by `seed` (None or more than there are: all).

    With `by` equally many of each of its values, at most as many as there are of the rarest.

    Raises InputError for a split without records.
    """
    records = [record for record in records if record.split == split]
    if not records:
        raise InputError(
            f"no records in split {split!r}: nothing to draw from; a folder names its questions in qrels/{split}.tsv, "
            f"as `data import --split {split}` writes it"
        )
    order = [records[i] for i in np.random.default_rng(seed).permutation(len(records))]
    if by is None:
        return order[:n]
    groups: dict[str, list] = {}
    for record in order:
        groups.setdefault(getattr(record, by), []).append(record)
    rarest = min(map(len, groups.values()))
    size = rarest if n is None else min(rarest, max(1, n // len(groups)))
    return [record for name in sorted(groups) for record in groups[name][:size]]


def one_wording(questions: Sequence[Question], seed: int) -> list[Question]:
    """One question of each fact, in a wording drawn by `seed`: two wordings of a fact are not independent questions."""
    drawn: dict[Any, Question] = {}
    for i in np.random.default_rng(seed).permutation(len(questions)):
        question = questions[i]
        has_wordings = question.template >= 0
        fact = (question.kind, question.field, question.gold_passages, question.answers)
        drawn.setdefault(fact if has_wordings else question.id, question)
    return list(drawn.values())


def prompts(
    items: Sequence[Item], ids: np.ndarray | Sequence[Sequence[str]], corpus: dict[str, Passage]
) -> list[list[str]]:
    """For each item one prompt per retrieved passage: `ids` (B, K), or lists that may differ in length."""
    return [
        [build_prompt(item.question, corpus[id_]) for id_ in row]
        for item, row in zip(items, ids.tolist() if isinstance(ids, np.ndarray) else ids, strict=True)
    ]


def interleave(
    items: Mapping[str, Sequence[Item]], order: Sequence[str], batch_size: int, n_batches: int, seed: int
) -> list[Item]:
    """`n_batches` batches, one after the other, each of one task: that of `order`, over and over.

    A task's items are taken in an order drawn by `seed`, and again from the start when all have been. Batches of one
    task keep long answers, whose loss is a sum over many tokens, from drowning short ones within a step.
    Raises InputError for a task without items.
    """
    for task in order:
        if not items.get(task):
            raise InputError(f"no items of task {task!r}: leave it out of the order")
    shuffled = {task: np.random.default_rng(seed).permutation(len(items[task])) for task in order}
    taken = dict.fromkeys(order, 0)
    mixed = []
    for number in range(n_batches):
        task = order[number % len(order)]
        for _ in range(batch_size):
            mixed.append(items[task][shuffled[task][taken[task] % len(items[task])]])
            taken[task] += 1
    return mixed


# Instruction tuning (RA-DIT): the same items in several wordings, with retrieved passages, a gold one, or none

GOLD_CONTEXT, NO_CONTEXT = "reading", "closed-book"  # tasks that come with their own passage, and without any


@dataclass(frozen=True)
class Instance:
    """One item with one passage; `rank` is that of a retrieved passage, 0 the best."""

    task: str
    item: Item
    rank: int


def instances(
    items: Mapping[str, Sequence[Item]],
    order: Sequence[str],
    n_items: int,
    n_batches: int,
    n_docs: int,
    seed: int,
) -> list[Instance]:
    """`n_batches` batches of `n_items` x `n_docs` instances, each of one task, as `interleave` draws them.

    One instance a passage (Lin et al. 2023 sec. 2.3): an item stands there with each of its `n_docs` passages. Of the
    tasks that have a passage of their own or none, a batch holds as many items as it has instances.
    """
    size, rows = n_items * n_docs, []
    for place, item in enumerate(interleave(items, order, size, n_batches, seed)):
        number, task = place % size, order[place // size % len(order)]
        if task in (GOLD_CONTEXT, NO_CONTEXT):
            rows.append(Instance(task, item, 0))
        elif number < n_items:
            rows += [Instance(task, item, rank) for rank in range(n_docs)]
    return rows


def instruct(
    rows: Sequence[Instance], corpus: dict[str, Passage], seed: int, ids: Sequence[Sequence[str]] | None = None
) -> tuple[list[str], list[str]]:
    """Prompts "Background: {passage}, blank line, {instruction}" and answers; the wording of each is drawn by `seed`.

    `ids` has the retrieved passages of each row, best first. None is instruction tuning without retrieval: the same
    rows and wordings, of which only the reading tasks keep their passage.
    """
    rng, prompts = np.random.default_rng(seed), []
    for number, row in enumerate(rows):
        passage = None
        if row.task == GOLD_CONTEXT:
            passage = corpus[row.item.gold_passages[0]]
        elif row.task != NO_CONTEXT and ids is not None:
            passage = corpus[ids[number][row.rank]]
        known = wordings(row.task)
        prompts.append(instruction_prompt(row.item.question, known[rng.integers(len(known))], passage))
    return prompts, [row.item.answers[0] for row in rows]


def instruction_prompt(question: str, wording: str, passage: Passage | None = None) -> str:
    """The prompt of `generation.build_prompt` with a `wording` in place of its "Question: ... Answer:"."""
    background = build_prompt(question, passage).removesuffix(build_prompt(question))
    return background + wording.replace("{question}", question)


def concatenated_prompt(question: str, passages: Sequence[Passage]) -> str:
    """One prompt with all passages, the last one's place for the best: `passages` come best first."""
    rest = "".join(instruction_prompt("", "", passage) for passage in reversed(passages))
    return rest + build_prompt(question)


def wordings(task: str) -> list[str]:
    """The ways in which a task is put, from `nbutils/prompts/instructions_<task>.txt`; a line "---" divides them."""
    path = PROMPTS / f"instructions_{task}.txt"
    if not path.is_file():
        raise InputError(f"task {task!r} has no wordings: write {path.name}")
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n---\n")


def halves(corpus: Mapping[str, Passage], ids: Sequence[str], max_words: int) -> list[Item]:
    """Passages as their own teachers: their first words are searched and shown, their last ones are the answer.

    Half of a passage each, at most `max_words`; Lin et al. 2023 sec. 2.4 takes the first and the last 50 tokens.
    """
    items = []
    for id_ in ids:
        words = corpus[id_].text.split()
        if len(words) < 2:
            raise InputError(f"passage {id_!r} is a single word: it has no second half")
        size = min(max_words, len(words) // 2)
        first, second = " ".join(words[:size]), " ".join(words[-size:])
        items.append(Item(id_, first, first, (second,), ()))
    return items


def mixed_rows(sizes: Sequence[int], shares: Sequence[float], n: int, seed: int) -> list[int]:
    """`n` row numbers of several sources that stand one after the other, drawn by `seed`, by the share of each.

    A source's rows come in an order of their own, and again from the start when all have been.
    """
    if len(sizes) != len(shares) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise InputError(f"shares {list(shares)} of {len(sizes)} sources: give one to each, 1 in all")
    rng, starts = np.random.default_rng(seed), np.cumsum([0, *sizes])
    counts = np.diff(np.round(n * np.cumsum([0, *shares])).astype(int))
    rows = [
        starts[source] + np.resize(rng.permutation(size), count)
        for source, (size, count) in enumerate(zip(sizes, counts, strict=True))
        if count
    ]
    return rng.permutation(np.concatenate(rows)).tolist()


# Probes


def unrelated_texts(n: int, n_words: int, seed: int) -> list[str]:
    """`n` texts of `n_words` words, drawn by `seed`, from the language reference that comes with Python.

    English prose about something else than any data set here; another version of Python has slightly other texts.
    """
    from pydoc_data.topics import topics

    texts = [" ".join(re.sub(r"[*`|]|\n[-=~^]+\n", " ", topics[name]).split()) for name in sorted(topics)]
    long = [" ".join(text.split()[:n_words]) for text in texts if len(text.split()) >= n_words]
    return [long[i] for i in np.random.default_rng(seed).permutation(len(long))[:n]]


def counterfactual(
    questions: Sequence[Question], corpus: Mapping[str, Passage], pool: Sequence[Question], seed: int
) -> dict[str, tuple[Passage, str]]:
    """{question id: (its gold passage with another answer in place of the right one, that answer)}.

    The other answer is one that some question of `pool` about the same field has, drawn by `seed`. Left out are
    questions without one, whose gold passage lacks the answer as whole words, or names a second right one.
    """
    rng, found = np.random.default_rng(seed), {}
    for question, others in zip(questions, _answers_of_others(questions, pool), strict=True):
        passage = corpus[question.gold_passages[0]]
        answer = next((text for text in question.answers if _whole(text).search(passage.text)), None)
        if answer is None or not others:
            continue
        other = others[rng.integers(len(others))]
        text = _whole(answer).sub(lambda _, other=other: other, passage.text)
        if not any(_whole(right).search(text) or right in other for right in question.answers):
            found[question.id] = Passage(passage.title, text), other
    return found


def _whole(answer: str) -> re.Pattern:
    """Finds the answer as whole words: "3" is not in "1,350", nor "Man" in "Oman"."""
    return re.compile(rf"(?<![\w.,]){re.escape(answer)}(?![.,]?\w)")


def choices(questions: Sequence[Question], pool: Sequence[Question], n_choices: int, seed: int) -> dict[str, list[str]]:
    """{question id: its first answer and `n_choices` - 1 wrong ones}; questions for which there are fewer are left out.

    The wrong ones are answers of `pool` to the same field. The right one stands first: who chooses by likelihood does
    not see the order.
    """
    rng, found = np.random.default_rng(seed), {}
    for question, others in zip(questions, _answers_of_others(questions, pool), strict=True):
        if len(others) >= n_choices - 1:
            chosen = rng.choice(len(others), n_choices - 1, replace=False)
            found[question.id] = [question.answers[0], *(others[i] for i in chosen)]
    return found


def _answers_of_others(questions: Sequence[Question], pool: Sequence[Question]) -> list[list[str]]:
    """For each question the first answers in `pool` to the same field that are not its own; none without a field."""
    by_field: dict[str, dict[str, None]] = {}
    for question in (question for question in pool if question.field):
        by_field.setdefault(question.field, {})[question.answers[0]] = None
    return [[text for text in by_field.get(q.field, ()) if text not in q.answers] for q in questions]
