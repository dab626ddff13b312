"""Scores, curves and metrics as a record keeps them: means, intervals, and how many clusters these rest on."""

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from nbutils import generation
from nbutils.data import question_example
from nbutils.errors import InputError
from nbutils.record import entries, wording

SUBJECTS = [*"AABBCCDD"]
VALUES = [1, 1, 1, 0, 0, 0, 1, 0]  # mean 0.5; residuals summed by subject: 1, 0, -1, 0


def test_the_interval_of_a_score_is_clustered():
    metric = entries.metric_of({"values": VALUES, "subjects": SUBJECTS})
    margin = stdtrit(3, 0.975) * math.sqrt(4 / 3 * 2) / 8
    assert margin > 0.5  # so that the interval, of shares, is cut at 0 and 1
    assert metric == {
        **{"value": 0.5, "low": 0.0, "high": 1.0, "n": 8},
        **{"interval": "95 %, clustered", "subjects": 4},
    }
    shifted = entries.metric_of({"values": [value - 3 for value in VALUES], "subjects": SUBJECTS})
    assert [shifted["low"], shifted["high"]] == pytest.approx([-2.5 - margin, -2.5 + margin])  # no shares: not cut
    above_chance = entries.metric_of({"values": [value - 0.05 for value in VALUES], "subjects": SUBJECTS})
    assert [above_chance["low"], above_chance["high"]] == pytest.approx([0.45 - margin, 1.0])  # a difference of shares


def test_without_labels_questions_are_independent():
    metric = entries.metric_of({"values": VALUES * 10})
    margin = stdtrit(79, 0.975) * math.sqrt(80 / 79 * 80 * 0.25) / 80
    assert [metric["low"], metric["high"]] == pytest.approx([0.5 - margin, 0.5 + margin])
    assert metric["interval"] == "95 %, questions independent"
    assert not {"subjects", "fields", "seeds"} & metric.keys()


def test_few_fields_are_fixed_and_one_subject_says_nothing():
    fields = {n: [f"f{i % n}" for i in range(8)] for n in (1, 4, 5)}
    for n, of_n in fields.items():
        metric = entries.metric_of({"values": VALUES, "subjects": SUBJECTS, "fields": of_n})
        assert metric.get("fields") == (5 if n == 5 else None) and metric["subjects"] == 4
    alone = entries.metric_of({"values": VALUES, "subjects": ["A"] * 8})
    assert alone["interval"] == "95 %, questions independent" and "subjects" not in alone


def test_seeds_widen_an_interval():
    entry = {"values": VALUES * 10, "seed_means": [0.45, 0.55]}
    metric = entries.metric_of(entry)
    of_questions, of_seeds = 80 / 79 * 80 * 0.25 / 80**2, 0.005 / 2
    total = of_questions + of_seeds
    df = total**2 / (of_questions**2 / 79 + of_seeds**2 / 1)
    assert metric["high"] == pytest.approx(0.5 + stdtrit(df, 0.975) * math.sqrt(total))
    assert metric["seeds"] == 2
    assert entries.metric_of({"values": VALUES * 10, "seed_means": [0.5]})["seeds"] == 1


def test_scores_by_seed():
    items = [question_example(f"q{i}", "?", ("y",), (), subject=s, field="capital") for i, s in enumerate("AB")]
    entry = entries.score_entry("x", items, np.array([[1, 0], [1, 1]]))
    assert entry == {
        **{"ids": ["q0", "q1"], "values": [1.0, 0.5], "subjects": ["A", "B"], "fields": ["capital"] * 2},
        "seed_means": [0.5, 1.0],
    }
    assert entries.score_entry("x", items, [1, 0]).keys() == {"ids", "values", "subjects", "fields"}
    for values, message in (
        ([[1, 0, 1]], "2 question ids but values of 3"),
        ([[1, 0], [1, math.inf]], "scores 'x' of question q1: inf is not a finite number"),
    ):
        with pytest.raises(InputError, match=message):
            entries.score_entry("x", items, values)


def test_the_points_of_a_curve_are_clustered_as_scores_are():
    items = [question_example(f"q{i}", "?", ("y",), (), subject=s) for i, s in enumerate(SUBJECTS)]
    matrix = np.stack([np.array(VALUES) - 3, np.ones(8)], axis=1)
    curve = entries.curve_entry("c", [1, 5], items, matrix)
    margin = stdtrit(3, 0.975) * math.sqrt(4 / 3 * 2) / 8
    assert curve["y"] == [-2.5, 1.0] and curve["n"] == 8
    assert [curve["low"][0], curve["high"][0]] == pytest.approx([-2.5 - margin, -2.5 + margin])
    assert (curve["low"][1], curve["high"][1]) == (1.0, 1.0)
    independent = entries.curve_entry("c", [1, 5], [item.id for item in items], matrix)
    assert independent["high"][0] < curve["high"][0]
    with pytest.raises(InputError, match="series 'c': an interval over questions needs at least 2"):
        entries.curve_entry("c", [1], ["q0"], [[1.0]])


def test_the_interval_of_positive_scores_stays_above_zero():
    costs = {"values": [1e9, 9e9, 2e9]}
    metric = entries.metric_of(costs)
    assert metric["low"] == 1e9 and metric["high"] > 9e9  # t with 2 degrees of freedom would begin below 0
    assert entries.metric_of({"values": [-1.0, 9.0, 2.0]})["low"] < -1


def test_what_is_no_question_is_called_by_its_name():
    """Where all examples say so; in words, in captions and in claims."""
    windows = [generation.Window(f"w{i}", "ABCD"[i % 4], (0, 1)) for i in range(8)]
    entry = entries.score_entry("x", windows, VALUES)
    metric = entries.metric_of(entry)
    assert entry["unit"] == metric["unit"] == "windows"
    assert wording.sample_text(metric) == "8 windows of 4 subjects"
    assert wording.sample_text({"n": 8}) == "8 questions"
    mixed = [*windows[:7], question_example("q", "?", ("y",), (), subject="D")]
    assert "unit" not in entries.score_entry("x", mixed, VALUES)
