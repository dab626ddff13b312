"""Scores of answers, of the diversity of texts and of what was retrieved, noted in a record."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nbutils import metrics
from nbutils.data import Example, Passage
from nbutils.errors import InputError
from nbutils.record.record import Record

N_SHUFFLES = 20  # draws of other questions' answers, of which chance is the mean


def record_answers(
    record: Record, metric: str, system: str, task: str, items: Sequence[Example], answers: Sequence[Sequence[str]]
) -> None:
    """Note a system's scores as "<metric>/<system>/<task>"; `answers` has one list a training seed, in `items`' order.

    A question's score is the mean over seeds; with more than one their own means are kept. The same answers scored
    against shuffled references go under "<name>, shuffled answers": what chance gives.
    """
    name, accepted = f"{metric}/{system}/{task}", [item.answers for item in items]
    shuffled = _shuffled(accepted)
    per_seed = [metrics.answer_scores(metric, said, accepted) for said in answers]
    chance = [metrics.answer_scores(metric, said, shuffled) for said in answers]
    record.scores(name, items, _by_seed(per_seed), {"shuffled answers": _by_seed(chance)})


def record_diversity(
    record: Record,
    task: str,
    examples: Sequence[Any],
    texts: Mapping[str, Sequence[Sequence[str]]],
    pairs: Sequence[tuple[str, str]],
    seed: int,
) -> bool:
    """Note the share of distinct tri-grams (Lewis et al. 2020, Table 5) as "distinct_trigrams/<system>/<task>".

    `texts` has for each system one list a training seed, in the order of `examples`, which are records or ids. A score
    is the mean over seeds; with more than one their own means are kept. For each (one, other) of `pairs` there is also
    "distinct_trigrams at equal length/<one> with <other>/<task>", of the texts of `one` cut to the words that the
    other system's text of the item has, since the share falls with the amount of text; and "distinct_trigrams
    mixed/...", where half of the items, drawn by `seed`, have their two texts exchanged: chance. False, and nothing is
    noted, where some system writes no text of three tokens.
    """
    half = np.random.default_rng(seed).permutation(len(examples)) < len(examples) // 2
    versions = {f"distinct_trigrams/{system}": per_seed for system, per_seed in texts.items()}
    for pair in pairs:
        for one, other in (pair, pair[::-1]):
            both = list(zip(texts[one], texts[other], strict=True))
            cut = [[_first_words(a, len(b.split())) for a, b in zip(*said, strict=True)] for said in both]
            versions[f"distinct_trigrams at equal length/{one} with {other}"] = cut
            versions[f"distinct_trigrams mixed/{one} with {other}"] = [np.where(half, b, a).tolist() for a, b in both]
    try:
        shares = {
            name: _by_seed([metrics.distinct_ngram_scores(said) for said in per_seed])
            for name, per_seed in versions.items()
        }
    except InputError:  # no tri-gram at all
        return False
    for name, values in shares.items():
        record.scores(f"{name}/{task}", examples, values)
    return True


def record_retrieval(
    record: Record,
    system: str,
    items: Sequence[Example],
    corpus: Mapping[str, Passage],
    found: Sequence[np.ndarray],
    ks: Sequence[int] = (1, 5, 20),
) -> None:
    """Note what a system retrieves; `found` has ids (B, >= max k) for each training seed, rows in the items' order.

    "top_<k>/<system>" is the share of questions with an answer in the first k passages (DPR's measure). A wrong answer
    stands in some passage too, and the more often the more the passages found are about what is asked, so that
    "top_<k> above chance/<system>" takes off the same share for other questions' answers, the mean of N_SHUFFLES draws.
    What is left of it when the answers are another question's to begin with goes under ", shuffled answers". Where all
    items name gold passages, "recall_at_<k>/<system>" is the share of these that is among the first k. A score is the
    mean over seeds; with more than one their own means are kept.
    """
    accepted = [item.answers for item in items]
    texts = {id_: passage.text for id_, passage in corpus.items()}
    draws = [accepted, *(_shuffled(accepted, seed) for seed in range(N_SHUFFLES + 1))]
    together = [answers for draw in draws for answers in draw]  # in one call each passage is read once
    hits = np.stack([metrics.topk_accuracy([*rows] * len(draws), texts, together, ks) for rows in found])
    hits = np.moveaxis(hits.reshape(len(found), len(draws), len(items), len(ks)), 1, 0)
    right, chance, other = hits[0], hits[1:-1].mean(axis=0), hits[-1]
    for place, k in enumerate(ks):
        record.scores(f"top_{k}/{system}", items, _by_seed(right[..., place]))
        null = {"shuffled answers": _by_seed((other - chance)[..., place])}
        record.scores(f"top_{k} above chance/{system}", items, _by_seed((right - chance)[..., place]), null)
    if all(item.gold_passages for item in items):
        record_recall(record, system, items, found, ks)


def record_recall(
    record: Record, system: str, items: Sequence[Example], found: Sequence[np.ndarray], ks: Sequence[int]
) -> None:
    """Note the share of the gold passages among the first k found as "recall_at_<k>/<system>", for each of `ks`.

    `found` as in `record_retrieval`; without `ks` nothing is noted. Raises InputError for an item without gold
    passages, see `metrics.recall_curve`.
    """
    if not ks:
        return
    gold = [item.gold_passages for item in items]
    recall = np.stack([metrics.recall_curve(rows, gold, ks) for rows in found])
    for place, k in enumerate(ks):
        record.scores(f"recall_at_{k}/{system}", items, _by_seed(recall[..., place]))


def record_rankings(
    record: Record, measures: Mapping[str, str], name: str, items: Sequence[Example], ids: np.ndarray
) -> None:
    """Note what rankings are worth as "<label>/<name>"; `measures` are {measure of ir_measures: label}.

    `ids` (n, K) has a row for each item, best first; a place "" is no passage. Raises InputError as
    `metrics.retrieval_scores`, and for other than one row an item.
    """
    if len(ids) != len(items):
        raise InputError(f"{len(ids)} rankings of {len(items)} questions: give one row each")
    gold = {item.id: dict.fromkeys(item.gold_passages, 1) for item in items}
    run = dict(zip(gold, ids.tolist(), strict=True))
    for measure, values in metrics.retrieval_scores(list(measures), run, gold).items():
        record.scores(f"{measures[measure]}/{name}", items, values)


def _by_seed(per_seed: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Scores of k seeds as `Record.scores` takes them: (k, n), of a single seed (n,)."""
    return np.array(per_seed) if len(per_seed) > 1 else np.array(per_seed[0])


def _first_words(text: str, n: int) -> str:
    return " ".join(text.split()[:n])


def _shuffled(accepted: list[tuple[str, ...]], seed: int = 0) -> list[tuple[str, ...]]:
    """Each question with the answers of another; drawn again while a question shares an answer with those it gets.

    A permutation leaves one item in its place on average, and one monarch may hold many offices: with a system that is
    often right this is no longer chance. Labels are always shared: of them the hundredth draw is as good as the first.
    """
    rng = np.random.default_rng(seed)
    for _ in range(100):
        drawn = [accepted[i] for i in rng.permutation(len(accepted))]
        if not any(set(own) & set(other) for own, other in zip(accepted, drawn, strict=True)):
            break
    return drawn


def record_losses(
    record: Record, windows: Sequence[Any], logprobs: Mapping[str, Any], base: Any, skipped: int = 0, note: str = ""
) -> None:
    """Note what systems lose per token of the same windows of text, in nats (-log p, mean over a window's tokens).

    `logprobs` are {system: log p (N,)}, or (k, N) of k training seeds, of the tokens of all windows in order, each
    window with as many; `base` (N,) are those of the model that they start from. The first `skipped` tokens of each
    window are left out. Noted as "nats<note>/<system>", "saved<note>/<system>" (what the base loses more), and
    "perplexity<note>/<system>", exp of the first with its interval. Raises InputError where N is no multiple of the
    number of windows, or no token is left.
    """

    def losses(of_tokens: Any) -> np.ndarray:
        of_tokens = np.asarray(of_tokens, dtype=np.float64)
        if of_tokens.shape[-1] % len(windows) or skipped >= of_tokens.shape[-1] // len(windows):
            raise InputError(f"{of_tokens.shape[-1]} tokens of {len(windows)} windows, {skipped} of each left out")
        return -of_tokens.reshape(*of_tokens.shape[:-1], len(windows), -1)[..., skipped:].mean(axis=-1)

    of_base = losses(base)
    for system, of_tokens in logprobs.items():
        nats = losses(of_tokens)
        record.scores(f"nats{note}/{system}", windows, nats)
        record.scores(f"saved{note}/{system}", windows, of_base - nats)
        metric = record["metrics"][f"nats{note}/{system}"]
        value, low, high = (math.exp(metric[key]) for key in ("value", "low", "high"))
        record.metric(f"perplexity{note}/{system}", value, low, high, len(windows), metric["interval"])
