"""The figures of the pilot's page, as PNG within the page: accuracy, accuracy against cost, and the map."""

import base64
import io
from dataclasses import replace
from typing import Any

from nbutils import metrics, plotting
from nbutils.pilot.costs import Prices
from nbutils.pilot.findings import Findings, recommend_from_findings
from nbutils.pilot.recommendation import QUERIES_PER_DAY, UPDATES_PER_MONTH, Requirements
from nbutils.pilot.systems import SYSTEMS

MAP_QUERIES_PER_DAY = QUERIES_PER_DAY[:-1]


def draw_figures(findings: Findings, requirements: Requirements, prices: Prices) -> list[dict[str, Any]]:
    """[{"src": data URI, "caption": text}] of the three figures."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    record = _record(findings, requirements, prices)
    interval = f"n = {len(findings.test_questions)} questions; whiskers: 95 % bootstrap over questions."
    drawn = []
    with mpl.rc_context():
        plotting.set_style()
        fig = Figure(figsize=plotting.SINGLE)
        groups = {"right": "right", "in its\nsource": "in its source", "unsup-\nported": "unsupported"}
        bars = {
            label: {system: f"{what}/{system}" for system in SYSTEMS}
            for label, what in groups.items()
            if what in findings.scores
        }
        plotting.plot_bars(fig.add_subplot(), record, bars, "what is counted", "share of answers")
        plotting.legend_above(fig)
        text = "Answers that are right; that stand in the passages shown with them (for closed-book systems: in those "
        text += "that a search finds); and, where gold passages are named, that stand in none of these. "
        drawn.append((fig, text + interval))
        fig = Figure(figsize=plotting.SINGLE)
        points = {system: (f"cost/{system}", f"right/{system}") for system in SYSTEMS}
        plotting.plot_points(fig.add_subplot(), record, points, "FLOPs a query", "right answers")
        plotting.legend_above(fig)
        drawn.append((fig, f"Right answers against the cost of a query. {interval}"))
        fig = Figure(figsize=plotting.SINGLE)
        plotting.plot_map(
            fig.add_subplot(), record, "winner", "win share", list(SYSTEMS), "queries a day", "updates a month"
        )
        plotting.legend_above(fig)
        text = "What the rule recommends, with the prices below, by volume and by how often the facts change; numbers: "
        text += "share of resamples of the questions in which that system is best; ?: too little data to tell."
        drawn.append((fig, text))
        return [{"src": _data_uri(fig), "caption": caption} for fig, caption in drawn]


def _record(findings: Findings, requirements: Requirements, prices: Prices) -> dict[str, dict]:
    """The findings as the record that `plotting` draws from."""
    entries = {}
    for what in ("right", "in its source", "unsupported"):
        for system, values in findings.scores.get(what, {}).items():
            value, low, high = metrics.bootstrap_mean(values)
            entries[f"{what}/{system}"] = {"value": value, "low": low, "high": high}
    for system, flops in findings.query_flops[findings.generator].items():
        entries[f"cost/{system}"] = dict.fromkeys(("value", "low", "high"), flops)
    return {"metrics": entries, "matrices": _map(findings, requirements, prices)}


def _map(findings: Findings, requirements: Requirements, prices: Prices) -> dict[str, dict]:
    winners, win_shares = [], []
    for updates in UPDATES_PER_MONTH:
        row = [
            recommend_from_findings(
                findings, replace(requirements, updates_per_month=updates, queries_per_day=queries), prices
            )
            for queries in MAP_QUERIES_PER_DAY
        ]
        winners.append([-1 if one.system is None else list(SYSTEMS).index(one.system) for one in row])
        win_shares.append([one.win_share for one in row])
    labels = {"rows": [f"{n:,}" for n in UPDATES_PER_MONTH], "columns": [f"{n:,}" for n in MAP_QUERIES_PER_DAY]}
    return {"winner": {**labels, "values": winners}, "win share": {**labels, "values": win_shares}}


def _data_uri(fig) -> str:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=plotting.DPI, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
