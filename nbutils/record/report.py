"""The claims table in the README and one static page of all figures and verdicts, both generated from the records."""

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nbutils import files, paths
from nbutils.errors import InputError
from nbutils.presets import SCALES
from nbutils.record import claim_files, claims, storage
from nbutils.record.pages import fill_template

BEGIN = "<!-- claims:begin -->"
END = "<!-- claims:end -->"
NOT_RUN = "not run"
SKIPPED = "skipped"
VERDICTS = (claims.REPRODUCED, claims.NOT_REPRODUCED, claims.INCONCLUSIVE, claims.NOT_TESTED, SKIPPED, NOT_RUN)
README_SCALE = "tiny"


def render(scale: str = "tiny", out_dir: str | Path | None = None, readme: Path | None = None) -> list[Path]:
    """The files written: `<out_dir or figures/>/<scale>/index.html`, and the README with its claims table replaced.

    The README shows `tiny`, the scale whose records are committed: at other scales only the page is written.
    Reads every record of that scale and `notebooks/claims/`. Raises InputError for an unknown scale, a README without
    the two markers, a figure that a record names and that is not there, and a record whose verdicts are not those
    that the file of claims gives today; nothing is written then.
    """
    readme = readme or paths.README
    table, page = _contents(scale, out_dir)
    written = {readme: _with_table(readme, table)} if scale == README_SCALE else {}
    written[_page_path(scale, out_dir)] = page
    for path, text in written.items():
        files.write_text(path, text)
    return list(written)


def check(scale: str = "tiny", out_dir: str | Path | None = None, readme: Path | None = None) -> None:
    """Nothing, when the page and the README's table are what `render` would write; else raises InputError."""
    readme = readme or paths.README
    table, page = _contents(scale, out_dir)
    expected = {readme: _with_table(readme, table)} if scale == README_SCALE else {}
    expected[_page_path(scale, out_dir)] = page
    for path, fresh in expected.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != fresh:
            raise InputError(f"{path.name} is not what the records say: run python -m nbutils report")


def _page_path(scale: str, out_dir: str | Path | None) -> Path:
    return Path(out_dir or paths.FIGURES) / scale / "index.html"


def _contents(scale: str, out_dir: str | Path | None) -> tuple[str, str]:
    """(README table, HTML page) of all records of a scale."""
    if scale not in SCALES:
        raise InputError(f"no scale {scale!r}: use one of {', '.join(SCALES)}")
    folder = _page_path(scale, out_dir).parent
    records = {path.parent.name: storage.load_record(path) for path in sorted(folder.glob("*/record.json"))}
    if not records and scale != README_SCALE:  # the README lists every claim, run or not
        raise InputError(f"no records of scale {scale} in {folder.parent}: python -m nbutils run --scale {scale}")
    for name, content in records.items():
        if content["notebook"] != name or content["scale"] != scale:
            raise InputError(f"the record in {scale}/{name}/ is of {content['notebook']} at {content['scale']}")
    rows = _rows(scale, records)
    return _tables(records, rows), _page(scale, folder, records, rows)


def _rows(scale: str, records: Mapping[str, Mapping[str, Any]]) -> list[dict]:
    """One row per known claim: its keys, and "outcome" (None when no record judged it), "number"."""
    known = claim_files.load_claims()
    outcomes, skipped = {}, {}
    for name, content in records.items():
        for id_, outcome in content["claims"].items():
            # Judged again from the scores: a rule changed after the run must not keep the old verdict.
            if id_ not in known or not _same(claims.judge(known[id_], content["scores"], scale), outcome):
                raise InputError(f"claim {id_} of {name} is no longer judged as in its record: run {name} again")
            outcomes[id_] = outcome
        if unknown := content["skipped"].keys() - known.keys():
            raise InputError(f"{name} skipped claim {min(unknown)}, which is no longer one: run {name} again")
        skipped |= content["skipped"]
    rows = []
    for id_, claim in known.items():
        outcome = outcomes.get(id_)
        verdict = outcome["verdict"] if outcome else SKIPPED if id_ in skipped else NOT_RUN
        judged = verdict not in (NOT_RUN, SKIPPED, claims.NOT_TESTED)
        sign, null = "" if "mean" in claim["quantity"] else "+", outcome and outcome["null"]
        deep_enough = SCALES.index(scale) >= SCALES.index(claim["min_scale"])
        rows.append(
            {
                **claim,
                "number": id_.partition(".")[0],
                "outcome": outcome,
                "rule_text": _rule_text(claim),
                "here": f"{claims.interval_text(outcome, sign)}, n = {outcome['n']}" if outcome else "-",
                "null_result": f"{claims.interval_text(null, sign)} {null['verdict']}" if judged else "-",
                "verdict": verdict,
                "verdict_text": f"{verdict}: {skipped[id_]}" if verdict == SKIPPED else verdict,
                "scale": scale if deep_enough else f"needs {claim['min_scale']}",
            }
        )
    return rows


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Equal verdicts, and numbers equal but for what another processor may round differently."""
    for key in ("value", "low", "high", "n"):
        if key in one and not math.isclose(one[key], other[key], rel_tol=1e-9, abs_tol=1e-9):
            return False
    return one["verdict"] == other["verdict"] and ("null" not in one or _same(one["null"], other["null"]))


def _rule_text(claim: Mapping[str, Any]) -> str:
    """What is compared with what: "recall_at_1/Dense/fact - recall_at_1/BM25/fact > 0"."""
    (kind, names), rule = next(iter(claim["quantity"].items())), claim["rule"]
    left = names if kind == "mean" else " - ".join(names) if kind == "difference" else f"trend of {', '.join(names)}"
    return f"{left} {rule['ordering']}" if "ordering" in rule else f"{left} within {rule['interval']}"


def _tables(records: Mapping[str, Mapping[str, Any]], rows: list[dict]) -> str:
    """How many claims of each notebook came out how, then every claim, folded by notebook, as Markdown."""
    words = [word for word in VERDICTS if any(row["verdict"] == word for row in rows)]
    summary = [f"| notebook | claims | {' | '.join(words)} |", "|---|" + "---:|" * (1 + len(words))]
    folded = []
    for number in dict.fromkeys(row["number"] for row in rows):
        of_notebook = [row for row in rows if row["number"] == number]
        name = next((name for name in records if name.partition("_")[0] == number), number)
        link = f"[`{name}`](notebooks/{name}.ipynb)" if name in records else number
        counts = _counts(of_notebook, words)
        summary.append(f"| {link} | {len(of_notebook)} | {' | '.join(str(n) for _, n in counts)} |")
        said = ", ".join(f"{n} {word}" for word, n in counts if n)
        folded.append(f"<details>\n<summary>{name}: {said}</summary>\n\n{_table(of_notebook)}\n\n</details>")
    return "\n\n".join(["\n".join(summary), *folded])


def _counts(rows: list[dict], words: Sequence[str]) -> list[tuple[str, int]]:
    return [(word, sum(row["verdict"] == word for row in rows)) for word in words]


def _table(rows: list[dict]) -> str:
    lines = [
        "| claim | paper | here (95 % interval) | same rule on the null input | verdict | scale |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        source = f"{row['paper']}, {row['where']}"
        paper = source if row["paper_values"] == "-" else f"{source}: {row['paper_values']}"
        sentence = f"{row['sentence']} ({row['note']})" if row["note"] else row["sentence"]
        cells = (sentence, paper, row["here"], row["null_result"], row["verdict_text"], row["scale"])
        lines.append("| " + " | ".join(_markdown(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _markdown(text: str) -> str:
    """`text` as it stands, in one cell of a Markdown table: no markup, no HTML, no new cell."""
    escaped = re.sub(r"([\\`*_\[\]|~])", r"\\\1", " ".join(text.split()))
    return html.escape(escaped, quote=False)


def _with_table(readme: Path, table: str) -> str:
    """The README's text with `table` between the markers."""
    if not readme.is_file():
        raise InputError(f"no {readme.name}: the claims table is written into it")
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"{readme.name} needs the markers {BEGIN} and {END}, once each and in this order")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _page(scale: str, folder: Path, records: Mapping[str, Mapping[str, Any]], rows: list[dict]) -> str:
    numbers = sorted({row["number"] for row in rows} | {name.partition("_")[0] for name in records})
    sections = []
    for number in numbers:
        names = [name for name in records if name.partition("_")[0] == number]
        found = [row for row in rows if row["number"] == number]
        if not names:
            sections.append({"name": number, "record": None, "figures": [], "claims": found})
        for name in names:
            figures = [_figure(folder, name, figure) for figure in records[name]["figures"].values()]
            sections.append({"name": name, "record": records[name], "figures": figures, "claims": found})
    counts = [pair for pair in _counts(rows, VERDICTS) if pair[1]]
    return fill_template("report.html", scale=scale, sections=sections, counts=counts)


def _figure(folder: Path, notebook: str, figure: Mapping[str, str]) -> dict:
    """Where a figure lies relative to the page, its caption, and its size in pixels, so that the page does not jump."""
    from PIL import Image

    path = folder / notebook / figure["file"]
    if not re.fullmatch(r"[a-z0-9_]+\.png", figure["file"]) or not path.is_file():
        raise InputError(f"the record of {notebook} names the figure {figure['file']!r}, which is not beside it")
    picture = io.BytesIO(path.read_bytes())
    try:
        width, height = Image.open(picture, formats=["PNG"]).size
    except OSError as error:  # unidentified or truncated
        raise InputError(f"{notebook}/{figure['file']} is not a PNG file") from error
    size = {"width": width, "height": height, "wide": width > 1_000}
    return {"src": f"{notebook}/{figure['file']}", "caption": figure["caption"], **size}
