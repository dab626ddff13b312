"""The rule of the decision, the alarm and the drifting stream, on scores made by hand."""

import numpy as np
import pytest

from nbutils import decision
from nbutils.costs import Bill
from nbutils.errors import InputError

FREE = Bill(0, 0, 0)


def scores(share, n=200):
    """n scores of which that share is 1, in an order of their own but always the same."""
    return np.random.default_rng(0).permutation(np.arange(n) < share * n).astype(float)


def test_the_most_accurate_of_equal_price_is_taken():
    right = {"fine-tuned": scores(0.3), "RAG": scores(0.7)}
    advice = decision.recommend(right, {"fine-tuned": FREE, "RAG": FREE}, decision.Needs(), ["RAG"])
    assert advice.system == "RAG" and advice.sure == 1 and not advice.excluded
    assert advice.values["RAG"][0] == pytest.approx(0.7, abs=0.01)
    assert "0.70 right (n = 200)" in advice.reasons[0] and "fine-tuned: 0.30 right" in advice.reasons[1]


def test_costs_count_in_right_answers():
    right = {"fine-tuned": scores(0.5), "RAG": scores(0.7)}
    needs = decision.Needs(queries_per_day=100, updates_per_month=0, worth=0.01)
    bills = {"fine-tuned": FREE, "RAG": Bill(0.001, 0, 0)}
    assert decision.recommend(right, bills, needs, ["RAG"]).system == "RAG"  # 0.7 - 0.1
    dear = {"fine-tuned": FREE, "RAG": Bill(0.004, 0, 0)}
    assert decision.recommend(right, dear, needs, ["RAG"]).system == "fine-tuned"  # 0.7 - 0.4
    worth_more = decision.Needs(queries_per_day=100, updates_per_month=0, worth=0.1)
    assert decision.recommend(right, dear, worth_more, ["RAG"]).system == "RAG"


def test_frequent_updates_speak_against_training():
    right = {"fine-tuned": scores(0.8), "RAG": scores(0.6)}
    bills = {"fine-tuned": Bill(0, 20, 0, start=20), "RAG": Bill(0, 0.01, 0)}
    seldom, often = (decision.Needs(100, updates) for updates in (0, 10))
    assert decision.recommend(right, bills, seldom, ["RAG"]).system == "fine-tuned"
    assert decision.recommend(right, bills, often, ["RAG"]).system == "RAG"


def test_demands_leave_systems_out():
    right = {"prompting": scores(0.9), "RAG": scores(0.6), "fine-tuned + RAG": scores(0.6)}
    bills = dict.fromkeys(right, FREE)
    sources = decision.recommend(right, bills, decision.Needs(sources=True), ["RAG", "fine-tuned + RAG"])
    assert sources.excluded == {"prompting": "shows no source"}
    style = {"prompting": scores(0.2, 50), "RAG": scores(0.1, 50), "fine-tuned + RAG": scores(0.9, 50)}
    advice = decision.recommend(right, bills, decision.Needs(), ["RAG"], {"style": style})
    assert advice.system == "fine-tuned + RAG" and set(advice.excluded) == {"prompting", "RAG"}
    assert advice.excluded["RAG"] == "style: 0.80 below fine-tuned + RAG"
    del style["RAG"]
    assert (
        decision.recommend(right, bills, decision.Needs(), [], {"style": style}).excluded["RAG"]
        == "style: not measured"
    )
    nothing = decision.recommend(right, bills, decision.Needs(sources=True), [])
    assert nothing.system is None and nothing.headline == decision.NOTHING and len(nothing.excluded) == 3
    both = decision.recommend(
        right, bills, decision.Needs(sources=True), ["RAG"], {"style": {**style, "RAG": scores(0.1, 50)}}
    )
    assert both.system is None and both.excluded["RAG"].startswith("style")  # the best at style counts, source or not


def test_too_little_data_is_said():
    few = {"fine-tuned": [0, 1, 0, 1, 0, 1], "RAG": [1, 0, 1, 1, 0, 1]}
    advice = decision.recommend(few, dict.fromkeys(few, FREE), decision.Needs(), ["RAG"])
    assert advice.system is None and advice.reasons[0].startswith(decision.TOO_LITTLE)
    assert advice.headline == decision.TOO_LITTLE
    many = {name: values * 300 for name, values in few.items()}
    assert decision.recommend(many, dict.fromkeys(many, FREE), decision.Needs(), ["RAG"]).system == "RAG"


def test_a_handful_of_questions_is_too_little_however_clear_they_are():
    for n, system in ((4, None), (20, "RAG")):  # all against none: the bootstrap has no width
        clear = {"fine-tuned": [0.0] * n, "RAG": [1.0] * n}
        assert decision.recommend(clear, dict.fromkeys(clear, FREE), decision.Needs(), ["RAG"]).system == system
        same = {"fine-tuned": [1.0] * n, "RAG": [1.0] * n}
        advice = decision.recommend(same, dict.fromkeys(same, FREE), decision.Needs(), ["RAG"])
        assert advice.system is None and f"about 30 test questions would do, here {n}" in advice.reasons[0]
    style = {"fine-tuned": [1.0] * 3, "RAG": [0.0] * 3}
    assert not decision.recommend(clear, dict.fromkeys(clear, FREE), decision.Needs(), [], {"style": style}).excluded


def test_who_is_never_right_is_not_recommended():
    wrong = {"fine-tuned": [0.0] * 200, "RAG": [0.0] * 200}
    advice = decision.recommend(wrong, dict.fromkeys(wrong, FREE), decision.Needs(), ["RAG"])
    assert advice.system is None and advice.headline == decision.NONE_RIGHT and "0 of 200" in advice.reasons[0]


def test_so_many_questions_would_do():
    """With as many as it asks for, in the same proportions, the rule decides."""
    few = {"fine-tuned": [0, 1, 0, 1, 0, 1, 0, 0], "RAG": [1, 0, 1, 1, 0, 1, 1, 0]}
    reason = decision.recommend(few, dict.fromkeys(few, FREE), decision.Needs(), ["RAG"]).reasons[0]
    enough = int(reason.split("about ")[1].split()[0])
    for factor, system in ((0.5, None), (1.3, "RAG")):
        many = {name: values * round(enough * factor / 8) for name, values in few.items()}
        assert decision.recommend(many, dict.fromkeys(many, FREE), decision.Needs(), ["RAG"]).system == system


@pytest.mark.parametrize(
    ("right", "message"),
    [({}, "same questions"), ({"a": [1, 0], "b": [1]}, "same questions"), ({"a": [1.0], "b": [0.0]}, "at least 2")],
)
def test_scores_that_cannot_be_compared(right, message):
    with pytest.raises(InputError, match=message):
        decision.recommend(right, dict.fromkeys(right, FREE), decision.Needs(), [])


def test_a_system_without_a_bill():
    with pytest.raises(InputError, match="bill"):
        decision.recommend({"a": [1, 0]}, {}, decision.Needs(), [])


@pytest.mark.parametrize("wrong", [{"queries_per_day": 0}, {"updates_per_month": -1}, {"worth": float("nan")}])
def test_needs_that_are_none(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        decision.Needs(**wrong)


def test_an_alarm_by_hand():
    # log p1/p0 of a wrong answer: log(0.6 / 0.2) = 1.10; log 20 = 3.0: the third in a row.
    assert decision.first_alarm([1, 0, 0, 0, 0], expected=0.8, drop=0.4, patience=20) == 3
    assert decision.first_alarm([1] * 50, expected=0.8, drop=0.4, patience=20) is None
    for wrong in ((0.8, 0.9, 20), (1.0, 0.4, 20), (0.8, 0.4, 1), (0.8, 0, 20)):
        with pytest.raises(InputError, match="patience"):
            decision.first_alarm([1], *wrong)


def test_false_alarms_are_as_rare_as_promised():
    rng, patience, waits = np.random.default_rng(0), 100, []
    for _ in range(60):
        hits = rng.random(2_000) < 0.7
        place = decision.first_alarm(hits, 0.7, 0.3, patience)
        waits.append(2_000 if place is None else place)
    assert np.mean(waits) > patience
    after_a_fall = [decision.first_alarm(rng.random(500) < 0.4, 0.7, 0.3, patience) for _ in range(60)]
    assert np.mean(after_a_fall) < 30


def test_a_stream_that_is_never_updated_decays_and_an_alarm_repairs_it():
    changes = np.full(40, 10.0)
    hits = np.zeros((2, 2, 40))
    hits[0, 0] = hits[1, 1] = 1  # right as long as the value is that of the day
    never = decision.drift(changes, hits, 30, 5, seed=0)
    assert never.updates == [] and never.scores[:10].mean() == 1 and never.scores[10:].mean() == 0
    assert never.asked.shape == never.scores.shape == (30, 5) and never.asked.max() < 40
    repaired = decision.drift(changes, hits, 30, 5, seed=0, alarm=(0.95, 0.4, 100))
    assert repaired.updates == [10] and repaired.scores[10].mean() == 0 and repaired.scores[11:].mean() == 1
    still = decision.drift(np.full(40, np.inf), hits, 30, 5, seed=0, alarm=(0.95, 0.4, 100))
    assert still.updates == [] and still.scores.mean() == 1
    # Planted fault: a refresh that brings the old knowledge again repairs nothing.
    idle = decision.drift(changes, np.stack([hits[0], hits[0]]), 30, 5, seed=0, alarm=(0.95, 0.4, 100))
    assert idle.updates and (idle.scores == never.scores).all()


def test_a_stream_of_the_wrong_shape():
    with pytest.raises(InputError, match="hits"):
        decision.drift([1.0], np.zeros((2, 1, 1)), 3, 2, 0)
