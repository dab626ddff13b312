"""The claims as Markdown: the README's table, a row per notebook, and the ledger, a row per claim."""

import html
import re
from collections.abc import Sequence

from nbutils.record.sections import Row, Section

HOW_TO_READ = """\
Each claim has a rule, such as "> 0", and a 95 % interval [low, high]. Where the rule holds on the whole interval, a
paper's sentence is *reproduced*, and a sentence of this project *holds*. Where the whole interval lies beyond the
rule's limit, the paper's sentence is *not reproduced*, and ours *fails*. Otherwise the claim is *open*. An open claim
comes with its minimum detectable effect (80 % power) and with the number of questions that would decide it. The null is
an input without the cause. The rule must not hold there: a claim whose null is constant, or passes too, is *refused*.

Primary claims are the headline sentences of the papers, chosen before the run. Only they are counted. Their verdicts
rest on intervals that are adjusted for the number of primary claims in the notebook (Holm). Exploratory claims are
shown and not counted. *Locked* means that the claim and the draw of its questions were fixed before the run.

A tag says where we read a paper's value: [S] in the work itself, [A] in its abstract, [X] in a third party's notes
whose averages add up, [D] in released data, [2] in a secondary source, [O] in a table read by OCR, [M] nowhere: it is
from memory, not checked."""


def notebook_table(sections: Sequence[Section], scale: str) -> str:
    """The README's table: what each notebook shows, how its primary claims came out, and how long it runs."""
    lines = ["| notebook | what it shows | primary claims | minutes |", "|---|---|---|---:|"]
    for section in sections:
        link = f"[`{section.name}`](notebooks/{section.name}.ipynb)" if section.notebook else section.name
        headline = _escaped(section.headline) + (f" *({_escaped(section.status)})*" if section.status else "")
        counted = f"[{section.counted()}](figures/{scale}/README.md#{section.name})"
        lines.append(f"| {link} | {headline} | {counted} | {section.minutes or '-'} |")
    return "\n".join(lines)


def ledger(sections: Sequence[Section], scale: str, answers: bool) -> str:
    """`figures/<scale>/README.md`: a section per notebook, its primary claims first.

    `answers` says whether `answers.html`, the systems' answers to each question, lies beside it.
    """
    pages = "Open [`index.html`](index.html) in a browser for the same with all figures"
    pages += ", and [`answers.html`](answers.html) for what each system answered." if answers else "."
    parts = [
        f"# Claims at scale `{scale}`",
        f"Written by `python -m nbutils report` from the records beside it. {pages}",
        HOW_TO_READ.replace("[", "\\["),
        "\n".join(f"- [{section.name}](#{section.name}): {section.counted()}" for section in sections),
        *(_section(section) for section in sections),
    ]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    parts = [f"## {section.name}", f"**{_escaped(section.headline)}**"]
    if section.status:
        parts.append(f"Status: {_escaped(section.status)}.")
    parts.append(_sources(section))
    for primary, heading in ((True, "Primary claims"), (False, "Exploratory claims")):
        if rows := section.chosen(primary):
            parts += [f"### {section.name[:2]}: {heading.lower()}", _table(section, rows)]
    return "\n\n".join(parts)


def _sources(section: Section) -> str:
    """Where the numbers come from, each one click away."""
    links = [f"[notebook]({section.notebook})"] if section.notebook else []
    if section.record:
        links.append(f"[record with the scores of each question]({section.name}/record.json)")
    said = [" · ".join(links)] if links else []
    if not section.record:
        said.append("Not run at this scale.")
    if section.draw:
        said.append(f"Locked for draw {_escaped(section.draw)} of the questions.")
    return "\n\n".join(said)


def _table(section: Section, rows: Sequence[Row]) -> str:
    lines = ["| claim | paper | here | on the null | verdict | where |", "|---|---|---|---|---|---|"]
    for row in rows:
        note = f"Note: {row.note}" if row.note else ""
        holm = f"Holm: {row.holm}" if row.holm else ""
        verdict = f"**{_escaped(row.verdict)}**"
        cells = (
            f'<a id="{row.id}"></a>' + _lines(_escaped(row.sentence), _escaped(note)),
            _escaped(row.paper),
            _lines(_escaped(row.here), _escaped(holm)) or "-",
            _escaped(row.null) or "-",
            _lines(verdict, _escaped(row.why), _escaped(row.decides), _escaped(row.lock)),
            _where(section, row),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _where(section: Section, row: Row) -> str:
    """The claim's id, the cell that judged it, and its scores."""
    links = []
    if section.notebook and row.cell:
        links.append(f"[cell \\[{row.cell}\\]]({section.notebook})")
    if section.record:
        links.append(f"[scores]({section.name}/record.json)")
    return _lines(f"`{row.id}`", " · ".join(links))


def _lines(*texts: str) -> str:
    return "<br>".join(text for text in texts if text)


def _escaped(text: str) -> str:
    """`text` as it stands, in one cell of a Markdown table: no markup, no formula, no HTML, no new cell."""
    escaped = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", " ".join(text.split()))
    return html.escape(escaped, quote=False)
