"""The rule of the decision, the alarm and the drifting stream, on scores made by hand."""

import numpy as np
import pytest

from nbutils import pilot
from nbutils.errors import InputError
from nbutils.pilot import Cost

FREE = Cost(0, 0, 0)


def scores(share, n=200):
    """n scores of which that share is 1, in an order of their own but always the same."""
    return np.random.default_rng(0).permutation(np.arange(n) < share * n).astype(float)


def test_the_most_accurate_of_equal_price_is_taken():
    right = {"fine-tuned": scores(0.3), "RAG": scores(0.7)}
    recommendation = pilot.recommend(right, {"fine-tuned": FREE, "RAG": FREE}, pilot.Requirements(), ["RAG"])
    assert recommendation.system == "RAG" and recommendation.win_share == 1 and not recommendation.excluded
    assert recommendation.values["RAG"][0] == pytest.approx(0.7, abs=0.01)
    assert "0.70 right (n = 200)" in recommendation.reasons[0] and "fine-tuned: 0.30 right" in recommendation.reasons[1]


def test_costs_count_in_right_answers():
    right = {"fine-tuned": scores(0.5), "RAG": scores(0.7)}
    requirements = pilot.Requirements(queries_per_day=100, updates_per_month=0, value_per_answer=0.01)
    costs = {"fine-tuned": FREE, "RAG": Cost(0.001, 0, 0)}
    assert pilot.recommend(right, costs, requirements, ["RAG"]).system == "RAG"  # 0.7 - 0.1
    dear = {"fine-tuned": FREE, "RAG": Cost(0.004, 0, 0)}
    assert pilot.recommend(right, dear, requirements, ["RAG"]).system == "fine-tuned"  # 0.7 - 0.4
    valuable = pilot.Requirements(queries_per_day=100, updates_per_month=0, value_per_answer=0.1)
    assert pilot.recommend(right, dear, valuable, ["RAG"]).system == "RAG"


def test_frequent_updates_speak_against_training():
    right = {"fine-tuned": scores(0.8), "RAG": scores(0.6)}
    costs = {"fine-tuned": Cost(0, 20, 0, start=20), "RAG": Cost(0, 0.01, 0)}
    seldom, often = (pilot.Requirements(100, updates) for updates in (0, 10))
    assert pilot.recommend(right, costs, seldom, ["RAG"]).system == "fine-tuned"
    assert pilot.recommend(right, costs, often, ["RAG"]).system == "RAG"


def test_demands_leave_systems_out():
    right = {"prompting": scores(0.9), "RAG": scores(0.6), "fine-tuned + RAG": scores(0.6)}
    costs = dict.fromkeys(right, FREE)
    sources = pilot.recommend(right, costs, pilot.Requirements(sources=True), ["RAG", "fine-tuned + RAG"])
    assert sources.excluded == {"prompting": "shows no source"}
    style = {"prompting": scores(0.2, 50), "RAG": scores(0.1, 50), "fine-tuned + RAG": scores(0.9, 50)}
    recommendation = pilot.recommend(right, costs, pilot.Requirements(), ["RAG"], {"style": style})
    assert recommendation.system == "fine-tuned + RAG" and set(recommendation.excluded) == {"prompting", "RAG"}
    assert recommendation.excluded["RAG"] == "style: 0.80 below fine-tuned + RAG"
    del style["RAG"]
    assert (
        pilot.recommend(right, costs, pilot.Requirements(), [], {"style": style}).excluded["RAG"]
        == "style: not measured"
    )
    nothing = pilot.recommend(right, costs, pilot.Requirements(sources=True), [])
    assert nothing.system is None and nothing.headline == pilot.NO_SYSTEM_LEFT and len(nothing.excluded) == 3
    both = pilot.recommend(
        right, costs, pilot.Requirements(sources=True), ["RAG"], {"style": {**style, "RAG": scores(0.1, 50)}}
    )
    assert both.system is None and both.excluded["RAG"].startswith("style")  # the best at style counts, source or not


def test_too_little_data_is_said():
    few = {"fine-tuned": [0, 1, 0, 1, 0, 1], "RAG": [1, 0, 1, 1, 0, 1]}
    recommendation = pilot.recommend(few, dict.fromkeys(few, FREE), pilot.Requirements(), ["RAG"])
    assert recommendation.system is None and recommendation.reasons[0].startswith(pilot.TOO_LITTLE_DATA)
    assert recommendation.headline == pilot.TOO_LITTLE_DATA
    many = {name: values * 300 for name, values in few.items()}
    assert pilot.recommend(many, dict.fromkeys(many, FREE), pilot.Requirements(), ["RAG"]).system == "RAG"


def test_a_handful_of_questions_is_too_little_however_clear_they_are():
    for n, system in ((4, None), (20, "RAG")):  # all against none: the bootstrap has no width
        clear = {"fine-tuned": [0.0] * n, "RAG": [1.0] * n}
        assert pilot.recommend(clear, dict.fromkeys(clear, FREE), pilot.Requirements(), ["RAG"]).system == system
        same = {"fine-tuned": [1.0] * n, "RAG": [1.0] * n}
        recommendation = pilot.recommend(same, dict.fromkeys(same, FREE), pilot.Requirements(), ["RAG"])
        assert (
            recommendation.system is None and f"about 30 test questions would do, here {n}" in recommendation.reasons[0]
        )
    style = {"fine-tuned": [1.0] * 3, "RAG": [0.0] * 3}
    assert not pilot.recommend(clear, dict.fromkeys(clear, FREE), pilot.Requirements(), [], {"style": style}).excluded


def test_who_is_never_right_is_not_recommended():
    wrong = {"fine-tuned": [0.0] * 200, "RAG": [0.0] * 200}
    recommendation = pilot.recommend(wrong, dict.fromkeys(wrong, FREE), pilot.Requirements(), ["RAG"])
    assert (
        recommendation.system is None
        and recommendation.headline == pilot.NO_RIGHT_ANSWER
        and "0 of 200" in recommendation.reasons[0]
    )


def test_so_many_questions_would_do():
    """With as many as it asks for, in the same proportions, the rule decides."""
    few = {"fine-tuned": [0, 1, 0, 1, 0, 1, 0, 0], "RAG": [1, 0, 1, 1, 0, 1, 1, 0]}
    reason = pilot.recommend(few, dict.fromkeys(few, FREE), pilot.Requirements(), ["RAG"]).reasons[0]
    enough = int(reason.split("about ")[1].split()[0])
    for factor, system in ((0.5, None), (1.3, "RAG")):
        many = {name: values * round(enough * factor / 8) for name, values in few.items()}
        assert pilot.recommend(many, dict.fromkeys(many, FREE), pilot.Requirements(), ["RAG"]).system == system


@pytest.mark.parametrize(
    ("right", "message"),
    [({}, "same questions"), ({"a": [1, 0], "b": [1]}, "same questions"), ({"a": [1.0], "b": [0.0]}, "at least 2")],
)
def test_scores_that_cannot_be_compared(right, message):
    with pytest.raises(InputError, match=message):
        pilot.recommend(right, dict.fromkeys(right, FREE), pilot.Requirements(), [])


def test_a_system_without_a_bill():
    with pytest.raises(InputError, match="bill"):
        pilot.recommend({"a": [1, 0]}, {}, pilot.Requirements(), [])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"queries_per_day": 0}, "queries_per_day = 0"),
        ({"updates_per_month": -1}, "updates_per_month = -1"),
        ({"value_per_answer": float("nan")}, "worth = nan"),  # as the option is called
    ],
)
def test_requirements_that_are_none(wrong, message):
    with pytest.raises(InputError, match=message):
        pilot.Requirements(**wrong)


def test_an_alarm_by_hand():
    # log p1/p0 of a wrong answer: log(0.6 / 0.2) = 1.10; log 20 = 3.0: the third in a row.
    assert pilot.cusum_alarm([1, 0, 0, 0, 0], expected=0.8, drop=0.4, patience=20) == 3
    assert pilot.cusum_alarm([1] * 50, expected=0.8, drop=0.4, patience=20) is None
    for wrong in ((0.8, 0.9, 20), (1.0, 0.4, 20), (0.8, 0.4, 1), (0.8, 0, 20)):
        with pytest.raises(InputError, match="patience"):
            pilot.cusum_alarm([1], *wrong)


def test_false_alarms_are_as_rare_as_promised():
    rng, patience, waits = np.random.default_rng(0), 100, []
    for _ in range(60):
        hits = rng.random(2_000) < 0.7
        place = pilot.cusum_alarm(hits, 0.7, 0.3, patience)
        waits.append(2_000 if place is None else place)
    assert np.mean(waits) > patience
    after_a_fall = [pilot.cusum_alarm(rng.random(500) < 0.4, 0.7, 0.3, patience) for _ in range(60)]
    assert np.mean(after_a_fall) < 30


def test_a_stream_that_is_never_updated_decays_and_an_alarm_repairs_it():
    changes = np.full(40, 10.0)
    hits = np.zeros((2, 2, 40))
    hits[0, 0] = hits[1, 1] = 1  # right as long as the value is that of the day
    never = pilot.simulate_drift(changes, hits, 30, 5, seed=0)
    assert never.updates == [] and never.scores[:10].mean() == 1 and never.scores[10:].mean() == 0
    assert never.facts.shape == never.scores.shape == (30, 5) and never.facts.max() < 40
    repaired = pilot.simulate_drift(changes, hits, 30, 5, seed=0, alarm=(0.95, 0.4, 100))
    assert repaired.updates == [10] and repaired.scores[10].mean() == 0 and repaired.scores[11:].mean() == 1
    still = pilot.simulate_drift(np.full(40, np.inf), hits, 30, 5, seed=0, alarm=(0.95, 0.4, 100))
    assert still.updates == [] and still.scores.mean() == 1
    # Planted fault: a refresh that brings the old knowledge again repairs nothing.
    idle = pilot.simulate_drift(changes, np.stack([hits[0], hits[0]]), 30, 5, seed=0, alarm=(0.95, 0.4, 100))
    assert idle.updates and (idle.scores == never.scores).all()


def test_a_stream_of_the_wrong_shape():
    with pytest.raises(InputError, match="hits"):
        pilot.simulate_drift([1.0], np.zeros((2, 1, 1)), 3, 2, 0)
