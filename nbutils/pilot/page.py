"""One page about a data set of the user's own: five systems measured on it, and what the rule recommends."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbutils import data, files, metrics
from nbutils.errors import InputError
from nbutils.pilot import measure
from nbutils.pilot.costs import Prices, break_even
from nbutils.pilot.figures import draw_figures
from nbutils.pilot.findings import Findings, costs_from_findings, recommend_from_findings, run_pilot
from nbutils.pilot.recommendation import Recommendation, Requirements, interval_of_difference
from nbutils.pilot.split import MIN_QUESTIONS, split_questions
from nbutils.presets.rag_or_finetune import RagOrFinetune
from nbutils.record import claims, report


def make_page(
    name: str | Path,
    out: str | Path,
    preset: RagOrFinetune,
    requirements: Requirements,
    prices: Prices,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> Recommendation:
    """Measure the five systems on the data set called `name`, write the page `out`, return the recommendation in it.

    `log` gets a line after each stage, and the page's notes.

    Raises InputError, before anything is trained, for a bad record, fewer than `MIN_QUESTIONS` questions, an `out` that
    is a folder, and a generator that the cost model does not know; nothing is written then.
    """
    out = Path(out)
    try:  # permissions alone do not tell whether the system will write it
        tempfile.NamedTemporaryFile(prefix=f".{out.name}.", dir=out.parent).close()
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): name another place for the page") from error
    if out.is_dir():
        raise InputError(f"{out} is a folder: name the file of the page, such as {out / 'pilot.html'}")
    if preset.n_questions < MIN_QUESTIONS // 2:
        raise InputError(f"n_questions = {preset.n_questions}: give at least {MIN_QUESTIONS // 2}")
    if seed < 0:
        raise InputError(f"seed = {seed}: give at least 0")
    dataset = data.load_dataset(str(name))
    split_questions(dataset.examples, preset.n_questions, preset.n_train, seed)  # its errors come before long work
    findings = run_pilot(dataset, preset, seed, log)
    for note in (metrics.RULE_NOTES[metrics.OWN_DATA], *findings.notes):
        log(f"note: {note}")
    recommendation = recommend_from_findings(findings, requirements, prices)
    files.write_text(out, render_page(findings, recommendation, requirements, prices))
    return recommendation


def opinions(findings: Findings) -> list[dict[str, str]]:
    """The rows of the literature's table that a folder can decide: opinion, number with interval, n, verdict."""
    right = findings.scores["right"]
    single = max(("fine-tuned", "RAG"), key=lambda system: right[system].mean())
    rows = [
        ("External knowledge required?", "RAG, not fine-tuning (Hotz 2023)", "right", "RAG", "fine-tuned", "> 0"),
        ("Minimise hallucinations?", "RAG (Hotz 2023)", "unsupported", "fine-tuned", "RAG", "> 0"),
        ("Transparency required?", "RAG (Hotz 2023)", "in its source", "RAG", "fine-tuned", "> 0"),
        ("Training data available?", "fine-tuning can use them (Hotz 2023)", "right", "fine-tuned", "prompting", "> 0"),
        ("Short prompts?", "fine-tuning saves tokens (Microsoft 2023)", "tokens", "RAG", "fine-tuned", "> 0"),
        ("Both together?", "yes, for customer support (Hotz 2023)", "right", "fine-tuned + RAG", single, "> -0.03"),
    ]
    table = []
    for question, opinion, what, one, other, rule in rows:
        if what not in findings.scores:
            here = "no gold passages" if "in its source" in findings.scores else "no passage supports these answers"
            table.append({"question": question, "opinion": opinion, "here": here, "verdict": "not measured"})
            continue
        difference = findings.scores[what][one] - findings.scores[what][other]
        interval_of = metrics.bootstrap_mean if what == "tokens" else interval_of_difference
        value, low, high = interval_of(difference)
        digits = 0 if what == "tokens" else 2
        interval = f"[{low:.{digits}f}, {high:.{digits}f}], n = {len(difference)}"
        here = f"{what}: {one} - {other} = {value:+.{digits}f} {interval}"
        here_alone = {"paper": claims.OWN, "rule": {"ordering": rule}}  # an opinion holds on this folder, or fails
        verdict = claims.verdict(here_alone, low, high)
        table.append({"question": question, "opinion": opinion, "here": here, "verdict": verdict})
    for question, opinion in (
        ("Behaviour or style?", "fine-tuning, not RAG (Hotz 2023)"),
        ("Data mostly dynamic?", "RAG (Hotz 2023)"),
    ):
        here = "this folder has no examples of it: see notebook 08"
        table.append({"question": question, "opinion": opinion, "here": here, "verdict": "not measured"})
    return table


def render_page(findings: Findings, recommendation: Recommendation, requirements: Requirements, prices: Prices) -> str:
    """The page as one HTML text: no scripts, nothing loaded from elsewhere."""
    costs_by_model = {model: costs_from_findings(findings, prices, model) for model in findings.query_flops}
    costs = costs_by_model[findings.generator]
    shown = findings.scores.get("in its source", {})
    table = []
    for system, answers in findings.answers.items():
        value, low, high = metrics.bootstrap_mean(findings.scores["right"][system])
        table.append(
            {
                "system": system,
                "right": f"{value:.2f} [{low:.2f}, {high:.2f}]",
                "source": f"{shown[system].mean():.2f}" if shown else "not measured",
                "tokens": f"{measure.tokens_per_query(answers).mean():,.0f}",
                "seconds": f"{findings.seconds[system]:.2f}",
                "thousand": [f"{1_000 * one[system].query:.2g}" for one in costs_by_model.values()],
                "update": f"{costs[system].update:.2g}",
                "start": f"{costs[system].start:.2g}",
            }
        )
    meet = break_even(costs["fine-tuned + RAG"], costs["RAG"], requirements.updates_per_month)
    return report.fill_template(
        "pilot.html",
        findings=findings,
        recommendation=recommendation,
        requirements=requirements,
        prices=prices,
        table=table,
        rule=metrics.RULE_NOTES[metrics.OWN_DATA],
        models=list(findings.query_flops),
        opinions=opinions(findings),
        figures=draw_figures(findings, requirements, prices),
        examples=_disagreements(findings),
        break_even=None if meet is None else f"{meet:,.0f}",
    )


def _disagreements(findings: Findings, n: int = 5) -> list[dict[str, Any]]:
    """The first `n` questions on which the systems disagree."""
    texts = {system: answers.texts for system, answers in findings.answers.items()}
    questions = findings.test_questions
    different = [i for i in range(len(questions)) if len({of_system[i] for of_system in texts.values()}) > 1][:n]
    return [
        {
            "question": questions[i].question,
            "right": questions[i].answers[0],
            "answers": [
                (system, of_system[i], findings.scores["right"][system][i] >= 0.5)
                for system, of_system in texts.items()
            ],
        }
        for i in different
    ]
