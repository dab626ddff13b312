"""Scores of rankings. Any measure of ir_measures: `retrieval_scores`; beside it recall at every k, and top-k accuracy.

`retrieval_scores` is the way for every measure that has a name ("R@20", "RR@10", "nDCG@10"). `recall_curve` is its R@k,
to the digit, for a hundred k at once and straight from the ids that a search returns; top-k accuracy needs the texts.
"""

import functools
import unicodedata
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nbutils.errors import InputError
from nbutils.metrics.answers import OWN_DATA, PUBLISHED, check_answers, require_rule
from nbutils.text import contains_answer, latin_language


def retrieval_scores(
    measures: Sequence[str],
    run: Mapping[str, Mapping[str, float] | Sequence[str]],
    qrels: Mapping[str, Mapping[str, int]],
) -> dict[str, np.ndarray]:
    """Per question, in the order of `qrels`: {measure: (n_questions,)}, computed by ir_measures.

    `measures` are its names: "R@1", "R@100", "RR@10", "nDCG@10". `run` gives for each question a ranking (passage ids,
    best first) or {passage id: score}; equal scores keep their order, where trec_eval would sort them by id.
    A question with an explicitly empty ranking scores 0. Raises InputError when the questions of `run` and `qrels`
    differ, when a question has no relevant passage, and for an unknown measure.
    """
    import ir_measures

    if not qrels:
        raise InputError("qrels is empty: there is nothing to score")
    if run.keys() != qrels.keys():
        missing, extra = sorted(qrels.keys() - run.keys()), sorted(run.keys() - qrels.keys())
        raise InputError(
            f"run and qrels must have the same questions: {len(missing)} missing from run {missing[:3]}, "
            f"{len(extra)} not in qrels {extra[:3]}"
        )
    for question, relevant in qrels.items():
        if not any(relevance > 0 for relevance in relevant.values()):
            raise InputError(f"question {question!r} has no relevant passage in qrels: leave it out of both")
    parsed = {name: _parse_measure(name) for name in measures}
    ranked = {question: _ranks(question, ranking) for question, ranking in run.items()}
    judged = {question: dict(relevant) for question, relevant in qrels.items()}
    rows = {question: i for i, question in enumerate(qrels)}
    scores = {measure: np.full(len(rows), np.nan) for measure in parsed.values()}
    for metric in ir_measures.iter_calc(list(scores), judged, ranked):
        scores[metric.measure][rows[metric.query_id]] = metric.value
    return {name: scores[measure] for name, measure in parsed.items()}


def _parse_measure(name: str) -> Any:
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        measure.validate_params()
    except (NameError, ValueError, AssertionError) as error:
        raise InputError(f"no retrieval measure {name!r}: use names such as R@20, RR@10, nDCG@10") from error
    if name.partition("@")[2] == "0":
        raise InputError(f"retrieval measure {name!r} has cut-off 0: the smallest is 1")
    return measure


def _ranks(question: str, ranking: Mapping[str, float] | Sequence[str]) -> dict[str, float]:
    """{passage id: minus its rank}. trec_eval keeps scores in single precision, where near scores become ties."""
    if isinstance(ranking, Mapping):
        if any(score != score for score in ranking.values()):
            raise InputError(f"the ranking of question {question!r} has a score that is not a number")
        ranking = sorted(ranking, key=lambda passage: -ranking[passage])
    ranking = [passage for passage in ranking if passage != ""]
    _check_distinct(f"the ranking of question {question!r}", ranking)
    return {passage: -float(rank) for rank, passage in enumerate(ranking)}


def recall_curve(
    ids: Sequence[Sequence[Hashable]] | np.ndarray, gold: Sequence[Collection[Hashable]], ks: Sequence[int]
) -> np.ndarray:
    """R@k of ir_measures = |top k and gold| / |gold| of each question at each k: (n_questions, len(ks)).

    `ids[i]` are the passage ids retrieved for question i, best first; `gold[i]` its gold passages. A ranking may be
    shorter than k (the retriever found no more), but not every one: then k is deeper than what was retrieved. An id ""
    marks a place that a search left empty, see `retrieval.search`: it is no passage, and counts for the depth alone.
    Raises InputError for that, for no questions, unequal lengths, no gold passage and a passage ranked twice.
    """
    ranked = _rankings(ids, ks)
    if len(ranked) != len(gold):
        raise InputError(f"{len(ranked)} rankings but {len(gold)} sets of gold passages: give one each")
    hits = np.zeros((len(ranked), max(ks)), dtype=int)
    n_gold = np.zeros((len(ranked), 1))
    for i, (row, relevant) in enumerate(zip(ranked, gold, strict=True)):
        relevant = _as_set(f"gold[{i}]", relevant)
        hits[i, : len(row)] = [passage in relevant for passage in row[: max(ks)]]
        n_gold[i] = len(relevant)
    return np.cumsum(hits, axis=1)[:, np.asarray(ks) - 1] / n_gold


def topk_accuracy(
    ids: Sequence[Sequence[Hashable]] | np.ndarray,
    texts: Mapping[Hashable, str],
    answers: Sequence[Sequence[str]],
    ks: Sequence[int],
    rule: str = PUBLISHED,
) -> np.ndarray:
    """1 where some top-k passage contains an answer string, else 0: (n_questions, len(ks)).

    DPR's measure (Karpukhin et al. 2020, Section 5): text and answer are brought to Unicode NFD, cut into runs of
    letters, digits and marks or else single symbols, and lower-cased; an answer counts where its tokens stand in the
    passage one after the other. So "Man" is not found in "Oman", and punctuation and articles must match. `texts` maps
    passage id to text; DPR searches the text, not the title. Chance hits count, hence never call this recall.

    That is rule "published". By rule "own data" an answer stands in a passage as `text.contains_answer` has it: in
    any script, in the language of the texts. For English the two agree, but for the form of quotes and dashes.
    Raises InputError for unequal lengths, an unknown passage, an unknown rule, and an answer without a token.
    """
    ranked = _rankings(ids, ks)
    check_answers([""] * len(ranked), answers)
    require_rule(rule)
    language = latin_language(texts.values()) if rule == OWN_DATA else None
    padded: dict[Hashable, str] = {}  # each passage is normalized once, however many questions retrieve it
    found = np.zeros((len(ranked), max(ks)), dtype=bool)
    for i, (row, accepted) in enumerate(zip(ranked, answers, strict=True)):
        needles = [_padded_tokens(answer) for answer in accepted]
        if any(not needle.strip() for needle in needles):
            raise InputError(f"answers[{i}] is {accepted!r}: an answer must have a letter, a digit or a symbol")
        for rank, passage in enumerate(row[: max(ks)]):
            if passage not in padded:
                if passage not in texts:
                    raise InputError(f"passage {passage!r}, ranked for question {i}, is not in the corpus")
                padded[passage] = _padded_tokens(texts[passage])
            if rule == OWN_DATA:
                holds = any(contains_answer(texts[passage], answer, language) for answer in accepted)
            else:
                holds = any(needle in padded[passage] for needle in needles)
            if holds:
                found[i, rank:] = True
                break
    return found[:, np.asarray(ks) - 1].astype(np.float64)


def _padded_tokens(text: str) -> str:
    """DPR's tokens with a space on either side of each: no token contains a space, so `in` finds whole tokens only."""
    return " " + " ".join(_token_pattern().findall(unicodedata.normalize("NFD", text).lower())) + " "


@functools.cache
def _token_pattern() -> Any:
    import regex  # the standard library's re has no \p{M}: it would cut "e" + combining accent in two

    return regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


def _rankings(ids: Sequence[Sequence[Hashable]] | np.ndarray, ks: Sequence[int]) -> list[list[Hashable]]:
    # ndarray.tolist gives Python strings and integers, which hash as the corpus' own ids do.
    ranked = ids.tolist() if isinstance(ids, np.ndarray) else [list(row) for row in ids]
    if not ranked:
        raise InputError("no rankings: give one list of passage ids per question")
    if len(ks) == 0 or min(ks) < 1:
        raise InputError(f"ks is {list(ks)}: give cut-offs of at least 1")
    depth = max(len(row) for row in ranked)
    if max(ks) > depth:
        raise InputError(f"k = {max(ks)} but no ranking is longer than {depth}: retrieve more passages, or lower k")
    ranked = [[passage for passage in row if passage != ""] for row in ranked]
    for i, row in enumerate(ranked):
        _check_distinct(f"the ranking of question {i}", row)
    return ranked


def _check_distinct(where: str, ranking: Iterable[Hashable]) -> None:
    ranking = list(ranking)
    if len(set(ranking)) != len(ranking):
        twice = next(passage for passage in ranking if ranking.count(passage) > 1)
        raise InputError(f"{where} has passage {twice!r} twice")


def _as_set(where: str, passages: Collection[Hashable]) -> set[Hashable]:
    if isinstance(passages, str) or len(passages) == 0:
        raise InputError(f"{where} is {passages!r}: give at least one gold passage, in a list or set")
    return set(passages)
