"""The decision as a panel in a notebook: needs and prices under one's fingers, what the rule recommends, and why."""

import html
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from nbutils import pilot
from nbutils.costs import Prices
from nbutils.decision import Advice, Needs
from nbutils.pilot import Evidence
from nbutils.progress import is_headless

QUERIES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)  # a day
UPDATES = (0, 1, 4, 30, 300)  # a month


def show(evidence: Evidence, needs: Needs, prices: Prices) -> Any:
    """The panel, to be the last thing in a cell; in a headless run a table of the advice for some needs.

    `needs` and `prices` are where its controls stand at first.
    """
    return _static(evidence, needs, prices) if is_headless() else _widgets(evidence, needs, prices)


def _widgets(evidence: Evidence, needs: Needs, prices: Prices):
    import ipywidgets

    def choice(label: str, values, value):
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
        "updates_per_month": choice("updates a month", UPDATES, needs.updates_per_month),
        "queries_per_day": choice("queries a day", QUERIES, needs.queries_per_day),
        "n_examples": choice("training examples", evidence.right, max(evidence.right)),
        "style": ipywidgets.Checkbox(description="a house style", disabled=not evidence.style),
        "sources": ipywidgets.Checkbox(value=needs.sources, description="answers show their source"),
        "worth": number("a right answer", needs.worth),
        "hour": number("a machine's hour", prices.hour),
        "example": number("a training example", prices.example),
        "release": number("releasing a model", prices.release),
    }
    said = ipywidgets.HTML()

    def react(_: Any = None) -> None:
        chosen = {name: control.value for name, control in controls.items()}
        if not chosen["worth"]:
            said.value = "<p>A right answer must be worth something: give a number above 0.</p>"
            return
        wanted = {name: chosen[name] for name in ("updates_per_month", "queries_per_day", "sources", "worth")}
        paid = {name: chosen[name] for name in ("hour", "example", "release")}
        said.value = advice_html(
            pilot.advise(
                evidence, replace(needs, **wanted), replace(prices, **paid), chosen["n_examples"], chosen["style"]
            )
        )

    for control in controls.values():
        control.observe(react, "value")
    react()
    rows = [*controls.values()]
    return ipywidgets.VBox(
        [*rows[:3], ipywidgets.HBox(rows[3:5]), ipywidgets.HBox(rows[5:7]), ipywidgets.HBox(rows[7:]), said]
    )


def advice_html(advice: Advice) -> str:
    """An advice as HTML: the system, how sure, a bar for the value of each system, and the reasons."""
    lines = [f'<div class="advice"><b style="font-size:1.3em">{html.escape(advice.headline)}</b>']
    if advice.system:
        lines.append(f"<div>best in {100 * advice.sure:.0f} % of the resamples of the questions</div>")
    for system, (value, low, high) in advice.values.items():
        look = f"display:inline-block;height:0.7em;width:{12 * min(max(value, 0), 1):.2f}em;background:#0072b2"
        bar = f'<span style="{look}"></span>'
        label = f'<span style="display:inline-block;width:12em">{html.escape(system)}</span>'
        lines.append(f"<div>{label}{bar} {value:+.2f} [{low:.2f}, {high:.2f}]</div>")
    lines.append("<ul>" + "".join(f"<li>{html.escape(reason)}</li>" for reason in advice.reasons) + "</ul></div>")
    return "".join(lines)


def _cases(evidence: Evidence, needs: Needs) -> Iterator[tuple[str, Needs, int, bool]]:
    """(what is asked for, needs, training examples, style)."""
    least, most = min(evidence.right), max(evidence.right)
    yield "as given", needs, most, False
    yield f"{least} training examples", needs, least, False
    yield "facts never change", replace(needs, updates_per_month=0), most, False
    yield f"{UPDATES[-1]} updates a month", replace(needs, updates_per_month=UPDATES[-1]), most, False
    yield f"{QUERIES[0]} queries a day", replace(needs, queries_per_day=QUERIES[0]), most, False
    yield "answers show their source", replace(needs, sources=True), most, False
    if evidence.style:
        yield "a house style", needs, most, True


def _static(evidence: Evidence, needs: Needs, prices: Prices):
    from IPython.display import HTML

    rows = []
    for what, wanted, n_examples, style in _cases(evidence, needs):
        advice = pilot.advise(evidence, wanted, prices, n_examples, style)
        cells = (what, advice.headline, advice.reasons[0])
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>asked for</th><th>advice</th><th>first reason</th></tr>"
    return HTML(f"<table>{head}{''.join(rows)}</table>")
