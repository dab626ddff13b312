"""The export is what the published schemas of "Every Eval Ever" allow, and says what the records say."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from nbutils import __main__ as cli
from nbutils import paths
from nbutils.errors import InputError
from nbutils.record import FORMAT
from nbutils.record.entries import CLUSTERED, INTERVAL
from nbutils.record.every_eval_ever import SCHEMA_VERSION, export
from nbutils.record.every_eval_ever_rows import ONE_SEED

SCHEMAS = paths.ROOT / "tests" / "schemas" / "every_eval_ever"
COMMITTED = sorted(paths.FIGURES.glob("tiny/*/record.json"))
IDS = ["chad-area-0", "peru-area-0", "chad-coast-1"]
GROUPS = {"subjects": ["chad", "peru", "chad"], "fields": ["area", "area", "coast"]}


def metric(value, interval=INTERVAL, **more):
    return {"value": value, "low": value / 2, "high": value * 1.5, "n": 3, "interval": interval, **more}


def scores(*values, **more):
    return {"ids": IDS, "values": list(values), **GROUPS, **more}


def content(**changes):
    """A record's content: a system of two seeds, its control, a cost, and a metric without scores."""
    return {
        "format": FORMAT,
        "notebook": "00_start_here",
        "scale": "tiny",
        "seed": 7,
        "parameters": {"dataset": None, "generator": "/home/me/models/mine"},
        "preset": {"max_new_tokens": 10},
        "data": {"name": "factbook", "sha256": "d" * 64, "n_passages": 9, "n_questions": 30},
        "models": {
            "encoder": {"name": "minilm", "sha256": "a" * 64},
            "generator": {"name": "gemma-3-270m", "sha256": "b" * 64},
        },
        "made_by": {"notebook": {"cell": "c" * 64}},
        "versions": {"transformers": "5.1.0"},
        "device": "cpu",
        "scores": {
            "exact_match/RAG/held out": scores(1.0, 0.0, 0.5, seed_means=[0.25, 0.75]),
            "exact_match/RAG/held out, shuffled answers": scores(0.0, 0.0, 0.0),
            "token_f1/RAG/held out": scores(1.0, 0.2, 0.6),
            "recall_at_5/RAG": scores(1.0, 0.0, 1.0),
            "FLOPs/RAG": scores(4e9, 5e9, 6e9),
        },
        "metrics": {
            "exact_match/RAG/held out": metric(0.5, CLUSTERED, subjects=2, fields=2, seeds=2),
            "exact_match/RAG/held out, shuffled answers": metric(0.0),
            "token_f1/RAG/held out": metric(0.6),
            "recall_at_5/RAG": metric(0.6),
            "FLOPs/RAG": metric(5e9),
            "gain/RAG, seeds": metric(0.1, "range over 2 seeds"),
        },
        "claims": {},
        "skipped": {},
        "figures": {},
        **changes,
    }


ANSWERS = {
    "questions": {
        id_: {"question": f"What of {id_}?", "answers": ["ja\u2028 ñ"], "gold": [], "subject": "", "field": ""}
        for id_ in IDS
    },
    "systems": {
        "RAG": {
            id_: {"text": f"text {id_}", "right": right, "passages": ["p1"]}
            for id_, right in zip(IDS, [1.0, 0.0, 0.5], strict=True)
        }
    },
    "passages": {"p1": {"title": "Peru", "text": "Peru is large."}},
}


@pytest.fixture
def save(project, monkeypatch):
    """Function (content, answers) that writes a record into figures/tiny/; its date is given."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1760000000")

    def save(content, answers=None):
        folder = project.figures / content["scale"] / content["notebook"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_text(json.dumps(content), encoding="utf-8")
        if answers is not None:
            (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
        return folder / "record.json"

    return save


def schema(name):
    return json.loads((SCHEMAS / name).read_text(encoding="utf-8"))


def validator(name):
    from jsonschema import Draft7Validator

    return Draft7Validator(schema(name))


def exported(folder):
    """[(file, evaluation, [row])] of an export."""
    found = []
    for path in sorted(folder.glob("data/*/*/*/*.json")):
        samples = path.with_name(f"{path.stem}_samples.jsonl")
        lines = samples.read_text(encoding="utf-8").split("\n")[:-1] if samples.exists() else []
        found.append((path, json.loads(path.read_text(encoding="utf-8")), [json.loads(line) for line in lines]))
    return found


def faults(folder, rows_each=None):
    """What is wrong with the files of an export: by the schemas, and of what ties the files to each other.

    `rows_each`: how many rows of each result are held against the schema (None: all), which takes a millisecond each.
    """
    of_file, of_row, found = validator("eval.schema.json"), validator("instance_level_eval.schema.json"), []
    for path, evaluation, rows in exported(folder):
        found += [error.message for error in of_file.iter_errors(evaluation)]
        results = {result["evaluation_result_id"]: result for result in evaluation["evaluation_results"]}
        n_seen = Counter()
        for row in rows:
            name = row["evaluation_result_id"]
            n_seen[name] += 1
            if rows_each is None or n_seen[name] <= rows_each:
                found += [error.message for error in of_row.iter_errors(row)]
            if name not in results:
                found.append(f"no result {name}")
                continue
            links = (evaluation["evaluation_id"], evaluation["model_info"]["id"], results[name]["evaluation_name"])
            if (row["evaluation_id"], row["model_id"], row["evaluation_name"]) != links:
                found.append(f"row of another evaluation: {row['sample_id']}")
        for result in results.values():
            config, score = result["metric_config"], result["score_details"]["score"]
            if not config.get("min_score", score) <= score <= config.get("max_score", score):
                found.append(f"score {score} out of its bounds")
        if path.parent.relative_to(folder / "data").as_posix().partition("/")[2] != evaluation["model_info"]["id"]:
            found.append(f"{path.name} does not lie with its model")
        if rows:
            samples = path.with_name(f"{path.stem}_samples.jsonl")
            detail = evaluation["detailed_evaluation_results"]
            if detail["file_path"] != samples.relative_to(folder).as_posix():
                found.append("file_path")
            if detail["checksum"] != hashlib.sha256(samples.read_bytes()).hexdigest():
                found.append("checksum")
            if detail["total_rows"] != len(rows):
                found.append("total_rows")
    return found


# Against the published schemas


def test_the_schemas_are_of_the_version_that_is_written():
    for name in ("eval.schema.json", "instance_level_eval.schema.json"):
        assert schema(name)["version"] == SCHEMA_VERSION
        type(validator(name)).check_schema(schema(name))


@pytest.mark.parametrize("answers", [None, ANSWERS])
def test_an_export_follows_the_schemas(save, tmp_path, answers):
    save(content(), answers)
    export("tiny", tmp_path / "out")
    assert faults(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda e: e.pop("retrieved_timestamp"), "'retrieved_timestamp' is a required property"),
        (lambda e: e.update(retrieved_timestamp=5), "5 is not of type 'string'"),
        (lambda e: e.update(n=3), "Additional properties are not allowed ('n' was unexpected)"),
        (lambda e: e["evaluation_results"][0]["metric_config"].pop("max_score"), "'max_score' is a required property"),
        (lambda e: e["evaluation_results"][0]["score_details"].update(score=3), "score 3 out of its bounds"),
        (lambda e: e["model_info"].update(id="a/b"), "row of another evaluation: chad-area-0"),
        (lambda e: e["evaluation_results"].pop(0), "no result exact_match/RAG/held out"),
        (lambda e: e["detailed_evaluation_results"].update(total_rows=2), "total_rows"),
        (lambda e: e["detailed_evaluation_results"].update(checksum="0"), "checksum"),
        (lambda e: e["detailed_evaluation_results"].update(file_path=f"data/a/b/c/{'0' * 36}.jsonl"), "file_path"),
    ],
)
def test_a_file_that_does_not_follow_them_is_noticed(save, tmp_path, change, fault):
    save(content())
    export("tiny", tmp_path)
    ((path, evaluation, _),) = exported(tmp_path)
    change(evaluation)
    path.write_text(json.dumps(evaluation), encoding="utf-8")
    assert fault in faults(tmp_path)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda row: row.pop("output"), "'output' is a required property"),
        (lambda row: row["evaluation"].update(is_correct=0.5), "0.5 is not of type 'boolean'"),
        (lambda row: row["metadata"].update(n=3), "3 is not of type 'string'"),
        (lambda row: row.update(evaluation_name="another"), "row of another evaluation: chad-area-0"),
        (lambda row: row["evaluation"].update(score=0.3), "checksum"),
    ],
)
def test_a_row_that_does_not_follow_them_is_noticed(save, tmp_path, change, fault):
    save(content())
    _, samples = export("tiny", tmp_path)
    ((_, _, rows),) = exported(tmp_path)
    change(rows[0])
    samples.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    assert fault in faults(tmp_path)


@pytest.mark.parametrize("notebook", [path.parent.name for path in COMMITTED])
def test_every_committed_record_follows_them(tmp_path, monkeypatch, notebook):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1760000000")
    copy = tmp_path / "figures" / "tiny" / notebook
    shutil.copytree(paths.FIGURES / "tiny" / notebook, copy, ignore=shutil.ignore_patterns("*.png", "*.html"))
    text = (copy / "record.json").read_text(encoding="utf-8")  # one of an older format has metrics and scores too
    (copy / "record.json").write_text(re.sub(r'"format": \d+', f'"format": {FORMAT}', text, count=1), encoding="utf-8")
    record = json.loads(text)
    export("tiny", tmp_path, tmp_path / "figures")
    assert faults(tmp_path, rows_each=1) == []
    ((_, evaluation, rows),) = exported(tmp_path)
    results = {result["evaluation_result_id"]: result for result in evaluation["evaluation_results"]}
    assert results.keys() == record["metrics"].keys()
    assert len(rows) == sum(len(of_name["values"]) for of_name in record["scores"].values())
    for name in record["scores"]:  # every mean of questions has its interval, whatever its method is called
        confidence = results[name]["score_details"]["uncertainty"]["confidence_interval"]
        assert (confidence["lower"], confidence["confidence_level"]) == (record["metrics"][name]["low"], 0.95)
    if (copy / "answers.json").exists():
        assert any(row["output"]["raw"] for row in rows)


# What it says


@pytest.fixture
def evaluation(save, tmp_path):
    """(results by name, rows by name) of the record above with its answers."""
    save(content(), ANSWERS)
    export("tiny", tmp_path)
    ((_, whole, rows),) = exported(tmp_path)
    by_name = {}
    for row in rows:
        by_name.setdefault(row["evaluation_result_id"], []).append(row)
    return {result["evaluation_result_id"]: result for result in whole["evaluation_results"]}, by_name, whole


def test_a_metric_has_its_interval_with_level_method_and_n(evaluation):
    result = evaluation[0]["exact_match/RAG/held out"]
    method = (
        "cluster-robust over 2 subjects and 2 fields (Cameron, Gelbach and Miller 2011), t quantile; "
        "with the variance of the means of 2 training seeds"
    )
    confidence = {"lower": 0.25, "upper": 0.75, "confidence_level": 0.95, "method": method}
    assert result["score_details"] == {
        "score": 0.5,
        "uncertainty": {"confidence_interval": confidence, "num_samples": 3},
        "details": {
            "metric": "exact_match/RAG/held out",
            "interval": CLUSTERED,
            "subjects": "2",
            "fields": "2",
            "seeds": "2",
            "seed_means": "[0.25, 0.75]",
        },
    }
    assert result["evaluation_name"] == "00_start_here/RAG/held out"
    assert result["metric_config"]["metric_id"] == "exact-match"
    assert result["generation_config"]["generation_args"] == {"max_tokens": 10}
    assert result["generation_config"]["additional_details"]["seed"] == "7"
    assert result["source_data"]["dataset_name"] == "factbook"
    assert result["source_data"]["additional_details"]["n_questions"] == "30"


def test_a_range_over_seeds_is_no_confidence_interval(evaluation):
    details = evaluation[0]["gain/RAG, seeds"]["score_details"]
    assert "uncertainty" not in details
    assert details["details"]["interval"] == "range over 2 seeds"
    assert float(details["details"]["low"]) == 0.05


def test_what_is_better_is_said_where_it_is_known(evaluation):
    configs = {name: result["metric_config"] for name, result in evaluation[0].items()}
    assert configs["FLOPs/RAG"]["lower_is_better"]
    assert configs["recall_at_5/RAG"]["metric_parameters"] == {"k": 5}
    assert (configs["recall_at_5/RAG"]["min_score"], configs["recall_at_5/RAG"]["max_score"]) == (0, 1)
    assert configs["gain/RAG, seeds"]["additional_details"] == {"lower_is_better": "not stated by the record"}
    assert "additional_details" not in configs["FLOPs/RAG"] | configs["recall_at_5/RAG"]


def test_rows_have_the_texts_where_they_belong_to_the_score(evaluation):
    rows = evaluation[1]
    first = rows["exact_match/RAG/held out"][0]
    assert (first["sample_id"], first["evaluation"]) == ("chad-area-0", {"score": 1.0, "is_correct": True})
    assert first["input"] == {"raw": "What of chad-area-0?", "reference": ["ja\u2028 ñ"]}
    assert first["output"] == {"raw": ["text chad-area-0"]}
    assert first["metadata"] == {"subject": "chad", "field": "area", "passages": '["p1"]', "output": ONE_SEED}
    recipe = '{"raw":"What of chad-area-0?","reference":["ja\\u2028 \\u00f1"]}'
    assert first["sample_hash"] == hashlib.sha256(recipe.encode()).hexdigest()
    assert [row["evaluation"]["is_correct"] for row in rows["exact_match/RAG/held out"]] == [True, False, False]
    assert rows["token_f1/RAG/held out"][1]["answer_attribution"][0]["extraction_method"] == "token_f1"
    # A control is scored against other answers, and a ranking or a cost is no text.
    for name in ("exact_match/RAG/held out, shuffled answers", "recall_at_5/RAG", "FLOPs/RAG"):
        for row in rows[name]:
            assert row["output"] == {"raw": []}
            assert row["input"]["reference"] == []
            assert row["input"]["raw"] == f"What of {row['sample_id']}?"
    assert rows["FLOPs/RAG"][0]["metadata"]["is_correct"] == "not defined for this metric"


def test_texts_of_a_system_that_was_right_elsewhere_are_left_out(save, tmp_path):
    other = json.loads(json.dumps(ANSWERS))
    other["systems"]["RAG"]["peru-area-0"]["right"] = 1.0  # with other passages, say
    save(content(), other)
    export("tiny", tmp_path)
    ((_, _, rows),) = exported(tmp_path)
    assert {len(row["output"]["raw"]) for row in rows} == {0}


def test_texts_that_two_scores_would_fit_are_left_out(save, tmp_path):
    twice = content()
    twice["scores"]["exact_match/RAG/other"] = twice["scores"]["exact_match/RAG/held out"]
    twice["metrics"]["exact_match/RAG/other"] = twice["metrics"]["exact_match/RAG/held out"]
    save(twice, ANSWERS)
    export("tiny", tmp_path)
    ((_, _, rows),) = exported(tmp_path)
    assert {len(row["output"]["raw"]) for row in rows} == {0}


def test_rows_without_texts_say_so(save, tmp_path):
    save(content())
    export("tiny", tmp_path)
    ((_, _, rows),) = exported(tmp_path)
    unstated = "not stated by the record"
    assert rows[0]["metadata"] == {"subject": "chad", "field": "area", "input": unstated, "output": unstated}


@pytest.mark.parametrize(
    ("name", "id_", "availability"),
    [
        ("gemma-3-270m", "google/gemma-3-270m", "open_weights"),
        ("meta-llama/Llama-3.1-8B@refs/pr/3", "meta-llama/Llama-3.1-8B", "open_weights"),
        ("/home/me/models/my model", "local/my-model", "unknown"),
        ("../here", "local/here", "unknown"),
    ],
)
def test_the_model_has_its_public_name_and_no_path_leaves_the_machine(save, tmp_path, name, id_, availability):
    save(content(models={"generator": {"name": name, "sha256": "b" * 64}}))
    path, samples = export("tiny", tmp_path)
    model = json.loads(path.read_text(encoding="utf-8"))["model_info"]
    assert (model["id"], model["additional_details"]["model_availability"]) == (id_, availability)
    assert path.parent == tmp_path / "data" / "nbutils" / id_
    assert "/home/me" not in path.read_text(encoding="utf-8") + samples.read_text(encoding="utf-8")
    assert faults(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("rajpurkar/squad", ("rajpurkar/squad", "hf_dataset")),
        ("google-research-datasets/nq_open@1f+facebook/wiki_dpr", ("google-research-datasets/nq_open", "hf_dataset")),
        ("/home/me/sets/mine", ("mine", "other")),
    ],
)
def test_the_data_set_has_its_public_name(save, tmp_path, name, found):
    save(content(data={"name": name, "sha256": "d" * 64, "n_passages": 9, "n_questions": 30}))
    export("tiny", tmp_path)
    source = exported(tmp_path)[0][1]["evaluation_results"][0]["source_data"]
    assert (source["dataset_name"], source["source_type"]) == found
    assert faults(tmp_path) == []


def test_a_record_without_scores_or_generator(save, tmp_path):
    save(content(scores={}, models={}, data={}, metrics={"gain/x": metric(0.5)}))
    (path,) = export("tiny", tmp_path)
    assert path.parent.name == "no-model"
    assert faults(tmp_path) == []


# Files


def read(files):
    return {path.name: path.read_bytes() for path in files}


def test_the_same_records_give_the_same_files(save, tmp_path):
    save(content(), ANSWERS)
    once = export("tiny", tmp_path / "a")
    assert read(once) == read(export("tiny", tmp_path / "b")) == read(export("tiny", tmp_path / "a"))
    assert len([path for path in (tmp_path / "a").rglob("*") if path.is_file()]) == 2


def test_another_export_is_not_mixed_in(save, tmp_path, monkeypatch):
    save(content())
    before = read(export("tiny", tmp_path / "out"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1760000001")
    with pytest.raises(InputError, match=r"is in the way: name a folder without other files in its data/"):
        export("tiny", tmp_path / "out")
    assert read(path for path in (tmp_path / "out").rglob("*") if path.is_file()) == before


def test_nothing_is_written_when_one_record_fails(save, tmp_path):
    save(content())
    before = read(export("tiny", tmp_path / "out"))
    save(content(seed=8))
    save(content(notebook="01_rag"), {"questions": {}})
    with pytest.raises(InputError, match=r"01_rag/answers\.json: the answers are not an object"):
        export("tiny", tmp_path / "out")
    assert read(path for path in (tmp_path / "out").rglob("*") if path.is_file()) == before


def test_what_cannot_be_exported(save, tmp_path):
    with pytest.raises(InputError, match="no scale 'huge'"):
        export("huge", tmp_path)
    with pytest.raises(InputError, match="no records of scale gpu in"):
        export("gpu", tmp_path)
    assert not (tmp_path / "data" / "nbutils").exists()


def test_the_date_is_that_of_the_commit(save, tmp_path, monkeypatch):
    path = save(content())
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    with pytest.raises(InputError, match="commit it, or set SOURCE_DATE_EPOCH"):
        export("tiny", tmp_path / "out")
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "record.json"], [*identity, "commit", "-qm", "Record"]):
        environment = {"GIT_COMMITTER_DATE": "1750000000 +0200", "PATH": "/usr/bin:/bin"}
        subprocess.run(["git", *command], cwd=path.parent, check=True, env=environment)
    export("tiny", tmp_path / "out")
    assert exported(tmp_path / "out")[0][1]["retrieved_timestamp"] == "1750000000"
    save(content(seed=8))
    with pytest.raises(InputError, match="as git has no commit of it as it is"):
        export("tiny", tmp_path / "out")


@pytest.mark.parametrize("given", ["today", "-5", "1.5"])
def test_a_date_that_is_none(save, tmp_path, monkeypatch, given):
    save(content())
    monkeypatch.setenv("SOURCE_DATE_EPOCH", given)
    with pytest.raises(InputError, match="give the seconds since 1970"):
        export("tiny", tmp_path)


def test_the_command(save, tmp_path, monkeypatch, capsys):
    save(content())
    monkeypatch.setattr(sys, "argv", ["nbutils", "report", "--every-eval-ever", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert not ending.value.code
    written = [line.removeprefix("written: ") for line in capsys.readouterr().out.splitlines()]
    assert sorted(written) == sorted(str(path) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert len(written) == 2
