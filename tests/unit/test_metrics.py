"""Metrics against hand values, brute force, a second library, and their limits."""

import itertools
import math
import subprocess
import sys
import time

import numpy as np
import pytest

from nbutils import metrics, paths
from nbutils.errors import InputError
from nbutils.metrics import answers as answers_module

# Answers


def test_normalize_answer_follows_squad():
    assert metrics.normalize_answer("  The U.S.A.,\tan  apple ") == "usa apple"
    assert metrics.normalize_answer("Theatre") == "theatre"


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("The zebra.", ["zebra"], 1.0, 1.0),
        ("a plains zebra", ["zebra", "lion"], 0.0, 2 * 1 * 0.5 / 1.5),
        ("new new york", ["new york"], 0.0, 2 * 2 / 5),  # words count as a multiset
        ("", ["zebra"], 0.0, 0.0),
        ("horse", ["zebra"], 0.0, 0.0),
        ("the", ["A"], 1.0, 1.0),  # both normalize to nothing: SQuAD 2.0's rule
    ],
)
def test_exact_match_and_token_f1_by_hand(prediction, answers, exact, f1):
    assert metrics.answer_scores("exact_match", [prediction], [answers]).tolist() == [exact]
    assert metrics.answer_scores("token_f1", [prediction], [answers]).tolist() == pytest.approx([f1])


def test_rouge_l_by_hand_takes_the_best_answer():
    # Longest common subsequence of "a b c d" and "a c d e" is "a c d": precision and recall 3/4.
    scores = metrics.answer_scores("rouge_l", ["a b c d", "x"], [["z", "a c d e"], ["y"]])
    assert scores.tolist() == pytest.approx([0.75, 0.0])


def test_bleu_1_by_hand_and_corpus_level_differs_from_the_mean():
    predictions, answers = ["the the cat", "dog"], [["The cat sat"], ["a big dog", "dog food"]]
    # Clipped precision 2/3 and equal length; then precision 1 and the closest answer one word longer.
    expected = [2 / 3, math.exp(1 - 2 / 1)]
    assert metrics.answer_scores("bleu_1", predictions, answers).tolist() == pytest.approx(expected)
    module = answers_module._evaluate_module("bleu_1")
    corpus = module.compute(predictions=predictions, references=answers)["bleu_1"]
    assert corpus == pytest.approx((3 / 4) * math.exp(1 - 5 / 4))
    assert metrics.answer_scores("bleu_1", ["no"], [["match"]]).tolist() == [0.0]


def test_distinct_ngrams_by_hand():
    assert metrics.distinct_ngrams(["a b c d", "A b c"], n=3) == pytest.approx(2 / 3)
    assert metrics.distinct_ngrams(["a a a"], n=1) == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="none of 1 texts is as long as 3"):
        metrics.distinct_ngrams(["too short"])
    with pytest.raises(InputError, match="corpus-level"):
        metrics.answer_scores("distinct_ngrams", ["a"], [["a"]])


def test_distinct_ngram_scores_by_hand():
    # "a b c" occurs twice, "b c d" once: 3 occurrences, of which the first text has 1/2 + 1 and the second 1/2.
    # R = 2/3, 3 texts and 3 n-grams: R + (1.5 - 2 R), R + (0.5 - R), and R for a text without an n-gram.
    scores = metrics.distinct_ngram_scores(["a b c d", "A b c", "short"])
    assert scores.tolist() == pytest.approx([5 / 6, 1 / 2, 2 / 3])
    with pytest.raises(InputError, match="none of 1 texts"):
        metrics.distinct_ngram_scores(["too short"])
    with pytest.raises(InputError, match="give a list"):
        metrics.distinct_ngram_scores([])


def test_the_mean_of_distinct_ngram_scores_is_the_ratio():
    rng = np.random.default_rng(0)
    varied = [" ".join(rng.choice(list("abcdefgh"), size=rng.integers(0, 30))) for _ in range(60)]
    repeated = [text[: len(text) // 2] + text[: len(text) // 2] for text in varied]
    for n in (1, 2, 3):
        shares = [metrics.distinct_ngram_scores(texts, n) for texts in (varied, repeated)]
        ratios = [metrics.distinct_ngrams(texts, n) for texts in (varied, repeated)]
        assert [share.mean() for share in shares] == pytest.approx(ratios, abs=1e-12)
    # Texts of unequal length that repeat nothing differ in length only: the interval is a point.
    lengths = [" ".join(f"w{i}-{j}" for j in range(i + 3)) for i in range(30)]
    _, low, high = metrics.bootstrap_mean(metrics.distinct_ngram_scores(lengths, 1))
    assert high - low < 0.2
    # The planted fault: texts that repeat themselves have the smaller ratio, and the paired interval says so.
    _, low, _ = metrics.bootstrap_mean(shares[0] - shares[1])
    assert low > 0


@pytest.mark.parametrize("metric", metrics.ANSWER_METRICS)
def test_answer_metrics_reach_their_limits_and_order(metric):
    answers = [["Lake Victoria is shared by three countries"], ["zebra crossing"]]
    right = metrics.answer_scores(metric, [accepted[0] for accepted in answers], answers)
    swapped = metrics.answer_scores(metric, ["zebra crossing", "Lake Victoria"], answers)
    assert right.tolist() == pytest.approx([1.0, 1.0])
    assert swapped.tolist() == [0.0, 0.0]
    assert right.dtype == np.float64


@pytest.mark.parametrize(
    ("predictions", "answers", "message"),
    [
        ([], [], "at least one"),
        (["a"], [["a"], ["b"]], "1 predictions but 2"),
        (["a"], [[]], r"answers\[0\]"),
        (["a", "b"], [["a"], [" "]], r"answers\[1\].*blank"),
        (["a"], ["a"], r"answers\[0\] is 'a'"),
        ("a", [["a"]], "predictions is 'a'"),
        ([None], [["a"]], r"predictions\[0\] is None"),
    ],
)
def test_bad_answers_are_refused(predictions, answers, message):
    with pytest.raises(InputError, match=message):
        metrics.answer_scores("exact_match", predictions, answers)


def test_unknown_metric_is_refused():
    with pytest.raises(InputError, match=r"'acc'.*exact_match"):
        metrics.answer_scores("acc", ["a"], [["a"]])


def test_a_thousand_predictions_take_less_than_a_second():
    predictions, answers = ["some short answer"] * 1000, [["a short answer", "other"]] * 1000
    for metric in metrics.ANSWER_METRICS:
        metrics.answer_scores(metric, ["warm"], [["up"]])
        start = time.process_time()
        metrics.answer_scores(metric, predictions, answers)
        assert time.process_time() - start < 1, metric


LOAD_IN_PARALLEL = """
import multiprocessing, socket, sys
from pathlib import Path
import evaluate
def refuse(*args): raise OSError("the network was used")
socket.socket.connect = refuse
def load(name):
    module = evaluate.load(str(Path(sys.argv[1]) / name))
    inputs = {"predictions": ["a b c", "x"]}
    if name != "distinct_ngrams":
        inputs["references"] = [["a b c"], ["y", "x"]]
    return module.compute(**inputs)[name]
names = ["exact_match", "token_f1", "rouge_l", "bleu_1", "distinct_ngrams"] * 4
with multiprocessing.get_context("fork").Pool(8) as pool:
    print(pool.map(load, names, chunksize=1))
"""


def test_modules_load_offline_from_many_processes_into_an_empty_cache(tmp_path):
    environment = {"HF_HOME": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(paths.ROOT), "PATH": ""}
    command = [sys.executable, "-c", LOAD_IN_PARALLEL, str(paths.METRICS)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().splitlines()[-1] == str([1.0] * 20)


SCORE = """
from nbutils import metrics
answers = [["a b c"], ["y", "x"]]
scores = [metrics.answer_scores(name, ["a b c", "x"], answers).tolist() for name in metrics.ANSWER_METRICS]
print(scores, metrics.distinct_ngrams(["a b c", "x"]))
"""


def test_scores_write_nothing_into_the_home(tmp_path):
    environment = {"HOME": str(tmp_path), "HF_HOME": "/proc/none", "PYTHONPATH": str(paths.ROOT), "PATH": ""}
    command = [sys.executable, "-c", SCORE]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().splitlines()[-1] == f"{[[1.0, 1.0]] * 4} 1.0"
    assert list(tmp_path.iterdir()) == []


# Rankings


def random_rankings(n_questions=40, n_passages=60, depth=30, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.array([[f"p{i}" for i in rng.permutation(n_passages)[:depth]] for _ in range(n_questions)])
    gold = [{f"p{i}" for i in rng.integers(n_passages, size=rng.integers(1, 4))} for _ in range(n_questions)]
    return ids, gold


def as_run(ids, gold):
    questions = [f"q{i}" for i in reversed(range(len(gold)))]  # an order that sorting would change
    run = {question: list(row) for question, row in zip(questions, ids, strict=True)}
    qrels = {question: dict.fromkeys(sorted(row), 1) for question, row in zip(questions, gold, strict=True)}
    return run, qrels


def test_recall_curve_by_hand():
    ids = [["a", "b", "c"], ["d", "e", "f"]]
    curve = metrics.recall_curve(ids, [{"a", "c"}, {"x"}], [1, 2, 3])
    assert curve.tolist() == [[0.5, 0.5, 1.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("seed", range(5))
def test_recall_curve_equals_ir_measures(seed):
    ids, gold = random_rankings(seed=seed)
    ks = range(1, 31)
    run, qrels = as_run(ids, gold)
    scores = metrics.retrieval_scores([f"R@{k}" for k in ks], run, qrels)
    assert 0 < scores["R@5"].mean() < scores["R@30"].mean() < 1
    curve = metrics.recall_curve(ids, gold, ks)
    np.testing.assert_array_equal(curve, np.stack(list(scores.values()), axis=1))
    shorter = [row[: 1 + i % 30] for i, row in enumerate(ids.tolist())]  # a retriever that found no more
    run, _ = as_run(shorter, gold)
    scores = metrics.retrieval_scores([f"R@{k}" for k in ks], run, qrels)
    np.testing.assert_array_equal(metrics.recall_curve(shorter, gold, ks), np.stack(list(scores.values()), axis=1))
    shifted = metrics.recall_curve(ids, gold[1:] + gold[:1], ks)  # the planted fault: another question's passages
    assert not np.array_equal(shifted, curve)


def test_retrieval_scores_equal_the_definitions():
    ids, gold = random_rankings(seed=1)
    run, qrels = as_run(ids, gold)
    scores = metrics.retrieval_scores(["RR@10", "nDCG@10"], run, qrels)
    for i, (row, relevant) in enumerate(zip(ids, gold, strict=True)):
        ranks = [rank for rank, passage in enumerate(row[:10], start=1) if passage in relevant]
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, len(relevant) + 1))
        assert scores["RR@10"][i] == pytest.approx(1 / ranks[0] if ranks else 0)
        assert scores["nDCG@10"][i] == pytest.approx(sum(1 / math.log2(rank + 1) for rank in ranks) / ideal)


def test_equal_and_nearly_equal_scores_keep_the_retrievers_order():
    qrels = {"q": {"a": 1}}
    for run in ({"a": 1.0, "b": 1.0}, {"a": 16777217.0, "b": 16777216.0}, ["a", "b"]):
        assert metrics.retrieval_scores(["R@1"], {"q": run}, qrels)["R@1"].tolist() == [1.0]
    assert metrics.retrieval_scores(["R@1"], {"q": {"b": 1.0, "a": 1.0}}, qrels)["R@1"].tolist() == [0.0]


def test_empty_ranking_counts_as_zero_and_missing_question_is_refused():
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}}
    measures = ["R@1", "RR@10", "nDCG@10"]
    assert all(
        scores.tolist() == [1.0, 0.0]
        for scores in metrics.retrieval_scores(measures, {"q1": ["a"], "q2": []}, qrels).values()
    )
    assert metrics.retrieval_scores(["R@1"], {"q1": {}, "q2": {}}, qrels)["R@1"].tolist() == [0.0, 0.0]
    with pytest.raises(InputError, match=r"1 missing from run \['q2'\]"):
        metrics.retrieval_scores(measures, {"q1": ["a"]}, qrels)
    with pytest.raises(InputError, match=r"1 not in qrels \['q3'\]"):
        metrics.retrieval_scores(measures, {"q1": ["a"], "q2": [], "q3": []}, qrels)


@pytest.mark.parametrize("measure", ["recall", "R", "R@0", "R@x", "R@-1", "", "print(1)"])
def test_unknown_measure_is_refused(measure):
    with pytest.raises(InputError, match="measure"):
        metrics.retrieval_scores([measure], {"q": ["a"]}, {"q": {"a": 1}})


def test_bad_run_and_qrels_are_refused():
    for run, qrels, message in (
        ({}, {}, "empty"),
        ({"q": ["a", "a"]}, {"q": {"a": 1}}, "'a' twice"),
        ({"q": {"a": math.nan}}, {"q": {"a": 1}}, "not a number"),
        ({"q": ["a"]}, {"q": {"a": 0}}, "no relevant passage"),
    ):
        with pytest.raises(InputError, match=message):
            metrics.retrieval_scores(["R@1"], run, qrels)


def test_arguments_are_not_changed():
    run, qrels = {"q": {"b": 1.0, "a": 2.0}}, {"q": {"a": 1}}
    metrics.retrieval_scores(["R@1", "nDCG@10"], run, qrels)
    assert run == {"q": {"b": 1.0, "a": 2.0}}
    assert qrels == {"q": {"a": 1}}


def test_planted_fault_shuffled_qrels_give_much_lower_recall():
    rng = np.random.default_rng(0)
    gold = [{f"p{i}"} for i in range(200)]
    ids = [
        [f"p{i}", *(f"p{j}" for j in rng.choice(np.delete(np.arange(200), i), 4, replace=False))] for i in range(200)
    ]
    shuffled = [gold[i] for i in rng.permutation(200)]
    right, wrong = (metrics.recall_curve(ids, labels, [1, 5]).mean(axis=0) for labels in (gold, shuffled))
    assert right.tolist() == [1.0, 1.0]
    assert (wrong < 0.1).all()


@pytest.mark.parametrize(
    ("ids", "gold", "ks", "message"),
    [
        ([], [], [1], "no rankings"),
        ([["a"]], [{"a"}, {"b"}], [1], "1 rankings but 2"),
        ([["a"]], [set()], [1], r"gold\[0\]"),
        ([["a"]], ["a"], [1], r"gold\[0\]"),
        ([["a", "a"]], [{"a"}], [1], "'a' twice"),
        ([["a", "b"]], [{"a"}], [3], "k = 3 but no ranking is longer than 2"),
        ([["a", "b"]], [{"a"}], [0], "at least 1"),
        ([["a", "b"]], [{"a"}], [], "at least 1"),
    ],
)
def test_bad_rankings_are_refused(ids, gold, ks, message):
    with pytest.raises(InputError, match=message):
        metrics.recall_curve(ids, gold, ks)


def test_topk_accuracy_finds_whole_tokens_only():
    texts = {"a": "The Sultanate of Oman.", "b": "The Isle of Man", "c": "a café, in São Tomé"}
    ids = [["a", "b", "c"]]
    for answer, expected in (
        ("Man", [0, 1, 1]),  # not in "Oman"
        ("MAN", [0, 1, 1]),
        ("the  isle of", [0, 1, 1]),
        ("Cafe", [0, 0, 0]),  # accents matter: DPR keeps the marks
        ("cafe\u0301", [0, 0, 1]),  # but not how they are encoded
        ("cafe\u0301 in", [0, 0, 0]),  # punctuation is a token of its own
        ("Sao Tome", [0, 0, 0]),
        ("Oman.", [1, 1, 1]),
    ):
        assert metrics.topk_accuracy(ids, texts, [[answer]], [1, 2, 3]).tolist() == [expected], answer


def test_topk_accuracy_equals_brute_force():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(40)]
    texts = {f"p{i}": " ".join(rng.choice(words, 12)) for i in range(50)}
    ids, _ = random_rankings(n_passages=50)
    answers = [[" ".join(rng.choice(words, rng.integers(1, 3))) for _ in range(2)] for _ in range(len(ids))]

    def contains(text, answer):
        text, answer = text.split(), answer.split()
        return any(text[i : i + len(answer)] == answer for i in range(len(text)))

    ks = [1, 5, 30]
    expected = [
        [float(any(contains(texts[p], a) for p, a in itertools.product(row[:k], accepted))) for k in ks]
        for row, accepted in zip(ids.tolist(), answers, strict=True)
    ]
    found = metrics.topk_accuracy(ids, texts, answers, ks)
    assert 0 < found[:, 0].mean() < found[:, 2].mean()
    assert found.tolist() == expected


def test_topk_accuracy_refuses_unknown_passages_and_answers_without_tokens():
    with pytest.raises(InputError, match="passage 'x'"):
        metrics.topk_accuracy([["x"]], {"a": "text"}, [["text"]], [1])
    with pytest.raises(InputError, match=r"answers\[0\]"):
        metrics.topk_accuracy([["a"]], {"a": "text"}, [["\u200b"]], [1])
    with pytest.raises(InputError, match="1 predictions but 2 lists"):
        metrics.topk_accuracy([["a"]], {"a": "text"}, [["text"], ["text"]], [1])


def test_ranking_metrics_are_fast_for_a_thousand_questions_of_a_hundred_passages():
    rng = np.random.default_rng(0)
    texts = {f"p{i}": " ".join(f"w{j}" for j in rng.integers(2000, size=100)) for i in range(2000)}
    ids = np.array([[f"p{i}" for i in rng.permutation(2000)[:100]] for _ in range(1000)])
    start = time.process_time()
    metrics.topk_accuracy(ids, texts, [["w1 w2", "w3"]] * 1000, [1, 100])
    metrics.recall_curve(ids, [{"p1"}] * 1000, range(1, 101))
    assert time.process_time() - start < 3


# Intervals


def test_bootstrap_mean_limits():
    assert metrics.bootstrap_mean([0, 0, 0]) == (0.0, 0.0, 0.0)
    assert metrics.bootstrap_mean([0.3] * 5) == pytest.approx((0.3, 0.3, 0.3))
    value, low, high = metrics.bootstrap_mean([0, 1] * 200)
    assert value == 0.5
    # 1.96 standard errors of a proportion of 0.5 over 400 questions are 0.049.
    assert (low, high) == pytest.approx((0.451, 0.549), abs=0.003)


def test_bootstrap_agrees_with_scipy():
    from scipy import stats

    rng = np.random.default_rng(0)
    a, b = rng.gamma(2, size=80), rng.gamma(1.5, size=80)
    b += 0.5 * a
    ours = metrics.bootstrap_mean(a - b)
    theirs = stats.bootstrap(
        (a, b), lambda x, y, axis: (x - y).mean(axis), paired=True, method="percentile", n_resamples=10_000, rng=1
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours[1] == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours[2] == pytest.approx(theirs.high, abs=0.03 * width)
    unpaired = metrics.bootstrap_mean(a)[2] - metrics.bootstrap_mean(b)[1]
    assert unpaired - ours[2] > 0.1 * width  # the planted fault: ignoring the pairs is visible


def test_bootstrap_covers_the_true_mean():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        _, low, high = metrics.bootstrap_mean(rng.random(60) < 0.3, n_resamples=1000)
        covered.append(low <= 0.3 <= high)
    assert 0.90 <= np.mean(covered) <= 0.99


def test_bootstrap_of_a_matrix_is_that_of_its_columns():
    scores = np.random.default_rng(0).random((37, 5))
    value, low, high = metrics.bootstrap_mean(scores)
    assert value.shape == low.shape == high.shape == (5,)
    for column in range(5):
        assert metrics.bootstrap_mean(scores[:, column]) == pytest.approx((value[column], low[column], high[column]))
    assert metrics.bootstrap_mean(scores, seed=1)[1].tolist() != low.tolist()


def test_bootstrap_sums_are_exact_so_that_threads_cannot_change_a_digit():
    scores = np.random.default_rng(0).random((401, 7))
    scores[0] = 1.0  # one largest value for all columns: they are rounded alike
    _, low, high = metrics.bootstrap_mean(scores)
    # A matrix product and a matrix-vector product add up in different orders, as different numbers of threads do.
    alone = [metrics.bootstrap_mean(scores[:, column]) for column in range(7)]
    assert [(one[1], one[2]) for one in alone] == list(zip(low.tolist(), high.tolist(), strict=True))


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, math.nan], [1.0, math.inf], [[1.0, math.nan], [0.0, 0.0]]])
def test_bootstrap_refuses_too_few_or_non_finite_scores(scores):
    with pytest.raises(InputError):
        metrics.bootstrap_mean(scores)
