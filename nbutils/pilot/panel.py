"""The decision as a panel in a notebook: requirements and prices under one's fingers, what the rule says, and why."""

import html
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from nbutils.pilot.costs import Prices
from nbutils.pilot.recommendation import (
    QUERIES_PER_DAY,
    UPDATES_PER_MONTH,
    Evidence,
    Recommendation,
    Requirements,
    recommend_from_evidence,
)
from nbutils.progress import is_headless


def show_panel(evidence: Evidence, requirements: Requirements, prices: Prices) -> Any:
    """The panel, to be the last thing in a cell; in a headless run a table of what is recommended in some cases.

    `requirements` and `prices` are where its controls stand at first.
    """
    return _table(evidence, requirements, prices) if is_headless() else _widgets(evidence, requirements, prices)


def _widgets(evidence: Evidence, requirements: Requirements, prices: Prices):
    import ipywidgets

    def slider(label: str, values, value):
        options = sorted({*values, value})
        return ipywidgets.SelectionSlider(
            options=[(f"{option:,g}", option) for option in options], value=value, description=label,
            continuous_update=False, style={"description_width": "9rem"}, layout={"width": "30rem"},
        )  # fmt: skip

    def number(label: str, value: float):
        return ipywidgets.BoundedFloatText(
            value=value, min=0, max=1e9, step=value / 10 or 0.1, description=label,
            style={"description_width": "9rem"}, layout={"width": "18rem"},
        )  # fmt: skip

    controls = {
        "updates_per_month": slider("updates a month", UPDATES_PER_MONTH, requirements.updates_per_month),
        "queries_per_day": slider("queries a day", QUERIES_PER_DAY, requirements.queries_per_day),
        "n_examples": slider("training examples", evidence.scores, max(evidence.scores)),
        "style": ipywidgets.Checkbox(description="a house style", disabled=not evidence.style_scores),
        "sources": ipywidgets.Checkbox(value=requirements.sources, description="answers show their source"),
        "value_per_answer": number("a right answer", requirements.value_per_answer),
        "hour": number("a machine's hour", prices.hour),
        "example": number("a training example", prices.example),
        "release": number("releasing a model", prices.release),
    }
    output = ipywidgets.HTML()

    def update(_: Any = None) -> None:
        chosen = {name: control.value for name, control in controls.items()}
        if not chosen["value_per_answer"]:
            output.value = "<p>A right answer must be worth something: give a number above 0.</p>"
            return
        required = ("updates_per_month", "queries_per_day", "sources", "value_per_answer")
        recommendation = recommend_from_evidence(
            evidence,
            replace(requirements, **{name: chosen[name] for name in required}),
            replace(prices, **{name: chosen[name] for name in ("hour", "example", "release")}),
            chosen["n_examples"],
            chosen["style"],
        )
        output.value = recommendation_html(recommendation)

    for control in controls.values():
        control.observe(update, "value")
    update()
    rows = [*controls.values()]
    return ipywidgets.VBox(
        [*rows[:3], ipywidgets.HBox(rows[3:5]), ipywidgets.HBox(rows[5:7]), ipywidgets.HBox(rows[7:]), output]
    )


def recommendation_html(recommendation: Recommendation) -> str:
    """A recommendation as HTML: the system, how sure, a bar for the value of each system, and the reasons."""
    lines = [f'<div class="advice"><b style="font-size:1.3em">{html.escape(recommendation.headline)}</b>']
    if recommendation.system:
        percent = 100 * recommendation.win_share
        lines.append(f"<div>best in {percent:.0f} % of the resamples of the questions</div>")
    for system, (value, low, high) in recommendation.values.items():
        look = f"display:inline-block;height:0.7em;width:{12 * min(max(value, 0), 1):.2f}em;background:#0072b2"
        bar = f'<span style="{look}"></span>'
        label = f'<span style="display:inline-block;width:12em">{html.escape(system)}</span>'
        lines.append(f"<div>{label}{bar} {value:+.2f} [{low:.2f}, {high:.2f}]</div>")
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in recommendation.reasons)
    lines.append(f"<ul>{reasons}</ul></div>")
    return "".join(lines)


def _cases(evidence: Evidence, requirements: Requirements) -> Iterator[tuple[str, Requirements, int, bool]]:
    """(what is asked for, requirements, training examples, style)."""
    least, most = min(evidence.scores), max(evidence.scores)
    often, seldom = UPDATES_PER_MONTH[-1], QUERIES_PER_DAY[0]
    yield "as given", requirements, most, False
    yield f"{least} training examples", requirements, least, False
    yield "facts never change", replace(requirements, updates_per_month=0), most, False
    yield f"{often} updates a month", replace(requirements, updates_per_month=often), most, False
    yield f"{seldom} queries a day", replace(requirements, queries_per_day=seldom), most, False
    yield "answers show their source", replace(requirements, sources=True), most, False
    if evidence.style_scores:
        yield "a house style", requirements, most, True


def _table(evidence: Evidence, requirements: Requirements, prices: Prices):
    from IPython.display import HTML

    rows = []
    for what, required, n_examples, style in _cases(evidence, requirements):
        recommendation = recommend_from_evidence(evidence, required, prices, n_examples, style)
        cells = (what, recommendation.headline, recommendation.reasons[0])
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>asked for</th><th>advice</th><th>first reason</th></tr>"
    return HTML(f"<table>{head}{''.join(rows)}</table>")
