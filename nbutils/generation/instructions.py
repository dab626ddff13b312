"""Instruction tuning (RA-DIT): the same examples in several wordings, with retrieved passages, a gold one, or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nbutils.data import Example, Passage, task_batches
from nbutils.generation.prompts import instruction_prompt, instruction_templates

GOLD_CONTEXT, NO_CONTEXT = "reading", "closed-book"  # tasks that come with their own passage, and without any


@dataclass(frozen=True)
class Instance:
    """One example with one passage; `rank` is that of a retrieved passage, 0 the best."""

    task: str  # by which it is worded: one of the mix, where a question is "questions", "reading" or "closed-book"
    example: Example
    rank: int


def instruction_batches(
    examples: Mapping[str, Sequence[Example]],
    order: Sequence[str],
    n_examples: int,
    n_batches: int,
    n_docs: int,
    seed: int,
) -> list[Instance]:
    """`n_batches` batches of `n_examples` x `n_docs` instances, each of one task, as `task_batches` draws them.

    One instance a passage (Lin et al. 2023 sec. 2.3): an example stands there with each of its `n_docs` passages. Of
    the tasks that have a passage of their own or none, a batch holds as many examples as it has instances.
    """
    size, rows = n_examples * n_docs, []
    for place, example in enumerate(task_batches(examples, order, size, n_batches, seed)):
        number, task = place % size, order[place // size % len(order)]
        if task in (GOLD_CONTEXT, NO_CONTEXT):
            rows.append(Instance(task, example, 0))
        elif number < n_examples:
            rows += [Instance(task, example, rank) for rank in range(n_docs)]
    return rows


def instruction_examples(
    rows: Sequence[Instance], corpus: dict[str, Passage], seed: int, ids: Sequence[Sequence[str]] | None = None
) -> tuple[list[str], list[str]]:
    """Prompts "Background: {passage}, blank line, {instruction}" and answers; the wording of each is drawn by `seed`.

    `ids` has the retrieved passages of each row, best first; "" where a search found nothing. None is instruction
    tuning without retrieval: the same rows and wordings, of which only the reading tasks keep their passage.
    """
    rng, prompts = np.random.default_rng(seed), []
    for number, row in enumerate(rows):
        passage = None
        if row.task == GOLD_CONTEXT:
            passage = corpus[row.example.gold_passages[0]]
        elif row.task != NO_CONTEXT and ids is not None:
            id_ = ids[number][row.rank]
            passage = corpus[id_] if id_ else None
        known = instruction_templates(row.task)
        prompts.append(instruction_prompt(row.example.question, known[rng.integers(len(known))], passage))
    return prompts, [row.example.answers[0] for row in rows]
