"""What a run found, as data: parameters, scores, intervals, plotted series, verdicts, figures -> `record.json`.

The record is the only source of numbers: figures are drawn from it, the README table and the report read it.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from nbutils import files, metrics, paths
from nbutils.data import Dataset, questions
from nbutils.errors import InputError
from nbutils.presets import SCALES
from nbutils.record import claim_files, claims, origin, provenance, storage
from nbutils.record.values import checked_ids, checked_number, error_prefix, groups, plain

INTERVAL = "95 % bootstrap over questions"


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
        if scale not in SCALES:
            raise InputError(f"no scale {scale!r}: use one of {', '.join(SCALES)}")
        preset = asdict(preset) if is_dataclass(preset) else preset
        kept = {name: value for name, value in parameters.items() if name != "out_dir"}
        self.folder = paths.results_dir(notebook, scale, out_dir)
        self.pictures: dict[str, bytes] = {}  # file name -> PNG, until save writes them
        self.content: dict[str, Any] = {
            "format": storage.FORMAT,
            "notebook": notebook,
            "scale": scale,
            "seed": plain("seed", seed),
            "parameters": plain("parameters", kept),
            "preset": plain("preset", dict(preset)),
            "data": {},
            "models": {},
            "made_by": origin.made_by(paths.NOTEBOOKS / f"{notebook}.ipynb"),
            "versions": provenance.library_versions(),
            "device": provenance.device_name(),
            "timings": {},
            "scores": {},
            "metrics": {},
            "series": {},
            "matrices": {},
            "claims": {},
            "skipped": {},
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

    def scores(
        self,
        name: str,
        examples: Sequence[Any],
        values: Sequence[float],
        nulls: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Add one score per question under `name`, and the metric of that name: mean, 95 % interval and n.

        `examples` are the questions, records with an id, or their ids; subjects and fields are kept where all have
        them. `nulls`, {"shuffled answers": values}, are what the same examples score on inputs that tell nothing. They
        go under "<name>, <null>", which a claim calls `null: shuffled answers`.
        Raises InputError for a name that is taken, repeated or unequally many ids, fewer than 2 questions, and a value
        that is not a finite number.
        """
        self._add_scores(name, examples, values)
        for null, of_null in (nulls or {}).items():
            self._add_scores(f"{name}, {null}", examples, of_null)

    def _add_scores(self, name: str, examples: Sequence[Any], values: Sequence[float]) -> None:
        ids = checked_ids(f"scores {name!r}", examples, len(values))
        values = [
            checked_number(f"scores {name!r} of question {id_}", value) for id_, value in zip(ids, values, strict=True)
        ]
        with error_prefix(f"scores {name!r}"):
            value, low, high = metrics.bootstrap_mean(values)
        if name in self.content["scores"]:
            raise InputError(f"the record already has scores {name!r}: give each result a name of its own")
        self.metric(name, value, low, high, len(ids))
        self._add("scores", name, {"ids": ids, "values": values, **groups(examples)})

    def metric(self, name: str, value: float, low: float, high: float, n: int, interval: str = INTERVAL) -> None:
        """Add a value that has no per-question scores, with its interval, what that is over, and n."""
        where = f"metric {name!r}"
        value, low, high = (checked_number(where, number) for number in (value, low, high))
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
        entry: dict[str, Any] = {
            key: [checked_number(where, number) for number in column] for key, column in columns.items()
        }
        if any(below > above for below, above in zip(entry["low"], entry["high"], strict=True)):
            raise InputError(f"{where} has an interval whose low is above its high")
        self._add("series", name, {**entry, "n": int(n)})

    def curve(self, name: str, x: Sequence[float], examples: Sequence[Any], matrix: Sequence[Sequence[float]]) -> None:
        """Add a curve from scores per question, `matrix` (n_questions, len(x)): means and 95 % intervals.

        `examples` are the questions, records with an id, or their ids.
        """
        where = f"series {name!r}"
        ids = checked_ids(where, examples, len(matrix))
        if any(len(row) != len(x) for row in matrix):
            raise InputError(f"{where}: every question needs {len(x)} values, one for each x")
        with error_prefix(where):
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
        numbers = [[checked_number(where, value) for value in row] for row in values]
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

        Such as "reproduced  00.dense_over_bm25  +0.120 [0.053, 0.190]  n=400". One that was skipped is not judged, and
        the line says why. Raises InputError for an unknown claim, one of another notebook, one judged before, a missing
        score, and a claim that its null input passes too.
        """
        claim = self._known_claim(id_)
        if id_ in self.content["skipped"]:
            return f"skipped  {id_}  {self.content['skipped'][id_]}"
        outcome = claims.judge(claim, self.content["scores"], self.content["scale"])
        self._add("claims", id_, outcome)
        return f"{outcome['verdict']}  {id_}  {claims.interval_text(outcome)}  n={outcome['n']}"

    def skip(self, ids: Sequence[str], why: str) -> None:
        """Leave claims open, at the head of a block that lacks its data; `why`, such as "questions name no passages".

        `claim` then says so in place of judging them, and the report shows "skipped: <why>". Raises InputError for no
        reason, an unknown claim, one of another notebook, and one that is judged or skipped already.
        """
        if isinstance(ids, str):
            raise InputError(f"skip {ids!r}: give a list of claims")
        if not why.strip():
            raise InputError(f"skip {', '.join(ids)}: say why")
        for id_ in ids:
            self._known_claim(id_)
            if id_ in self.content["claims"]:
                raise InputError(f"claim {id_!r} is judged already: skip it before, or not at all")
            self._add("skipped", id_, " ".join(why.split()))

    def _known_claim(self, id_: str) -> Mapping[str, Any]:
        file = paths.CLAIMS / f"{id_[:2]}.yaml"
        known = claim_files.load_claims(file) if file.is_file() else {}  # one file: reading all takes half a second
        if id_ not in known:
            raise InputError(f"claims/{id_[:2]}.yaml has no claim {id_!r}")
        if id_.partition(".")[0] != self.content["notebook"].partition("_")[0]:
            raise InputError(f"claim {id_!r} is not one of notebook {self.content['notebook']}")
        return known[id_]

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
        stale = storage.figure_files(target) - self.pictures.keys()
        with ExitStack() as stack:
            # Everything is written beside its target before anything is replaced, and the record, entered first, is
            # replaced last: a full disk or Ctrl-C leaves the earlier figures with the earlier record.
            record = stack.enter_context(files.atomic_path(target))
            record.write_text(storage.to_json(self.content), encoding="utf-8")
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
