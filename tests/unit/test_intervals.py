"""Intervals over clustered questions: worked out by hand, written differently, and simulated."""

import itertools
import math

import numpy as np
import pytest

from nbutils import metrics
from nbutils.errors import InputError
from nbutils.metrics.intervals import Interval


def crossed(rng, sizes=(9, 7), n=80, spread=(0.8, 0.8)):
    """Values of n questions with subjects and fields of these numbers, and effects of these SDs beside noise of 1."""
    subjects, fields = (rng.integers(size, size=n) for size in sizes)
    effects = [sd * rng.normal(size=size) for sd, size in zip(spread, sizes, strict=True)]
    return rng.normal(size=n) + effects[0][subjects] + effects[1][fields], subjects, fields


# By hand


def test_two_way_by_hand():
    # Subject and field add up to the value. Sums of a subject are -3, 0, 3: V = 3/2 * 18/81 = 1/3, and of a field too;
    # the squares of the nine cells sum to 12: V = 9/8 * 12/81 = 1/6.
    subjects, fields = np.repeat([-1, 0, 1], 3), np.tile([-1, 0, 1], 3)
    found = metrics.cluster_interval(subjects + fields, subjects, fields)
    assert (found.value, found.se, found.df) == pytest.approx((0, math.sqrt(1 / 3 + 1 / 3 - 1 / 6), 2))
    assert (found.low, found.high) == pytest.approx((-4.302653 * math.sqrt(1 / 2), 4.302653 * math.sqrt(1 / 2)))
    one_way = metrics.cluster_interval(subjects + fields, subjects)
    assert (one_way.se, one_way.df) == pytest.approx((math.sqrt(1 / 3), 2))
    assert metrics.cluster_interval(subjects + fields, fields=fields) == one_way


def test_independent_questions_are_those_of_the_t_test():
    # s^2 = 4/3 * 1/4 = 1/3, so that V = 1/12.
    found = metrics.cluster_interval([1, 1, 0, 0])
    assert (found.value, found.se, found.df) == pytest.approx((0.5, math.sqrt(1 / 12), 3))
    assert found.high - 0.5 == pytest.approx(3.182446 * math.sqrt(1 / 12))
    assert metrics.cluster_interval([1, 1, 0, 0], subjects="abcd") == found


def test_the_variance_is_never_below_the_largest_of_one_dimension():
    # V_subject = 2 * (1 + 1)/16 = 1/4, the fields' sums are 0, V_cell = 1/12: the two-way formula alone gives 1/6.
    found = metrics.cluster_interval([1, 1, 0, 0], ["a", "a", "b", "b"], ["x", "y", "x", "y"])
    assert (found.se, found.df) == pytest.approx((1 / 2, 1))
    # Sums of both subjects are 0: what is left is the variance of independent questions.
    assert metrics.cluster_interval([1, 0, 1, 0], ["a", "a", "b", "b"]).se == pytest.approx(math.sqrt(1 / 12))


def test_seeds_by_hand():
    alone = metrics.cluster_interval([1, 1, 0, 0])
    found = metrics.cluster_interval([1, 1, 0, 0], seed_means=[0.4, 0.5, 0.6])  # s^2/k = 0.01/3 with 2 df
    assert found.se**2 == pytest.approx(1 / 12 + 0.01 / 3)
    assert found.df == pytest.approx((1 / 12 + 0.01 / 3) ** 2 / ((1 / 12) ** 2 / 3 + (0.01 / 3) ** 2 / 2))
    assert metrics.cluster_interval([1, 1, 0, 0], seed_means=[0.5]) == alone  # one seed adds nothing
    equal = metrics.cluster_interval([1, 1, 0, 0], seed_means=[0.5, 0.5])
    assert (equal.se, equal.df) == pytest.approx((alone.se, alone.df))
    only_seeds = metrics.cluster_interval([0.5] * 4, seed_means=[0.4, 0.6])
    assert (only_seeds.se, only_seeds.df) == pytest.approx((0.1, 1))


def test_equal_values_have_no_width():
    for value in (0.0, 0.3, -1 / 3):
        assert metrics.cluster_interval([value] * 7, "aabbccc", "xyxyxyx") == Interval(value, value, value, 0.0, 1.0)
    # Means of the same three numbers, added up in another order: equal but for rounding.
    orders = [sum(order) / 3 for order in itertools.permutations([0.1, 0.2, 0.3])]
    assert len(set(orders)) > 1 and metrics.cluster_interval(orders).se == 0.0


def test_a_dimension_of_one_cluster_is_left_out():
    values, subjects, fields = crossed(np.random.default_rng(0))
    assert metrics.cluster_interval(values, subjects, ["x"] * 80) == metrics.cluster_interval(values, subjects)
    assert metrics.cluster_interval(values, ["a"] * 80, fields) == metrics.cluster_interval(values, fields=fields)


# Written differently


def variance_by_pairs(values, subjects, fields):
    """V = sum over all pairs of questions of e_i e_j, by what the two share."""
    n, e = len(values), [value - sum(values) / len(values) for value in values]
    groups = [len(set(labels)) for labels in (subjects, fields, zip(subjects, fields, strict=True))]
    by_subject, by_field, by_cell = (size / (size - 1) for size in groups)
    total = 0.0
    for i, j in itertools.product(range(n), repeat=2):
        same_subject, same_field = subjects[i] == subjects[j], fields[i] == fields[j]
        total += e[i] * e[j] * (by_subject * same_subject + by_field * same_field)
        total -= e[i] * e[j] * by_cell * (same_subject and same_field)
    return total / n**2


def test_variance_agrees_with_the_sum_over_pairs():
    above = 0
    for seed in range(8):
        values, subjects, fields = crossed(np.random.default_rng(seed))
        found = metrics.cluster_interval(values, subjects, fields)
        by_pairs = variance_by_pairs(values.tolist(), subjects.tolist(), fields.tolist())
        one_way = max(metrics.cluster_interval(values, labels).se ** 2 for labels in (subjects, fields))
        assert found.se**2 == pytest.approx(max(by_pairs, one_way))
        above += by_pairs > 1.05 * one_way
        labels = [f"country {one}" for one in subjects], [f"field {one}" for one in fields]
        assert metrics.cluster_interval(values, *labels) == found
        rest = np.random.default_rng(0).permutation(80)
        shuffled = metrics.cluster_interval(values[rest], subjects[rest], fields[rest])
        assert (shuffled.value, shuffled.se) == pytest.approx((found.value, found.se))
    assert above >= 4  # it is the two-way formula that is compared, not what it may not fall below


def test_variance_agrees_with_statsmodels():
    # statsmodels 0.15.0: OLS(values, ones).fit(cov_type="cluster", cov_kwds={"groups": ...}).bse
    values = [1, 0, 0, 1, 1, -1, 0, 1, 0, 0, 1, 1]
    subjects = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    fields = [0, 1, 2, 3, 0, 1, 2, 0, 1, 3, 0, 1]
    # Both: 0.2725; the fields alone: 0.2878, below which the two do not fall.
    assert metrics.cluster_interval(values, subjects, fields).se == pytest.approx(0.2877827827392604)
    assert math.sqrt(variance_by_pairs(values, subjects, fields)) == pytest.approx(0.2724875021588554)
    assert metrics.cluster_interval(values, fields=fields).se == pytest.approx(0.2877827827392604)
    # The subjects alone: 0.1693, below that of independent questions.
    assert metrics.cluster_interval(values, subjects).se == metrics.cluster_interval(values).se > 0.1693
    for seed, se in ((1, 0.40212171446542755), (2, 0.3218056576315941), (3, 0.41362318459430336)):
        assert metrics.cluster_interval(*crossed(np.random.default_rng(seed))).se == pytest.approx(se)


def test_a_matrix_is_its_columns():
    rng = np.random.default_rng(0)
    values, seed_means = rng.random((80, 4)), rng.random((3, 4))
    values[:, 2] = 0.25
    _, subjects, fields = crossed(rng)
    found = metrics.cluster_intervals(values, subjects, fields, seed_means, level=0.9)
    for column, one in enumerate(found):
        alone = metrics.cluster_interval(values[:, column], subjects, fields, seed_means[:, column], level=0.9)
        assert [*vars(one).values()] == pytest.approx([*vars(alone).values()])


# Simulated


def coverage(spread, designs=10, runs=100):
    """How often 95 % intervals cover the true mean of 600 questions, 59 subjects and 48 fields: (two-way, independent).

    Subject and field effects have the SDs of `spread`, beside noise of 0.6.
    """
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    for _ in range(designs):
        subjects, fields = rng.integers(59, size=600), rng.integers(48, size=600)
        values = 0.6 * rng.normal(size=(600, runs))
        values += spread[0] * rng.normal(size=(59, runs))[subjects] + spread[1] * rng.normal(size=(48, runs))[fields]
        for row, clusters in enumerate([(subjects, fields), (None, None)]):
            covered[row] += sum(one.low <= 0 <= one.high for one in metrics.cluster_intervals(values, *clusters))
    return covered / (designs * runs)


@pytest.mark.parametrize("spread", [(0.35, 0), (0, 0.35), (0.35, 0.35)])
def test_the_interval_covers_where_that_of_independent_questions_does_not(spread):
    two_way, independent = coverage(spread)
    assert 0.93 <= two_way <= 0.97
    assert independent < 0.75


def test_the_interval_covers_where_questions_are_independent():
    two_way, independent = coverage((0, 0))
    assert 0.93 <= independent <= 0.97
    assert independent < two_way <= 0.98  # the largest of several variances: a little wide


def test_the_interval_of_independent_questions_is_the_bootstrap():
    values, subjects, fields = crossed(np.random.default_rng(0), (59, 48), 600)
    independent = metrics.cluster_interval(values)
    bootstrap = metrics.bootstrap_mean(values)
    assert bootstrap[0] == pytest.approx(independent.value)
    assert bootstrap[1:] == pytest.approx((independent.low, independent.high), abs=0.15 * independent.se)
    clustered = metrics.cluster_interval(values, subjects, fields)
    assert bootstrap[2] - bootstrap[1] < 0.6 * (clustered.high - clustered.low)


def test_seeds_are_covered_only_where_they_are_counted():
    rng, runs = np.random.default_rng(0), 1500
    # 200 questions, 5 seeds: each training moves all answers by 0.1, beside what questions and single answers vary.
    values = 0.3 * rng.normal(size=(1, 200, runs)) + 0.1 * rng.normal(size=(5, 1, runs))
    values = values + 0.5 * rng.normal(size=(5, 200, runs))
    per_question, seed_means = values.mean(axis=0), values.mean(axis=1)
    counted, ignored = (
        np.mean([one.low <= 0 <= one.high for one in metrics.cluster_intervals(per_question, seed_means=seeds)])
        for seeds in (seed_means, None)
    )
    assert 0.93 <= counted <= 0.97
    assert ignored < 0.75


# From intervals to verdicts


def test_p_value_by_hand_and_as_the_interval():
    # A table of t with 3 df: 2.3534 leaves 5 % above it, 3.1824 2.5 %, 5.8409 0.5 %.
    for t, p in ((2.3534, 0.1), (-3.1824, 0.05), (5.8409, 0.01), (0, 1.0)):
        assert metrics.p_value(Interval(1 + 0.1 * t, 0, 0, 0.1, 3), 1) == pytest.approx(p, rel=1e-4)
    found = metrics.cluster_interval(np.random.default_rng(0).normal(0.3, size=30))
    assert metrics.p_value(found, found.low) == pytest.approx(0.05)
    assert metrics.p_value(found, found.high + 1e-6) < 0.05 < metrics.p_value(found, found.high - 1e-6)
    without_spread = Interval(0.3, 0.3, 0.3, 0.0, 5.0)
    assert metrics.p_value(without_spread, 0.0) == 0.0
    assert metrics.p_value(without_spread, 0.1 + 0.2) == 1.0


def test_widened_is_the_interval_of_another_level():
    values, subjects, fields = crossed(np.random.default_rng(0))
    narrow, wide = (metrics.cluster_interval(values, subjects, fields, level=level) for level in (0.95, 0.99))
    assert [*vars(metrics.widened(narrow, 0.01)).values()] == pytest.approx([*vars(wide).values()])
    assert wide.low < narrow.low < narrow.high < wide.high


def test_rule_of_three():
    assert metrics.rule_of_three(60) == 0.05
    # Exactly: the share at which none of n happens with 5 %.
    assert metrics.rule_of_three(60) == pytest.approx(1 - 0.05 ** (1 / 60), rel=0.03)


def test_minimum_detectable_effect_by_hand_and_by_its_power():
    # Tables of t with 9 df: 2.2622 and 0.8834.
    assert metrics.minimum_detectable_effect(Interval(0, -1, 1, 0.1, 9)) == pytest.approx(0.31456, abs=1e-5)
    truth = metrics.minimum_detectable_effect(Interval(0, -1, 1, 1 / math.sqrt(30), 29))
    values = truth + np.random.default_rng(0).normal(size=(30, 4000))
    told = np.mean([metrics.p_value(one, 0) < 0.05 for one in metrics.cluster_intervals(values)])
    assert 0.77 <= told <= 0.83


def test_n_to_decide_is_the_smallest_n_whose_effect_is_detectable():
    def detectable(n):  # se of 0.1 on 10 questions
        return metrics.minimum_detectable_effect(Interval(0, 0, 0, 0.1 * math.sqrt(10 / n), n - 1))

    n = metrics.n_to_decide(Interval(0.1, -0.1, 0.3, 0.1, 9), 10, 0.0)
    assert detectable(n) <= 0.1 < detectable(n - 1)
    assert metrics.n_to_decide(Interval(-0.1, -0.3, 0.1, 0.1, 9), 10, 0.0) == n
    assert metrics.n_to_decide(Interval(0.1, -0.1, 0.3, 0.1, 9), 10, 0.0, power=0.95) > n
    assert metrics.n_to_decide(Interval(0.1, -0.1, 0.3, 0.1, 9), 10, 0.1) is None
    # 200 questions of 10 clusters decide less than 200 that are independent.
    assert metrics.n_to_decide(Interval(0.1, 0, 0, 0.1, 9), 200, 0) == pytest.approx(20 * n, abs=20)
    assert metrics.n_to_decide(Interval(0.1, 0, 0, 0.1, 199), 200, 0) < 20 * n - 20
    assert metrics.n_to_decide(Interval(1e-6, 0, 0, 0.1, 199), 200, 0) > 10**12  # and that at once


def test_n_to_decide_without_spread_follows_the_rule_of_three():
    # "Less than 0.05 below" on six questions without a single difference: 60 without one would do.
    assert metrics.n_to_decide(metrics.cluster_interval([0] * 6), 6, -0.05) == 60
    assert metrics.n_to_decide(metrics.cluster_interval([0] * 6, "aabbcc"), 6, -0.05) == 120


def test_holm_by_hand():
    alphas = metrics.holm({"a": 0.01, "b": 0.04, "c": 0.03})
    assert [*alphas] == ["a", "b", "c"]  # in the order given
    assert alphas == pytest.approx({"a": 0.05 / 3, "b": 0.025, "c": 0.025})  # c is not rejected, so b is not tried
    assert metrics.holm({"a": 0.04, "b": 0.02, "c": 0.01}) == pytest.approx({"a": 0.05, "b": 0.025, "c": 0.05 / 3})
    assert metrics.holm({"a": 0.02, "b": 0.9}) == pytest.approx({"a": 0.025, "b": 0.05})
    assert metrics.holm({"a": 0.2, "b": 0.03}) == pytest.approx({"a": 0.025, "b": 0.025})
    assert metrics.holm({"a": 0.5}, level=0.9) == pytest.approx({"a": 0.1})
    assert metrics.holm({}) == {}


def test_widened_by_holm_excludes_the_limit_where_holm_rejects():
    rng = np.random.default_rng(0)
    for _ in range(100):
        intervals = {name: metrics.cluster_interval(rng.normal(0.5, size=20)) for name in "abcd"}
        p_values = {name: metrics.p_value(one, 0) for name, one in intervals.items()}
        ranked = sorted(p_values.values())
        fails = [rank for rank, p in enumerate(ranked) if p > 0.05 / (4 - rank)]
        rejected = {name for name, p in p_values.items() if ranked.index(p) < min(fails, default=4)}
        widened = {name: metrics.widened(intervals[name], alpha) for name, alpha in metrics.holm(p_values).items()}
        assert {name for name, one in widened.items() if not one.low <= 0 <= one.high} == rejected


# Exchanged labels


def test_permutation_by_hand():
    assert metrics.permutation_p([1, 1, 1]) == 2 / 8
    # Sums of the subjects are 2 and 1: the four exchanges sum to 3, 1, -1, -3.
    assert metrics.permutation_p([1, 1, 1], "aab") == 2 / 4
    assert metrics.exchanged_range([1, 1, 1], "aab") == pytest.approx((-1, 1))
    assert metrics.exchanged_range([1, 1, 1], "aab", level=0.5) == pytest.approx((-1 / 3, 1 / 3))
    assert metrics.permutation_p([0, 0, 0]) == 1.0
    assert metrics.exchanged_range([0, 0, 0]) == (0.0, 0.0)
    # Without signs the 16 sums are 0 twice, 0.2 and more: 0.2 is what is observed, and rounding parts its ties.
    assert metrics.permutation_p([0.1, 0.2, 0.2, -0.3]) == 14 / 16
    # A mean ties with itself and its mirror image, however it is added up.
    for values in itertools.permutations([0.1, 0.2, 0.3, 0.7]):
        low, high = metrics.exchanged_range(values)
        assert metrics.permutation_p(values) == 2 / 16 and low < -np.mean(values) < np.mean(values) < high


def test_drawn_exchanges_agree_with_all_of_them():
    values = np.random.default_rng(0).normal(0.4, size=14)
    assert len(values) > 13  # more subjects than are counted out
    means = [np.mean(np.array(signs) * values) for signs in itertools.product([1, -1], repeat=14)]
    exact = np.mean(np.abs(means) >= abs(values.mean()) - 1e-12)
    assert 0.01 < exact < 0.5
    assert metrics.permutation_p(values) == pytest.approx(exact, abs=0.015)
    assert metrics.permutation_p(values) == metrics.permutation_p(values) != metrics.permutation_p(values, seed=1)
    assert metrics.exchanged_range(values)[1] == pytest.approx(np.quantile(np.abs(means), 0.95), rel=0.03)
    assert metrics.permutation_p([1] * 20, n_draws=99) == 1 / 100


def test_exchanges_per_subject_reject_alike_systems_as_often_as_said():
    rng, rejected, outside = np.random.default_rng(0), np.zeros(2), 0
    subjects = np.repeat(np.arange(10), 6)
    for _ in range(500):
        values = rng.normal(size=10)[subjects] + rng.normal(size=60)
        p = metrics.permutation_p(values, subjects)
        rejected += [p <= 0.05, metrics.permutation_p(values, n_draws=200) <= 0.05]
        low, high = metrics.exchanged_range(values, subjects)
        outside += not low <= values.mean() <= high
        assert p <= 0.05 or low <= values.mean() <= high
    assert 0.025 <= rejected[0] / 500 <= 0.075
    assert outside <= rejected[0]
    assert rejected[1] / 500 > 0.2  # ignoring the subjects


# Statistics that are no means


def weighted_mean(values, weights):
    return np.average(values, weights=weights)


def slope(values, weights):
    return np.polyfit(values[:, 0], values[:, 1], 1, w=np.sqrt(weights))[0]


def test_pigeonhole_of_a_mean_is_about_the_closed_form():
    values, subjects, fields = crossed(np.random.default_rng(0), (59, 48), 1000, (1.5, 1.5))
    closed = metrics.cluster_interval(values, subjects, fields)
    value, low, high = metrics.pigeonhole_bootstrap(weighted_mean, values, subjects, fields)
    assert value == pytest.approx(closed.value)
    assert (low, high) == pytest.approx((closed.low, closed.high), abs=0.3 * closed.se)
    one_way = metrics.cluster_interval(values, subjects)
    _, low, high = metrics.pigeonhole_bootstrap(weighted_mean, values, subjects)
    assert high - low == pytest.approx(one_way.high - one_way.low, rel=0.15)
    first, again, other = (
        metrics.pigeonhole_bootstrap(weighted_mean, values, subjects, n_resamples=50, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_pigeonhole_counts_a_questions_own_noise_three_times():
    # One question a cell, no effects: the product of two counts of variance 1 has variance 2 * 2 - 1.
    values = np.random.default_rng(0).normal(size=40 * 40)
    subjects, fields = np.repeat(np.arange(40), 40), np.tile(np.arange(40), 40)
    _, low, high = metrics.pigeonhole_bootstrap(weighted_mean, values, subjects, fields)
    independent = metrics.cluster_interval(values)
    assert (high - low) / (independent.high - independent.low) == pytest.approx(math.sqrt(3), rel=0.1)


def test_pigeonhole_without_labels_is_the_bootstrap():
    values = np.random.default_rng(0).random(50)
    found = metrics.pigeonhole_bootstrap(weighted_mean, values, None)
    assert found == pytest.approx(metrics.bootstrap_mean(values), abs=0.01)


def test_pigeonhole_of_a_slope():
    rng = np.random.default_rng(0)
    effects, subjects = 0.5 * rng.normal(size=20), np.repeat(np.arange(20), 6)
    x = rng.random(120) + rng.random(20)[subjects]
    values = np.stack([x, 2 * x + effects[subjects] + 0.1 * rng.normal(size=120)], axis=1)
    value, low, high = metrics.pigeonhole_bootstrap(slope, values, subjects, n_resamples=500)
    assert value == pytest.approx(slope(values, np.ones(120)))
    assert low < 2 < high
    _, narrow_low, narrow_high = metrics.pigeonhole_bootstrap(slope, values, None, n_resamples=500)
    assert high - low > 1.2 * (narrow_high - narrow_low)  # ignoring the subjects
    _, low_50, high_50 = metrics.pigeonhole_bootstrap(slope, values, subjects, n_resamples=500, level=0.5)
    assert low < low_50 < high_50 < high


def test_pigeonhole_draws_again_what_leaves_nothing():
    # Two questions of two subjects and two fields: half of all resamples weigh nothing.
    weights_seen = []

    def total(values, weights):
        weights_seen.append(weights)
        return float(values @ weights)

    metrics.pigeonhole_bootstrap(total, [1.0, 2.0], "ab", "xy", n_resamples=50, seed=3)
    assert len(weights_seen) == 1 + 50 and all(weights.any() for weights in weights_seen)
    assert {tuple(weights) for weights in weights_seen[1:]} <= {(1, 1), (2, 0), (0, 2), (4, 0), (0, 4)}


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "at least 2 of them, not 0"),
        (([1.0],), "at least 2 of them, not 1"),
        (([1.0, math.nan],), r"values\[1\] is not a finite number \(nan\)"),
        (([math.inf, 1.0],), r"values\[0\] is not a finite number \(inf\)"),
        (([[1.0, 2.0]],), "values have 2 dimensions: give 1"),
        (([1.0, 2.0], "abc"), "subjects are 3 for 2 values"),
        (([1.0, 2.0], "ab", "x"), "fields are 1 for 2 values"),
        (([1.0, 2.0], ["a", None]), r"subjects\[1\] is missing"),
        (([1.0, 2.0], "aa"), "all 2 values have the same subjects"),
        (([1.0, 2.0], None, "xx"), "all 2 values have the same fields"),
        (([1.0, 2.0], "aa", "xx"), "all 2 values have the same subjects and fields"),
        (([1.0, 2.0], None, None, []), r"seed_means have shape \(0, 1\)"),
        (([1.0, 2.0], None, None, [1.0, math.nan]), r"seed_means\[1\] is not a finite"),
        (([1.0, 2.0], None, None, [[1.0]]), "seed_means have 2 dimensions: give 1"),
        (([1.0, 2.0], None, None, None, 95), "level is 95"),
        (([1.0, 2.0], None, None, None, 1), "level is 1"),
    ],
)
def test_intervals_refuse(arguments, message):
    with pytest.raises(InputError, match=message):
        metrics.cluster_interval(*arguments)


def test_curves_refuse():
    for values, seed_means, message in [
        ([1.0, 2.0], None, "values have 1 dimensions: give 2"),
        ([[1.0, 2.0], [1.0, math.nan]], None, r"values\[1, 1\] is not a finite"),
        ([[1.0, 2.0], [1.0, 3.0]], [[1.0], [2.0]], r"seed_means have shape \(2, 1\)"),
    ]:
        with pytest.raises(InputError, match=message):
            metrics.cluster_intervals(values, seed_means=seed_means)


FOUND = Interval(0.1, 0.0, 0.2, 0.05, 9)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: metrics.rule_of_three(0), "at least 1 case, not 0"),
        (lambda: metrics.rule_of_three(math.nan), "at least 1 case, not nan"),
        (lambda: metrics.widened(FOUND, 0), "alpha is 0"),
        (lambda: metrics.minimum_detectable_effect(FOUND, power=80), "power is 80"),
        (lambda: metrics.minimum_detectable_effect(FOUND, level=0), "level is 0"),
        (lambda: metrics.n_to_decide(FOUND, 10, 0.0, power=1), "power is 1"),
        (lambda: metrics.holm({"gain": math.nan}), "the p of 'gain' is nan"),
        (lambda: metrics.holm({"gain": 1.1}), "the p of 'gain' is 1.1"),
        (lambda: metrics.holm({"gain": 0.1}, level=1.5), "level is 1.5"),
        (lambda: metrics.permutation_p([1.0]), "at least 2 of them, not 1"),
        (lambda: metrics.permutation_p([1.0, math.nan]), r"values\[1\] is not a finite"),
        (lambda: metrics.permutation_p([1.0, 2.0], "a"), "subjects are 1 for 2 values"),
        (lambda: metrics.permutation_p([1.0, 2.0], "aa"), "the same subjects"),
        (lambda: metrics.exchanged_range([1.0, 2.0], level=2), "level is 2"),
        (lambda: metrics.exchanged_range([1.0, 2.0], "abc"), "subjects are 3 for 2 values"),
        (lambda: metrics.pigeonhole_bootstrap(weighted_mean, [1.0], "a"), "at least 2 of them, not 1"),
        (lambda: metrics.pigeonhole_bootstrap(weighted_mean, [1.0, 2.0], "ab", "x"), "fields are 1 for 2 values"),
        (lambda: metrics.pigeonhole_bootstrap(weighted_mean, [1.0, math.nan], "ab"), "all 2 values is nan"),
        (lambda: metrics.pigeonhole_bootstrap(weighted_mean, [1.0, 2.0], "ab", level=95), "level is 95"),
        (
            lambda: metrics.pigeonhole_bootstrap(lambda _, w: 0.0 if (w == 1).all() else math.nan, [1.0] * 9, None),
            "finite on [0-9]+ of 4000 resamples of 9 values",
        ),
    ],
)
def test_the_rest_refuses(refused, message):
    with pytest.raises(InputError, match=message):
        refused()
