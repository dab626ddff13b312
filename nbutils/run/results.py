"""What becomes of an executed notebook: accepted, cleaned and put in place of earlier results, or kept as failed."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from nbutils import paths
from nbutils.errors import InputError
from nbutils.files import atomic_path, write_text
from nbutils.run.failures import NotebookFailed
from nbutils.run.notebook import display_path, is_own_code


def read_executed(executed: Path, scratch: Path, scale: str) -> object:
    """The executed notebook (nbformat's node), when every code cell ran, there is a record in `scratch`, and the
    notebook shows an image for each figure in it.

    Raises NotebookFailed otherwise.
    """
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    slug = executed.stem
    for number, cell in enumerate((cell for cell in notebook.cells if is_own_code(cell)), start=1):
        if cell.source.strip() and cell.execution_count is None:
            raise NotebookFailed(f"{slug}: ended early, cell {number} did not run (does a cell before it exit?)")
    record = paths.results_dir(slug, scale, scratch) / "record.json"
    if not record.exists():
        raise NotebookFailed(f"{slug}: wrote no {scale}/{slug}/record.json into out_dir (record.save() is missing?)")
    figures = json.loads(record.read_text(encoding="utf-8")).get("figures", {})
    shown = sum(_shows_image(output) for cell in notebook.cells for output in cell.get("outputs", []))
    if shown < len(figures):
        raise NotebookFailed(
            f"{slug}: its record has {len(figures)} figures ({', '.join(figures)}), and it shows {shown} images: is "
            "one closed before its cell ends, or is matplotlib's backend not the inline one?"
        )
    return notebook


def fill_marks(notebook: object, scratch: Path, scale: str) -> None:
    """Write the numbers of the record in `scratch` between the marks of the notebook's Markdown cells.

    Raises NotebookFailed, which names the notebook, for a mark that is not closed or names nothing in the record.
    """
    from nbutils.record import claim_files, load_record, marks

    marked = [cell for cell in notebook.cells if cell.cell_type == "markdown" and marks.OPENED in cell.source]
    if not marked:
        return
    (record,) = scratch.glob(f"{scale}/*/record.json")
    content = load_record(record)
    file = claim_files.claims_path(content["notebook"])
    known = claim_files.load_claims(file) if file.is_file() else {}
    for cell in marked:
        try:
            cell.source = marks.fill(cell.source, content, known)
        except InputError as error:
            raise NotebookFailed(f"{content['notebook']}: {error}") from error


def _shows_image(output: dict) -> bool:
    return any(kind.startswith("image/") for kind in output.get("data", {}))


def strip(notebook: object, keep_injected: bool) -> str:
    """The executed notebook as a file's text, without papermill's metadata, times and injected cell.

    Code cells are numbered from 1 again. `keep_injected` keeps the cell that shows which parameters were given, less
    the temporary folder. Changes `notebook`.
    """
    import nbformat

    cells = []
    count = 0
    for cell in notebook.cells:
        for trace in ("papermill", "execution"):
            cell.metadata.pop(trace, None)
        if not cell.metadata.get("tags"):  # papermill adds an empty list
            cell.metadata.pop("tags", None)
        if cell.cell_type == "code" and not is_own_code(cell):
            if not keep_injected:
                continue
            cell.id = "injected-parameters"  # papermill's is random
            lines = cell.source.splitlines()
            cell.source = "\n".join(line for line in lines if not line.startswith("out_dir = "))
        if cell.cell_type == "code" and cell.execution_count is not None:
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output["execution_count"] = count
        cells.append(cell)
    notebook.cells = cells
    for trace in ("papermill", "widgets"):
        notebook.metadata.pop(trace, None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    return nbformat.writes(notebook) + "\n"


def refuse_private_paths(slug: str, text: str, private: Iterable[str]) -> None:
    """Refuse a notebook that shows a path of this machine: it would differ on the next one, or the next run.

    Raises NotebookFailed when one of the `private` parts is in the notebook's `text`.
    """
    for part in private:
        if part in text:
            at = text[: text.index(part)].count('"cell_type"')
            raise NotebookFailed(f"{slug}: cell {at} (of all cells) shows the path {part!r}; print names only")


def private_folders() -> list[str]:
    """The folders of this machine that no notebook may show, each with a slash at its end.

    A user without an entry in the system's list has no home, or "/", which is a part of every address.
    """
    folders = [str(paths.ROOT), str(paths.CACHE), os.path.expanduser("~")]
    return [f"{folder}/" for folder in folders if os.path.isabs(folder) and folder != "/"]


def publish(slug: str, scratch: Path, scale: str, results: Path, key: dict, text: str | None) -> None:
    """Complete the folder that the notebook wrote below `scratch`, and put it in place of the earlier `results`.

    `key` is the freshness key; `text` the notebook that goes into the folder, None when it goes elsewhere.
    """
    written = paths.results_dir(slug, scale, scratch)
    (written / "run.json").write_text(json.dumps(key, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if text is not None:
        (written / f"{slug}.ipynb").write_text(text, encoding="utf-8")
    with atomic_path(results) as temporary:
        os.replace(written, temporary)


def keep_failed(executed: Path, results: Path) -> str:
    """Keep what ran of a failed notebook; returns the end of the message that says where."""
    import nbformat

    if not executed.exists():
        return ""
    target = results / f"{executed.stem}.failed.ipynb"
    try:
        write_text(target, strip(nbformat.read(executed, as_version=4), keep_injected=True))
    except (OSError, ValueError):  # a full disk, or a notebook cut off by one
        return "; what ran could not be kept"
    return f"; what ran is in {display_path(target)}"
