"""The README's table, the ledger of claims and the pages of figures and answers, all generated from the records."""

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nbutils import files, paths
from nbutils.errors import InputError
from nbutils.presets import SCALES
from nbutils.record import explorer
from nbutils.record.ledger import HOW_TO_READ, ledger, notebook_table
from nbutils.record.pages import fill_template
from nbutils.record.sections import Section, load_sections

BEGIN = "<!-- claims:begin -->"
END = "<!-- claims:end -->"
README_SCALE = "tiny"


def render(scale: str = "tiny", out_dir: str | Path | None = None, readme: Path | None = None) -> list[Path]:
    """The files written: in `<out_dir or figures/>/<scale>/` the ledger `README.md`, where there are answers
    `answers.html`, and last the page `index.html`; before them the README with its table replaced.

    The README shows `tiny`, the scale whose records are committed: at other scales it is left as it is.
    Reads every record of that scale and `notebooks/claims/`. All files are written, or none. Raises InputError for an
    unknown scale, a README without the two markers, a figure that a record names and that is not there, a record whose
    verdicts are not those that the file of claims gives today, and a headline whose metric no record has.
    """
    contents = _contents(scale, out_dir, readme or paths.README)
    with ExitStack() as stack:
        # Each is written beside its target before any is replaced, and the page, entered first, is replaced last.
        for path, text in reversed(contents.items()):
            stack.enter_context(files.atomic_path(path)).write_text(text, encoding="utf-8")
    page = list(contents)[-1]
    if page.with_name(explorer.PAGE) not in contents:  # of answers that are no longer there
        page.with_name(explorer.PAGE).unlink(missing_ok=True)
    return list(contents)


def check(scale: str = "tiny", out_dir: str | Path | None = None, readme: Path | None = None) -> None:
    """Nothing, when README, ledger and pages are what `render` would write; else raises InputError."""
    for path, fresh in _contents(scale, out_dir, readme or paths.README).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != fresh:
            where = f"{scale}/{path.name}" if path.parent.name == scale else path.name
            raise InputError(f"{where} is not what the records say: run python -m nbutils report --scale {scale}")


def _contents(scale: str, out_dir: str | Path | None, readme: Path) -> dict[Path, str]:
    """{file: its text} of all that is generated from the records of a scale."""
    if scale not in SCALES:
        raise InputError(f"no scale {scale!r}: use one of {', '.join(SCALES)}")
    folder = Path(out_dir or paths.FIGURES) / scale
    sections = load_sections(scale, folder)
    if scale != README_SCALE and not any(section.record for section in sections):  # tiny lists claims, run or not
        raise InputError(f"no records of scale {scale} in {folder.parent}: python -m nbutils run --scale {scale}")
    answers = explorer.answers_page(scale, out_dir)
    contents = {}
    if scale == README_SCALE:
        contents[readme] = _with_table(readme, notebook_table(sections, scale))
    contents[folder / "README.md"] = ledger(sections, scale, bool(answers))
    if answers:
        contents[folder / explorer.PAGE] = answers
    contents[folder / "index.html"] = _page(scale, folder, sections, bool(answers))
    return contents


def _with_table(readme: Path, table: str) -> str:
    """The README's text with `table` between the markers."""
    if not readme.is_file():
        raise InputError(f"no {readme.name}: the table of notebooks is written into it")
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"{readme.name} needs the markers {BEGIN} and {END}, once each and in this order")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _page(scale: str, folder: Path, sections: Sequence[Section], answers: bool) -> str:
    figures = {section.name: _figures(folder, section) for section in sections}
    return fill_template(
        "report.html",
        scale=scale,
        sections=sections,
        figures=figures,
        answers=answers,
        how_to_read=[paragraph.replace("*", "") for paragraph in HOW_TO_READ.split("\n\n")],
    )


def _figures(folder: Path, section: Section) -> list[dict]:
    """The figures of a notebook in its order, but for the forest plot of its claims, which is the first."""
    named = section.record["figures"] if section.record else {}
    names = sorted(named, key=lambda name: name != "forest")
    return [_figure(folder, section.name, named[name]) for name in names]


def _figure(folder: Path, notebook: str, figure: Mapping[str, str]) -> dict[str, Any]:
    """Where a figure lies relative to the page, its caption, and its size in pixels: the page must not jump."""
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
