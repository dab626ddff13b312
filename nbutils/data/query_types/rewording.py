"""Questions that share few words with the passage that answers them: said in other words, or chosen by measurement."""

from collections.abc import Mapping, Sequence

from nbutils.data.query_types.draws import drawn_order
from nbutils.data.query_types.overlap import gold_overlap, golden, passage_stems, query_stems
from nbutils.data.query_types.paraphrases import PARAPHRASES
from nbutils.data.schema import Example, Passage

MAX_OVERLAP = 0.4  # of a question that is taken as a person wrote it


def low_overlap(example: Example, corpus: Mapping[str, Passage], wordings: Sequence[str], *key: str) -> str | None:
    """Words for the example's query that its gold passages do not use; None where there are none.

    Of a fact of the Factbook: of its `wordings` and those of PARAPHRASES the one that shares the fewest content words
    with a gold passage; among equals those of PARAPHRASES come first, and one of them is drawn by `key`. The country's
    name is never replaced. Other questions are taken as they are, if their overlap is at most MAX_OVERLAP.
    Raises InputError for an example without gold passages, and for one whose gold passage is not in the corpus.
    """
    if example.template < 0 or example.field not in PARAPHRASES:
        return example.query if gold_overlap(example, corpus) <= MAX_OVERLAP else None
    there = [passage_stems(passage) for passage in golden(example, corpus)]

    def n_shared(query: str) -> int:
        return max(len(query_stems(query) & stems) for stems in there)

    # Of equals min() takes the first.
    return min([*drawn_order(paraphrases(example), *key, "wording"), *wordings], key=n_shared)


def paraphrases(example: Example) -> list[str]:
    """The example's field asked for in other words."""
    from nbutils.data.factbook import with_article

    return [template.format(c=with_article(example.subject)) for template in PARAPHRASES[example.field]]
