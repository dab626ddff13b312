"""The panel: its controls move the advice, and a headless run gets a table."""

import numpy as np
import pytest

from nbutils import pilot
from nbutils.pilot import NO_SYSTEM_LEFT, Prices, Recommendation, Requirements


@pytest.fixture
def evidence():
    """With training examples both together are best; without them RAG; only fine-tuning keeps the house style."""

    def right(best):
        return {system: np.full(100, 0.9 if system == best else 0.4) for system in pilot.SYSTEMS}

    untrained = {system: scores for system, scores in right("RAG").items() if system not in pilot.TRAINED_SYSTEMS}
    same = dict.fromkeys(pilot.SYSTEMS, 1e12)
    style = {system: np.full(50, float(system == "fine-tuned")) for system in pilot.SYSTEMS}
    fresh = {system: np.full(50, 0.1 + 0.8 * (system in pilot.RAG_SYSTEMS)) for system in pilot.SYSTEMS}
    trainings = {"fine-tuned": 1e15, "fine-tuned + RAG": 1e15}
    return pilot.Evidence({0: untrained, 64: right("fine-tuned + RAG")}, same, trainings, 1e12, 1e6, style, fresh)


@pytest.fixture
def controls(evidence, monkeypatch):
    """Every control by its label, and what the panel says."""
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    found, todo = {}, [pilot.show_panel(evidence, Requirements(), Prices())]
    while todo:
        widget = todo.pop()
        todo += getattr(widget, "children", ())
        found[getattr(widget, "description", "") or type(widget).__name__] = widget
    return found, found["HTML"]


def test_moving_a_control_moves_the_advice(controls):
    found, output = controls
    assert ">fine-tuned + RAG</b>" in output.value and "best in 100 %" in output.value
    found["training examples"].value = 0
    assert ">RAG</b>" in output.value
    found["training examples"].value = 64
    found["updates a month"].value = 0
    found["a house style"].value = True
    assert ">fine-tuned</b>" in output.value and "house style: 1.00 below fine-tuned" in output.value
    found["answers show their source"].value = True
    assert f">{NO_SYSTEM_LEFT}</b>" in output.value


def test_prices_count(controls):
    found, output = controls
    found["queries a day"].value = 10
    assert (
        ">RAG</b>" in output.value or ">RAG, tuned" in output.value
    )  # 300 answers a month do not pay 52 of a training back
    found["a training example"].value = 0
    found["releasing a model"].value = 0
    assert ">fine-tuned + RAG</b>" in output.value
    found["a right answer"].value = 0
    assert "must be worth something" in output.value


def test_a_headless_run_gets_a_table(evidence, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    table = pilot.show_panel(evidence, Requirements(), Prices()).data
    assert table.count("<tr>") == 8 and "<td>0 training examples</td><td>RAG</td>" in table
    assert "<td>as given</td><td>fine-tuned + RAG</td>" in table


def test_an_advice_is_escaped():
    text = pilot.recommendation_html(
        Recommendation("<i>RAG</i>", "<i>RAG</i>", ["<script>"], {"<i>RAG</i>": (0.5, 0.4, 0.6)}, {}, 0.9)
    )
    assert "<i>" not in text and "<script>" not in text and "&lt;script&gt;" in text
