"""Recall at equal tokens read: what chunks of different sizes have in common is what it costs to read them."""

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

import numpy as np

from nbutils.errors import InputError


def recall_at_tokens(
    ids: Sequence[Sequence[str]] | np.ndarray,
    gold: Sequence[Collection[str]],
    n_tokens: Mapping[str, int],
    budgets: Sequence[int],
) -> np.ndarray:
    """1 where one of a question's gold chunks is among the best that fit into a budget of tokens: (B, len(budgets)).

    `ids[i]` are the chunks retrieved for question i, best first, (B, K); `gold[i]` those that hold its answer, any of
    which is enough; `n_tokens` has the length of every chunk of the corpus. Chunks are read in their order while they
    fit. The one that would cross the budget is not read, nor any after it, though a shorter one might fit. A question
    without a gold chunk, whose answer was cut in two, scores 0. "" (`retrieval.NOTHING`) is no chunk and costs
    nothing. With 1 token for every chunk, budgets are numbers of chunks, and this is the hit rate at k.
    Raises InputError for no questions, unequal lengths, an unknown chunk, a budget below 1, and one that is not spent
    on all K chunks of a question though the corpus has more: recall would come out too low.
    """
    rows = ids.tolist() if isinstance(ids, np.ndarray) else [list(row) for row in ids]
    if not rows or len(rows) != len(gold):
        raise InputError(f"{len(rows)} rankings and {len(gold)} sets of gold chunks: give one of each per question")
    if len(budgets) == 0 or min(budgets) < 1:
        raise InputError(f"budgets is {list(budgets)}: give numbers of tokens of at least 1")
    shortest, largest = min(n_tokens.values(), default=0), max(budgets)
    hits = np.zeros((len(rows), len(budgets)))
    for i, (row, relevant) in enumerate(zip(rows, gold, strict=True)):
        found = [chunk for chunk in row if chunk != ""]
        unknown = [chunk for chunk in [*found, *relevant] if chunk not in n_tokens]
        if unknown:
            raise InputError(f"chunk {unknown[0]!r} of question {i} has no number of tokens: give that of every chunk")
        read = list(accumulate(n_tokens[chunk] for chunk in found))  # tokens up to the end of each
        # A search that left places empty found no more; else further chunks may be read.
        if len(found) == len(row) < len(n_tokens) and (read[-1] if read else 0) + shortest <= largest:
            raise InputError(
                f"the {len(row)} chunks of question {i} have {read[-1] if read else 0} of {largest} tokens: "
                "retrieve more, or lower the budget"
            )
        first_gold = min((end for chunk, end in zip(found, read, strict=True) if chunk in relevant), default=np.inf)
        hits[i] = [first_gold <= budget for budget in budgets]
    return hits
