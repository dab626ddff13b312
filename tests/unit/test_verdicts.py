"""How claims are judged: words, intervals over clusters and seeds, nulls that cannot fail, Holm, and power."""

import math

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit  # of Student's t: P(T <= x), and x for a P

from nbutils.errors import InputError
from nbutils.presets import SCALES
from nbutils.record import claims
from nbutils.record.claims import adjust, judge, judge_all, verdict
from nbutils.record.wording import interval_text, outcome_text


def claim(rule="> 0", null=None, **given):
    """A claim as load_claims gives it: "a" less "b", against a null whose differences vary around 0."""
    made = {
        "id": "00.a_over_b",
        "paper": "Lewis et al. 2020",
        "quantity": {"difference": ["a", "b"]},
        "rule": {"ordering": rule} if isinstance(rule, str) else {"interval": rule},
        "null": null or {"difference": ["noise", "b"]},
        "min_scale": "tiny",
        "primary": False,
    }
    return made | given


def scores(a, subjects=None, fields=None, **others):
    """Scores of the same questions: "a" as given, "b" all 0, "noise" -1 and 1 in turn, and `others`."""
    n = len(a)
    columns = {"a": list(a), "b": [0.0] * n, "noise": [(-1) ** i for i in range(n)], **others}
    labels = {key: value for key, value in (("subjects", subjects), ("fields", fields)) if value is not None}
    return {name: {"ids": [f"q{i}" for i in range(n)], "values": [*v], **labels} for name, v in columns.items()}


OWN = {"paper": "this project"}


@pytest.mark.parametrize(
    ("low", "high", "rule", "expected"),
    [
        (0.1, 0.3, "> 0", "reproduced"),
        (0.0, 0.3, "> 0", "open"),  # 0 is not > 0
        (0.0, 0.3, ">= 0", "reproduced"),
        (-0.1, 0.3, "> 0", "open"),
        (-0.1, 0.0, "> 0", "open"),  # one question of many differs
        (-0.2, -0.1, "> 0", "not reproduced"),
        (-0.1, 0.0, ">= 0", "open"),
        (-0.2, -0.1, ">= 0", "not reproduced"),
        (0.0, 0.0, "> 0", "open"),  # two equal systems
        (-0.3, -0.1, "< 0", "reproduced"),
        (-0.3, 0.0, "<0", "open"),
        (-0.3, 0.0, "<= 0", "reproduced"),
        (0.0, 0.1, "< 0", "open"),
        (0.1, 0.2, "< 0", "not reproduced"),
        (0.0, 0.1, "<= 0", "open"),
        (0.41, 0.44, "> 0.4", "reproduced"),
        (-0.3, -0.2, "> -0.5", "reproduced"),
        (0.4, 0.6, [0.4, 0.6], "reproduced"),
        (0.39, 0.6, [0.4, 0.6], "open"),
        (0.5, 0.61, [0.4, 0.6], "open"),
        (0.3, 0.7, [0.4, 0.6], "open"),
        (0.61, 0.7, [0.4, 0.6], "not reproduced"),
        (0.1, 0.39, [0.4, 0.6], "not reproduced"),
    ],
)
def test_verdict(low, high, rule, expected):
    assert verdict(claim(rule), low, high) == expected
    own = {"reproduced": "holds", "not reproduced": "fails", "open": "open"}
    assert verdict(claim(rule, **OWN), low, high) == own[expected]


@pytest.mark.parametrize("bad", [(math.nan, 1), (0, math.nan), (0, math.inf), (1, 0)])
def test_verdict_refuses_what_is_no_interval(bad):
    with pytest.raises(InputError, match="cannot judge"):
        verdict(claim(), *bad)


# --- the interval -----------------------------------------------------------------------------------------------------

# 4 subjects x 5 fields, one question each: 0.3 + what the subject and what the field adds, both of mean 0.
SUBJECT, FIELD = np.array([0.2, 0.2, -0.2, -0.2]), np.array([0.3, -0.3, 0.3, -0.3, 0])
GRID = (0.3 + SUBJECT[:, None] + FIELD).ravel()
SUBJECTS, FIELDS = np.repeat([*"ABCD"], 5).tolist(), [*"vwxyz"] * 4
# Sums of residuals: 5 x SUBJECT, 4 x FIELD; V_g = G/(G - 1) x sum of squares / 20^2.
V_SUBJECT = 4 / 3 * 4.0 / 400  # (5 x 0.2)^2 = 1, four times
V_FIELD = 5 / 4 * 5.76 / 400  # (4 x 0.3)^2 = 1.44, four times
V_CELL = 20 / 19 * 2.24 / 400  # 5 x 4 x 0.04 + 4 x 4 x 0.09
SE = math.sqrt(V_SUBJECT + V_FIELD - V_CELL)  # 0.1595
T_3 = 3.182446  # of 97.5 %, with min(4, 5) - 1 degrees of freedom


def test_the_interval_is_clustered_by_subjects_and_fields():
    outcome = judge(claim(), scores(GRID, SUBJECTS, FIELDS), "tiny")
    assert outcome["se"] == pytest.approx(SE) == pytest.approx(0.15949, rel=1e-4)
    assert [outcome[key] for key in ("value", "df", "n", "subjects", "fields")] == [pytest.approx(0.3), 3, 20, 4, 5]
    assert [outcome["low"], outcome["high"]] == pytest.approx([0.3 - T_3 * SE, 0.3 + T_3 * SE])
    assert outcome["p"] == pytest.approx(2 * stdtr(3, -0.3 / SE))
    assert outcome["verdict"] == "open" and "seeds" not in outcome
    assert outcome_text(outcome) == "+0.30 [-0.21, 0.81], 20 questions of 4 subjects and 5 fields"
    independent = judge(claim(), scores(GRID), "tiny")  # the same numbers, wrongly taken for 20 independent questions
    assert independent["verdict"] == "reproduced" and independent["df"] == 19
    assert not {"subjects", "fields"} & independent.keys()


def test_fewer_than_five_fields_are_fixed():
    keep = [i for i, field in enumerate(FIELDS) if field != "z"]
    four = scores(GRID[keep], [SUBJECTS[i] for i in keep], [FIELDS[i] for i in keep])
    outcome = judge(claim(), four, "tiny")
    assert outcome["subjects"] == 4 and "fields" not in outcome
    assert outcome["se"] == pytest.approx(math.sqrt(4 / 3 * 4 * (4 * 0.2) ** 2 / 16**2))  # of the subjects alone
    one_subject = judge(claim(), scores(GRID, ["A"] * 20), "tiny")  # of one no variance can be seen
    assert "subjects" not in one_subject and one_subject["df"] == 19


def with_seeds(found, name, *means):
    found[name]["seed_means"] = [*means]
    return found


def test_training_seeds_add_their_own_variance():
    found = with_seeds(scores(GRID, SUBJECTS, FIELDS), "a", 0.2, 0.3, 0.4)
    outcome = judge(claim(), found, "tiny")
    of_seeds = 0.01 / 3  # the sample variance of three means, 0.01, over three
    total = SE**2 + of_seeds
    df = total**2 / (SE**4 / 3 + of_seeds**2 / 2)  # Welch and Satterthwaite
    assert (outcome["seeds"], outcome["se"]) == (3, pytest.approx(math.sqrt(total)))
    assert outcome["df"] == pytest.approx(df) == pytest.approx(3.741358)
    assert outcome["high"] == pytest.approx(0.3 + 2.8538044 * math.sqrt(total))
    assert outcome_text(outcome) == "+0.30 [-0.18, 0.78], 20 questions of 4 subjects and 5 fields, 3 seeds"
    # Paired: seeds that move both systems alike move no difference.
    paired = judge(claim(), with_seeds(found, "b", -0.1, 0.0, 0.1), "tiny")
    assert (paired["seeds"], paired["se"], paired["df"]) == (3, pytest.approx(SE), pytest.approx(3))
    single = judge(claim(), with_seeds(scores(GRID, SUBJECTS, FIELDS), "a", 0.3), "tiny")
    assert single["se"] == pytest.approx(SE) and outcome_text(single).endswith("and 5 fields, 1 seed")
    with pytest.raises(InputError, match=r"claim 00\.a_over_b: quantity: scores of 2 and 3 seeds cannot be paired"):
        judge(claim(), with_seeds(found, "b", 0.0, 0.1), "tiny")


def test_scores_are_paired_by_question_id():
    b = np.linspace(0, 0.8, 40)
    found = scores(b + 0.1, b=b, noise=b + (-1) ** np.arange(40))
    found["a"] = {"ids": found["a"]["ids"][::-1], "values": found["a"]["values"][::-1]}
    outcome = judge(claim(), found, "tiny")
    assert outcome["value"] == pytest.approx(0.1) and outcome["verdict"] == "reproduced"  # by position: -0.7 to 0.9
    assert outcome["null"].keys() == {"verdict", "value", "low", "high"}
    assert outcome["null"]["verdict"] == "open"


def test_a_mean_may_have_to_lie_within_limits():
    within = claim([0.3, 0.7], quantity={"mean": "a"}, null={"mean": "rare"})
    outcome = judge(within, scores([0, 1] * 100, rare=[0] * 199 + [1]), "gpu")
    margin = stdtrit(199, 0.975) * 0.5 * math.sqrt(1 / 199)  # n/(n-1) x n x 0.25 / n^2
    assert [outcome["low"], outcome["high"]] == pytest.approx([0.5 - margin, 0.5 + margin])
    assert (outcome["verdict"], outcome["null"]["verdict"]) == ("reproduced", "not reproduced")
    assert outcome["p"] == pytest.approx(2 * stdtr(199, -0.2 * math.sqrt(199) / 0.5))  # against the nearer limit


def trend(*names):
    return claim(quantity={"trend": [*names]}, null={"trend": [*names[::-1]]})


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_trend_is_the_slope_of_the_least_squares_line_of_each_question(n):
    names = [f"k{i}" for i in range(n)]
    values = np.random.default_rng(0).random((60, n)) + 0.2 * np.arange(n)
    slopes = np.polyfit(np.arange(n), values.T, 1)[0]
    found = scores([0] * 60, **dict(zip(names, values.T, strict=True)))
    # Paired by id: another order of one score's questions changes nothing.
    found["k1"] = {key: column[::-1] for key, column in found["k1"].items()}
    outcome = judge(trend(*names), found, "tiny")
    margin = stdtrit(59, 0.975) * np.std(slopes, ddof=1) / math.sqrt(60)
    expected = [slopes.mean(), slopes.mean() - margin, slopes.mean() + margin]
    assert [outcome["value"], outcome["low"], outcome["high"]] == pytest.approx(expected)
    assert (outcome["verdict"], outcome["null"]["verdict"]) == ("reproduced", "not reproduced")
    assert outcome["null"]["value"] == -outcome["value"]


def test_planted_fault_a_flat_or_falling_curve_is_no_rising_trend():
    flat = np.random.default_rng(0).random(50)  # exactly 0, not 1e-17 above it
    steps = {f"k{k}": flat for k in range(1, 6)}
    rising = trend(*steps) | {"null": {"mean": "noise"}}
    outcome = judge(rising, scores([0] * 50, **steps), "tiny")
    assert (outcome["value"], outcome["verdict"]) == (0, "open")
    falling = scores(
        [0] * 50, **{name: column - (0.1 + 0.01 * (flat > 0.5)) * int(name[1]) for name, column in steps.items()}
    )
    assert judge(rising, falling, "tiny")["verdict"] == "not reproduced"
    assert judge(trend(*steps), falling, "tiny")["verdict"] == "refused"  # its null, the reverse, rises
    falling["k3"] = {key: column[1:] for key, column in falling["k3"].items()}
    with pytest.raises(InputError, match="'k1' and 'k3' are scores of different questions"):
        judge(rising, falling, "tiny")


# --- what a claim may not rest on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", ["Lewis et al. 2020", "this project"])
def test_planted_fault_a_claim_whose_null_cannot_fail_is_refused(paper):
    better = np.array([0.0, 1.0] * 20)
    for null, why in (
        ([0.0] * 40, "its null input has one value for every question: the check cannot fail"),
        ([-0.5] * 40, "its null input has one value for every question: the check cannot fail"),
        (np.sum([[0.1] * 40, [0.2] * 40], axis=0), "its null input has one value"),  # 0.30000000000000004
        ([0.0, 0.9] * 20, "its rule holds on the null input too: the check cannot fail"),
    ):
        for sign in (1, -1):  # whatever came out
            outcome = judge(claim(paper=paper), scores(sign * better, noise=null), "tiny")
            assert outcome["verdict"] == "refused" and outcome["why"].startswith(why)
            assert "mde" not in outcome
        smoke = judge(claim(paper=paper), scores(better, noise=null), "smoke")
        assert smoke["verdict"] == "not tested at this scale" and "why" not in smoke
    outcome = judge(claim(paper=paper), scores(better), "tiny")
    assert outcome["verdict"] in ("reproduced", "holds") and "why" not in outcome


def test_exchanged_labels_are_worked_out_by_hand():
    """Eight questions, each 1 better: of 2^8 exchanges 2 differ by 8, 16 by 6. 95 % of all differ by 6 at most."""
    exact = judge(claim(null=claims.EXCHANGED), scores([1.0] * 8), "tiny")
    assert [exact["null"][key] for key in ("value", "low", "high")] == pytest.approx([0, -0.75, 0.75])
    assert exact["null"]["verdict"] == "open" and exact["permutation_p"] == 2 / 2**8
    # By subject: two questions of one are exchanged together, and of 2^4 exchanges 2 are as large.
    by_subject = judge(claim(null=claims.EXCHANGED), scores([1.0] * 8, [*"AABBCCDD"]), "tiny")
    assert by_subject["permutation_p"] == 2 / 2**4
    assert by_subject["null"]["high"] == pytest.approx(1)  # 1/8 of all exchanges differ by 8 of 8
    same = judge(claim(null=claims.EXCHANGED), scores([0.0] * 8), "tiny")  # one system under two names
    assert same["verdict"] == "refused" and "one value" in same["why"]


def test_fewer_than_six_questions_that_differ_decide_nothing():
    for n_differing, word in {4: "open", 5: "open", 6: "reproduced"}.items():
        better = np.zeros(200)
        better[:n_differing] = 0.5  # one seed of two
        outcome = judge(claim(), scores(better), "tiny")
        assert outcome["verdict"] == word
        assert outcome["low"] > 0  # the interval alone would say reproduced
    rounded = judge(claim(), scores([0.1 + 0.2] * 40, b=[0.3] * 40), "tiny")  # 40 differences of 5e-17
    assert rounded["verdict"] == "open" and rounded["n_needed"] is None


def test_rule_of_three_of_equal_values():
    """40 differences of 0.1: their mean may be another by 3/40 = 0.075; of 20 by 0.15."""
    of_40, of_20 = (judge(claim(), scores([0.1] * n), "tiny") for n in (40, 20))
    assert [of_40["low"], of_40["high"]] == pytest.approx([0.025, 0.175])
    assert [of_20["low"], of_20["high"]] == pytest.approx([-0.05, 0.25])
    assert (of_40["verdict"], of_20["verdict"]) == ("reproduced", "open")
    assert of_20["n_needed"] == 30  # 3/30 = 0.1
    b = np.linspace(0, 0.8, 20)
    rounded = judge(claim(), scores(b + 0.1, b=b), "tiny")  # equal but for rounding
    assert [rounded["low"], rounded["high"]] == pytest.approx([-0.05, 0.25])
    subjects = [f"s{i // 4}" for i in range(40)]
    clustered = judge(claim(), scores([0.1] * 40, subjects), "tiny")
    assert clustered["low"] == pytest.approx(0.1 - 3 / 10)  # ten clusters


def test_rule_of_three_of_margins():
    # Six questions without a single difference do not say that there is none of 0.05.
    for n, word in {6: "open", 60: "open", 61: "reproduced"}.items():
        outcome = judge(claim("< 0.05"), scores([0.0] * n), "tiny")
        assert (outcome["verdict"], outcome["high"]) == (word, pytest.approx(3 / n))
    # Never worse, often better: the t interval is [0.10, 0.30], but 3 of 60 may still be worse.
    wins = [1.0] * 12 + [0.0] * 48
    outcome = judge(claim("> -0.03"), scores(wins), "tiny")
    se = math.sqrt(60 / 59 * 60 * 0.16) / 60
    assert outcome["high"] == pytest.approx(0.2 + stdtrit(59, 0.975) * se)
    assert (outcome["low"], outcome["verdict"]) == (pytest.approx(-3 / 60), "open")
    assert outcome["n_needed"] == 100  # 3/100 = 0.03, where the t interval would ask for fewer than there are
    assert judge(claim("> -0.03"), scores(wins * 2), "tiny")["verdict"] == "reproduced"
    lost = judge(claim("> -0.3"), scores([*wins[:-1], -1.0]), "tiny")  # seen once: the t interval speaks
    assert lost["low"] == pytest.approx(lost["value"] - stdtrit(59, 0.975) * lost["se"])
    assert judge(claim("> 0"), scores(wins), "tiny")["low"] == pytest.approx(0.2 - stdtrit(59, 0.975) * se)  # no margin


def test_below_40_clusters_there_is_a_permutation_test_beside():
    few = judge(claim(), scores([0.5] * 6 + [0.0] * 33), "tiny")
    assert few["permutation_p"] == pytest.approx(2 / 2**6, rel=0.2)  # by draws: 39 are too many to count all
    assert "permutation_p" not in judge(claim(), scores([0.5] * 6 + [0.0] * 34), "tiny")
    subjects = [f"s{i % 6}" for i in range(60)]
    clustered = judge(claim(), scores([0.5] * 60, subjects), "tiny")
    assert clustered["permutation_p"] == 2 / 2**6  # six subjects, all exchanges counted
    # Against the rule's limit: 0.5 is off 0.4 by 0.1 everywhere, and a tie with 0.5.
    assert judge(claim("> 0.4"), scores([0.5] * 60, subjects), "tiny")["permutation_p"] == 2 / 2**6
    assert judge(claim("> 0.5"), scores([0.5] * 60, subjects), "tiny")["permutation_p"] == 1


def n_needed(se, df, n, distance, level=0.95):
    """By trying one number after the other."""
    more = 2
    while True:
        freedom = max(1.0, (df + 1) * more / n - 1)
        quantiles = stdtrit(freedom, (1 + level) / 2) + stdtrit(freedom, 0.8)
        if quantiles * se * math.sqrt(n / more) <= distance:
            return more
        more += 1


def test_an_open_claim_says_what_would_have_decided_it():
    outcome = judge(claim(), scores(GRID, SUBJECTS, FIELDS), "tiny")
    assert outcome["mde"] == pytest.approx((T_3 + 0.978472) * SE)  # quantiles of 97.5 % and 80 % with 3 degrees
    assert outcome["n_needed"] == n_needed(SE, 3, 20, 0.3) > 20
    decided = judge(claim(), scores(GRID), "tiny")
    assert decided["verdict"] == "reproduced" and not {"mde", "n_needed"} & decided.keys()
    level = judge(claim(), scores([1.0, -1.0] * 20), "tiny")
    assert level["verdict"] == "open" and level["n_needed"] is None  # the mean is the limit: no number would do


def test_below_its_scale_a_claim_is_computed_but_not_judged():
    late, found = claim(min_scale="gpu"), scores([1] * 9 + [0] * 3)
    words = {scale: judge(late, found, scale)["verdict"] for scale in SCALES}
    untested = "not tested at this scale"
    assert words == {"smoke": untested, "tiny": untested, "gpu": "reproduced", "paper": "reproduced"}
    smoke = judge(late, found, "smoke")
    assert (smoke["value"], smoke["null"]["verdict"]) == (0.75, untested) and "mde" not in smoke
    with pytest.raises(InputError, match="no scale 'huge'"):
        judge(late, found, "huge")


def test_missing_scores_and_other_questions_are_refused():
    found = scores([1, 0])
    found["b"]["ids"] = ["q0", "q7"]
    with pytest.raises(InputError, match=r"claim 00\.a_over_b: quantity.*different questions"):
        judge(claim(), found, "tiny")
    del found["a"]
    with pytest.raises(InputError, match=r"no score 'a': add it by record\.scores before the claim"):
        judge(claim(), found, "smoke")
    with pytest.raises(InputError, match=r"claim 00\.a_over_b: null: the record has no score 'other'"):
        judge(claim(null={"difference": ["other", "b"]}), scores([1, 0]), "smoke")


# --- several primary claims -------------------------------------------------------------------------------------------

# 100 independent questions with a spread of exactly 1 around their mean: se = sqrt(100/99 x 100) / 100, 99 degrees.
SPREAD = np.tile([1.0, -1.0], 50)
SE_100 = math.sqrt(1 / 99)
P_03 = 0.221  # t = 2.199, p = 0.030


def several(primary=("x", "y", "z"), **means):
    """Judged claims, each the mean of a score of its own."""
    found = scores(SPREAD, **{name: SPREAD + mean for name, mean in means.items()})
    made = {
        name: claim(id=name, quantity={"mean": name}, null={"mean": "noise"}, primary=name in primary) for name in means
    }
    return judge_all(made, found, "tiny")


def test_holm_may_turn_a_verdict_into_open():
    two = several(x=1.0, y=P_03)
    assert [two[name]["verdict"] for name in "xy"] == ["reproduced"] * 2
    assert two["x"]["holm"]["alpha"] == pytest.approx(0.025) and two["y"]["holm"]["alpha"] == pytest.approx(0.05)
    outcomes = several(x=1.0, y=P_03, z=0.0)
    assert outcomes["y"]["p"] == pytest.approx(0.0302118)
    # 0.05/3 for the smallest p, 0.05/2 for the next, which 0.030 is above: it and the last are not rejected.
    assert [outcomes[name]["holm"]["alpha"] for name in "xyz"] == pytest.approx([0.05 / 3, 0.025, 0.025])
    assert [outcomes[name]["verdict"] for name in "xyz"] == ["reproduced", "open", "open"]
    y = outcomes["y"]
    assert (
        y["low"] == pytest.approx(P_03 - 1.984217 * SE_100, abs=1e-6) and y["low"] > 0
    )  # the 95 % interval stays beside it
    assert y["holm"]["low"] == pytest.approx(P_03 - 2.276003 * SE_100, abs=1e-6) and y["holm"]["low"] < 0
    assert outcomes["x"]["holm"]["high"] == pytest.approx(1 + 2.435339 * SE_100, abs=1e-6)
    # What would have decided it is at its own level.
    assert y["mde"] == pytest.approx((2.276003 + 0.845267) * SE_100, abs=1e-6)
    assert y["n_needed"] == n_needed(y["se"], 99, 100, P_03, level=0.975)


def test_exploratory_claims_are_neither_adjusted_nor_counted():
    outcomes = several(primary="xy", x=1.0, y=P_03, z=0.0)
    assert outcomes["y"]["verdict"] == "reproduced" and "holm" not in outcomes["z"]
    alone = several(primary="y", x=1.0, y=P_03, z=0.0)
    assert alone["y"]["holm"]["alpha"] == pytest.approx(0.05)
    assert alone["y"]["holm"]["low"] == pytest.approx(alone["y"]["low"])


def test_a_refused_claim_is_counted_and_one_below_its_scale_is_not():
    """That a null lets a claim down is known only after the run: the others must not have an easier rule for it."""
    found = scores(SPREAD, x=SPREAD + 1, y=SPREAD + P_03, flat=[0.0] * 100)
    made = {
        name: claim(id=name, quantity={"mean": name}, null={"mean": "noise"}, primary=True)
        for name in ("x", "y", "refused", "late")
    }
    made["refused"] |= {"quantity": {"mean": "x"}, "null": {"mean": "flat"}}
    made["late"] |= {"quantity": {"mean": "x"}, "min_scale": "gpu"}
    outcomes = judge_all(made, found, "tiny")
    words = ["reproduced", "open", "refused", "not tested at this scale"]
    assert [outcome["verdict"] for outcome in outcomes.values()] == words
    assert [outcomes[name]["holm"]["alpha"] for name in "xy"] == pytest.approx([0.05 / 3, 0.05 / 2])
    assert [name for name, outcome in outcomes.items() if "holm" in outcome] == ["x", "y"]


def test_planted_fault_what_is_open_for_other_reasons_makes_no_way_for_others():
    """Five differences of 200 have a small p, but decide nothing: the next claim may not spend more for it."""
    five = np.zeros(100)
    five[:5] = 1
    found = scores(SPREAD, five=five, y=SPREAD + P_03)
    made = {
        name: claim(id=name, quantity={"mean": name}, null={"mean": "noise"}, primary=True) for name in ("five", "y")
    }
    outcomes = judge_all(made, found, "tiny")
    assert outcomes["five"]["verdict"] == "open" and outcomes["five"]["p"] < outcomes["y"]["p"]
    assert outcomes["y"]["holm"]["alpha"] == pytest.approx(0.025) and outcomes["y"]["verdict"] == "open"


def test_adjusting_twice_changes_nothing():
    outcomes = several(x=1.0, y=P_03, z=0.0)
    made = {name: claim(quantity={"mean": name}, primary=True) for name in outcomes}
    assert adjust(made, outcomes) == outcomes


# --- texts ------------------------------------------------------------------------------------------------------------


def test_numbers_for_people():
    assert interval_text({"value": 0.12, "low": -0.05, "high": 0.3}) == "+0.12 [-0.05, 0.30]"
    assert interval_text({"value": 0.12, "low": 0.05, "high": 0.3}, sign="") == "0.12 [0.05, 0.30]"
    assert interval_text({"value": 0.012, "low": -0.005, "high": 0.03}) == "+0.012 [-0.005, 0.030]"
    assert interval_text({"value": 46_172_142_558.7, "low": 9e9, "high": 5e10}) == "+4.62e+10 [9.00e+09, 5.00e+10]"
    result = {"value": 0.12, "low": 0.05, "high": 0.19, "n": 200, "subjects": 59, "fields": 48, "seeds": 5}
    assert outcome_text(result) == "+0.12 [0.05, 0.19], 200 questions of 59 subjects and 48 fields, 5 seeds"
    assert outcome_text({"value": 0.12, "low": 0.05, "high": 0.19, "n": 200}) == "+0.12 [0.05, 0.19], 200 questions"
