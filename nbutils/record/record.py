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

from nbutils import files, paths
from nbutils.data import Dataset, Passage, questions
from nbutils.errors import InputError
from nbutils.presets import SCALES
from nbutils.record import answer_files, answers, claim_files, claims, entries, locks, origin, provenance, storage
from nbutils.record.values import checked_number, checked_seed, error_prefix, plain
from nbutils.record.wording import adjusted, outcome_text, sign_of


class Record:
    """The record of one run of one notebook. Nothing is written before `save`: a run that fails changes no file.

    `notebook` is the file's name without .ipynb; `parameters` are the notebook's, as given (None = the preset's value;
    out_dir is left out, as it is no part of the result); `preset` is the resolved preset, a dataclass or a dict.
    The folder is `<out_dir or figures/>/<scale>/<notebook>/`. `record["metrics"]` reads a section of the content.
    Raises InputError for an unknown scale, a seed or draw that is no whole number from 0, an out_dir that is no path,
    and when the notebook is not in notebooks/.
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
        seed, draw = checked_seed("seed", seed), parameters.get("draw")
        draw = None if draw is None else checked_seed("draw", draw)
        if not isinstance(out_dir, str | Path | None):
            raise InputError(f"out_dir = {out_dir!r} is no path; by plain papermill give it by -r in place of -p")
        preset = asdict(preset) if is_dataclass(preset) else preset
        kept = {name: value for name, value in parameters.items() if name != "out_dir"}
        self.folder = paths.results_dir(notebook, scale, out_dir)
        self.pictures: dict[str, bytes] = {}  # file name -> PNG, until save writes them
        self.answered = answers.nothing()  # until save writes it
        self.corpus: Mapping[str, Passage] = {}
        self.content: dict[str, Any] = {
            "format": storage.FORMAT,
            "notebook": notebook,
            "scale": scale,
            "seed": seed,
            "draw": draw,  # of the test questions, where it is not that of the seed
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
        self.corpus = dataset.corpus

    def model(self, role: str, name: str, sha256: str) -> None:
        """Note the model of a role ("encoder", "generator") by its name and checksum."""
        if not sha256:
            raise InputError(f"model {name!r} has no sha256: the record must say which weights were used")
        self._add("models", role, {"name": name, "sha256": sha256})

    def scores(
        self,
        name: str,
        examples: Sequence[Any],
        values: Any,
        nulls: Mapping[str, Any] | None = None,
    ) -> None:
        """Add one score per question under `name`, and the metric of that name: mean, 95 % interval and n.

        `values` are (n,), or (k, n) of k training seeds: then a question's score is the mean over seeds, and the seeds'
        own means are kept, whose variance is part of every interval. `examples` are the questions, records with an id,
        or their ids; subjects and fields are kept where all have them, and intervals are clustered by them. `nulls`,
        {"shuffled answers": values}, are what the same examples score on inputs that tell nothing. They go under
        "<name>, <null>", which a claim calls `null: shuffled answers`.
        Raises InputError for a name that is taken, repeated or unequally many ids, fewer than 2 questions, and a value
        that is not a finite number.
        """
        self._add_scores(name, examples, values)
        for null, of_null in (nulls or {}).items():
            self._add_scores(f"{name}, {null}", examples, of_null)

    def _add_scores(self, name: str, examples: Sequence[Any], values: Any) -> None:
        if name in self.content["scores"]:
            raise InputError(f"the record already has scores {name!r}: give each result a name of its own")
        entry = entries.score_entry(name, examples, values)
        with error_prefix(f"scores {name!r}"):
            self._add("metrics", name, entries.metric_of(entry))
        self._add("scores", name, entry)

    def metric(
        self, name: str, value: float, low: float, high: float, n: int, interval: str = entries.INTERVAL
    ) -> None:
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
        self._add("series", name, entries.series_entry(name, x, y, low, high, n))

    def curve(self, name: str, x: Sequence[float], examples: Sequence[Any], matrix: Sequence[Sequence[float]]) -> None:
        """Add a curve from scores per question, `matrix` (n_questions, len(x)): means and 95 % intervals.

        `examples` are the questions, records with an id, or their ids; intervals are clustered as those of scores.
        """
        self._add("series", name, entries.curve_entry(name, x, examples, matrix))

    def matrix(self, name: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> None:
        """Add a matrix to be plotted, with a label for each row and each column; labels may repeat, as tokens do.

        Raises InputError for no rows or columns, a label that is no text, a row of another length than `columns`, and a
        value that is not a finite number.
        """
        self._add("matrices", name, entries.matrix_entry(name, rows, columns, values))

    @contextmanager
    def timing(self, label: str) -> Iterator[None]:
        """Context manager: the wall-clock seconds of its block, under `label`."""
        if label in self.content["timings"]:
            raise InputError(f"the record already has the timing {label!r}: give each one a label of its own")
        start = time.perf_counter()
        yield
        self._add("timings", label, round(time.perf_counter() - start, 3))

    def answers(
        self,
        system: str,
        examples: Sequence[Any],
        texts: Sequence[str],
        right: Sequence[float],
        passages: Sequence[Sequence[str]] | None = None,
    ) -> None:
        """Keep what a system answered, for the page on which answers can be looked through.

        `texts` are those of one training seed, `right` the questions' scores, 0 to 1, `passages` the ids that it read.
        Raises InputError for unequally many of them, a system that is there already, a score outside of 0 to 1, a text
        that is none, and a passage that is not in the data set's corpus.
        """
        answers.add(self.answered, self.corpus, system, examples, texts, right, passages)

    def claim(self, id_: str) -> str:
        """Judge a claim of `notebooks/claims/` on this record's scores, keep the outcome, and return it as one line.

        Such as "reproduced  00.dense_over_bm25  +0.12 [0.05, 0.19], 400 questions". One that was skipped is not judged,
        and the line says why. A primary claim's verdict is that of `verdicts`, once all are judged. Raises InputError
        for an unknown claim, one of another notebook, one judged before, and a missing score.
        """
        claim = self._known_claim(id_)
        if id_ in self.content["skipped"]:
            return f"skipped  {id_}  {self.content['skipped'][id_]}"
        outcome = claims.judge(claim, self.content["scores"], self.content["scale"])
        for key in ("sentence", "label", "rule", "paper_effect"):
            if claim[key]:
                outcome[key] = claim[key]
        if claim["primary"]:
            outcome["locked"] = locks.is_locked(self._claims_file(), id_, self.content["draw"])
        self._add("claims", id_, outcome)
        note = f"  ({outcome['why']})" if "why" in outcome else ""
        return f"{outcome['verdict']}  {id_}  {outcome_text(outcome, sign_of(claim))}{note}"

    def verdicts(self) -> str:
        """The verdicts of the primary claims, a line each, adjusted for their number (Holm). Call it after the last."""
        file = self._claims_file()
        self.content["claims"] = claims.adjust(file.claims, self.content["claims"])
        lines = []
        for id_, outcome in self.content["claims"].items():
            if outcome["primary"]:
                text = outcome_text(adjusted(outcome), sign_of(file.claims[id_]))
                lines.append(f"{outcome['verdict']}  {text}\n    {outcome['sentence']}")
        return "\n".join(lines) or "no primary claim was judged"

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
        file = claim_files.claims_path(id_)
        known = claim_files.load_claims(file) if file.is_file() else {}  # one file: reading all takes half a second
        if id_ not in known:
            raise InputError(f"claims/{id_[:2]}.yaml has no claim {id_!r}")
        if id_.partition(".")[0] != self.content["notebook"].partition("_")[0]:
            raise InputError(f"claim {id_!r} is not one of notebook {self.content['notebook']}")
        return known[id_]

    def _claims_file(self) -> claim_files.ClaimsFile:
        return claim_files.load_file(claim_files.claims_path(self.content["notebook"]))

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
        if self.content["claims"]:
            self.verdicts()
        target = self.folder / "record.json"
        stale = storage.figure_files(target) - self.pictures.keys()
        with ExitStack() as stack:
            # Everything is written beside its target before anything is replaced, and the record, entered first, is
            # replaced last: a full disk or Ctrl-C leaves the earlier figures with the earlier record.
            record = stack.enter_context(files.atomic_path(target))
            record.write_text(storage.to_json(self.content), encoding="utf-8")
            if self.answered["systems"]:
                kept = stack.enter_context(files.atomic_path(self.folder / answer_files.FILE))
                kept.write_text(answers.to_json(self.answered), encoding="utf-8")
            for file, png in self.pictures.items():
                stack.enter_context(files.atomic_path(self.folder / file)).write_bytes(png)
        if not self.answered["systems"]:
            stale.add(answer_files.FILE)
        for file in stale:
            (self.folder / file).unlink(missing_ok=True)
        return target

    def _add(self, section: str, name: str, entry: Any) -> None:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InputError(f"{section}: {name!r} is no name: use printable text")
        if name in self.content[section]:
            raise InputError(f"the record already has {name!r} in {section}: give each result a name of its own")
        self.content[section][name] = entry
