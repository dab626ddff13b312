"""Scores of answers, texts and passages found, beside what chance gives."""

import numpy as np
import pytest

from nbutils import data, generation
from nbutils.data import Passage, claim_example, question_example
from nbutils.errors import InputError
from nbutils.record import Record, scoring

LIMA = Passage(
    "Peru", "The capital is Lima, on the coast. Short one. Its currency is the sol, used since 1991 in all of it."
)


def claims(n):
    labels = ("supported", "refuted", "not_enough_information")
    return [claim_example(f"test{i}", f"claim {i}", labels[i % 3 if i < n // 2 else 0], (), "test") for i in range(n)]


def test_what_is_retrieved_is_scored_by_answers_and_by_gold_passages():
    corpus = {"p1": LIMA, "p2": Passage("Chad", "Desert."), "p3": Passage("Peru", "Lima again.")}
    items = [data.Example(f"q{i}", "fact", "", "", ("Lima",), ("p1",)) for i in range(4)]
    record = Record("00_start_here", "smoke", 0, {}, {})
    found = [np.array([["p1", "p2"]] * 4), np.array([["p3", "p1"]] * 2 + [["p2", "p3"]] * 2)]  # two seeds
    scoring.record_retrieval(record, "X", items, corpus, found, ks=(1, 2))
    assert record["scores"]["top_1/X"]["values"] == [1, 1, 0.5, 0.5]
    assert record["scores"]["recall_at_1/X"]["values"] == [0.5] * 4
    assert record["scores"]["recall_at_2/X"]["values"] == [1, 1, 0.5, 0.5]
    assert record["metrics"]["top_2/X"]["value"] == 1.0
    # Each seed's own mean: the first finds p1 first, the second finds it for half of the questions, in second place.
    assert record["scores"]["recall_at_1/X"]["seed_means"] == [1.0, 0.0]
    assert record["scores"]["recall_at_2/X"]["seed_means"] == [1.0, 0.5]
    assert record["scores"]["top_1/X"]["seed_means"] == [1.0, 0.5]
    above = [record["scores"][f"top_1 above chance/X{null}"] for null in ("", ", shuffled answers")]
    assert all(len(entry["seed_means"]) == 2 for entry in above) and record["metrics"]["top_1/X"]["seeds"] == 2
    scoring.record_retrieval(record, "of one seed", items, corpus, found[:1], ks=(1, 2))
    assert all("seed_means" not in entry for name, entry in record["scores"].items() if name.endswith("of one seed"))
    items[0] = data.Example("q0", "fact", "", "", ("Quito",), ())
    scoring.record_retrieval(record, "Y", items, corpus, found, ks=(1, 2))
    assert "recall_at_1/Y" not in record["scores"]  # not all questions name a gold passage
    assert sum(record["scores"]["top_2/Y"]["values"]) == 3
    assert record["scores"]["top_2/Y"]["values"][0] == 0


def test_recall_alone_is_that_of_the_whole_record():
    items = [data.Example(f"q{i}", "fact", "", "", ("Lima",), ("p1", "p9")[: i + 1]) for i in range(2)]
    record = Record("00_start_here", "smoke", 0, {}, {})
    found = [np.array([["p1", "p2"], ["p9", "p1"]]), np.array([["p2", "p1"], ["p2", "p9"]])]  # two seeds
    scoring.record_recall(record, "X", items, found, (1, 2))
    assert record["scores"]["recall_at_1/X"]["values"] == [0.5, 0.25]  # of two gold passages one, by one of two seeds
    assert record["scores"]["recall_at_2/X"]["values"] == [1, 0.75]
    assert record["scores"]["recall_at_1/X"]["seed_means"] == [0.75, 0]
    scoring.record_recall(record, "nothing", items, found, [])
    assert not [name for name in record["scores"] if "nothing" in name]
    with pytest.raises(InputError, match="gold"):
        scoring.record_recall(record, "Y", [data.Example("q", "fact", "", "", ("Lima",), ())], [found[0][:1]], (1,))


def test_an_answer_in_the_passages_counts_for_what_it_is_above_chance():
    """Each question has a passage of its own; another question's answer is seldom in it."""
    corpus = {f"p{i}": Passage("", f"value{i} common") for i in range(50)}
    items = [data.Example(f"q{i}", "fact", "", "", (f"value{i}",), (f"p{i}",)) for i in range(50)]
    record = Record("00_start_here", "smoke", 0, {}, {})
    own = np.array([[f"p{i}"] for i in range(50)])
    scoring.record_retrieval(record, "right", items, corpus, [own], ks=(1,))
    easy = [data.Example(item.id, "fact", "", "", ("common",), item.gold_passages) for item in items]
    scoring.record_retrieval(record, "easy", easy, corpus, [own[::-1]], ks=(1,))
    means = {name: metric["value"] for name, metric in record["metrics"].items()}
    assert means["top_1/right"] == means["top_1/easy"] == 1  # the measure itself sees no difference
    assert means["top_1 above chance/right"] > 0.9 and means["top_1 above chance/easy"] == 0
    assert abs(means["top_1 above chance/right, shuffled answers"]) < 0.1


def test_scores_of_answers_are_means_over_seeds_beside_chance():
    record = Record("00_start_here", "smoke", 0, {}, {})
    items = claims(40)
    right = [item.answers[0] for item in items]
    wrong = ["maybe"] * 40
    scoring.record_answers(record, "exact_match", "RAG-Token", "verification", items, [right, wrong])
    name = "exact_match/RAG-Token/verification"
    assert record["metrics"][name]["value"] == 0.5 and record["scores"][name]["ids"] == [item.id for item in items]
    assert record["scores"][name]["seed_means"] == [1.0, 0.0] and record["metrics"][name]["seeds"] == 2
    assert record["metrics"][f"{name}, shuffled answers"]["value"] < 0.5  # the right answers to other claims
    assert len(record["scores"][f"{name}, shuffled answers"]["seed_means"]) == 2
    assert record["scores"][f"{name}, shuffled answers"]["ids"] == record["scores"][name]["ids"]
    scoring.record_answers(record, "exact_match", "RAG-Token", "one seed", items, [right])
    assert "seed_means" not in record["scores"]["exact_match/RAG-Token/one seed"]


def test_shuffled_answers_are_never_right_by_accident():
    """One monarch for a fifth of the offices: a plain permutation leaves some with the right answer."""
    holders = ["Charles III" if i % 5 == 0 else f"Holder {i}" for i in range(40)]
    offices = [
        question_example(f"o{i}", f"Who holds office {i}?", (holder,), ("p1",)) for i, holder in enumerate(holders)
    ]
    record = Record("00_start_here", "smoke", 0, {}, {})
    scoring.record_answers(record, "exact_match", "RAG", "offices", offices, [holders])
    assert record["metrics"]["exact_match/RAG/offices"]["value"] == 1
    assert record["metrics"]["exact_match/RAG/offices, shuffled answers"]["value"] == 0
    plain = np.random.default_rng(0).permutation(40)
    assert any(holders[i] == holder for i, holder in zip(plain, holders, strict=True))


def test_diversity_at_equal_length_and_with_its_texts_exchanged():
    """One system says the same all the time, the other writes new words, more of them."""
    rng = np.random.default_rng(0)
    new = [" ".join(f"w{word}" for word in rng.integers(10_000, size=12)) for _ in range(40)]
    same = ["the flag of this country"] * 40
    record, ids = Record("00_start_here", "smoke", 0, {}, {}), [f"q{i}" for i in range(40)]
    texts = {"new": [new, new], "same": [same, same], "longer": [[text + " and so on" for text in new]] * 2}
    pairs = (("new", "same"), ("new", "longer"))
    assert scoring.record_diversity(record, "clues", ids, texts, pairs, seed=0)
    value = {name: metric["value"] for name, metric in record["metrics"].items()}
    assert value["distinct_trigrams/new/clues"] > 0.99
    assert value["distinct_trigrams/same/clues"] == pytest.approx(3 / (3 * 40))
    assert value["distinct_trigrams/longer/clues"] < 0.95  # "and so on" again and again
    cut = (value[f"distinct_trigrams at equal length/{name}/clues"] for name in ("new with longer", "longer with new"))
    assert next(cut) == next(cut)  # the same words are left
    one, other = (value[f"distinct_trigrams mixed/{name}/clues"] for name in ("new with same", "same with new"))
    assert abs(one - other) < 0.1 < value["distinct_trigrams/new/clues"] - value["distinct_trigrams/same/clues"]
    assert all(len(entry["seed_means"]) == 2 for entry in record["scores"].values())
    count = len(record["scores"])
    assert not scoring.record_diversity(record, "none", ids, {**texts, "new": [new, ["no more"] * 40]}, pairs, seed=0)
    assert len(record["scores"]) == count


def test_losses_of_windows_are_means_over_their_tokens_beside_the_base():
    windows = [generation.Window(f"w{i}", f"document {i}", (0, 1, 2, 3)) for i in range(3)]
    base = -np.arange(1.0, 10.0)  # windows of 3 tokens
    seeds = np.stack([base + 0.5, base + 1.5])
    record = Record("00_start_here", "smoke", 0, {}, {})
    scoring.record_losses(record, windows, {"base": base, "better": seeds}, base)
    assert record["scores"]["nats/base"]["values"] == [2, 5, 8]
    assert record["scores"]["nats/better"]["values"] == [1, 4, 7]
    assert record["scores"]["saved/better"]["seed_means"] == [0.5, 1.5]
    metrics = record["metrics"]
    assert metrics["perplexity/base"]["value"] == pytest.approx(np.exp(5))
    assert metrics["perplexity/base"]["high"] == pytest.approx(np.exp(metrics["nats/base"]["high"]))
    assert metrics["nats/base"]["unit"] == "windows" and metrics["nats/base"]["subjects"] == 3
    scoring.record_losses(record, windows, {"base": base}, base, skipped=2, note=" of the last")
    assert record["scores"]["nats of the last/base"]["values"] == [3, 6, 9]
    for skipped, n in ((3, 9), (0, 8)):
        with pytest.raises(InputError, match=f"{n} tokens of 3 windows, {skipped} of each left out"):
            scoring.record_losses(record, windows, {"x": base[:n]}, base[:n], skipped=skipped)
