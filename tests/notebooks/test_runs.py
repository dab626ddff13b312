"""Every notebook runs at smoke, and what it is given matters: one row a notebook, none written by hand.

What is special to a notebook, its method cells beside the library above all, is in `methods/test_NN_slug.py`.
"""

import ast

import notebook_runs
import pytest
from notebook_runs import MEASURED, SLUGS

from nbutils import paths, record
from nbutils.record import claim_files, claims

# Notebooks that compare rankings, or tell test documents by their questions: without gold passages there is nothing.
NEED_GOLD = {"06_survey", "07_hybrid_search"}
EVERY = [(slug, name) for slug in SLUGS for name in notebook_runs.parameters(slug)]


def committed(slug):
    return record.load_record(paths.results_dir(slug, "tiny") / "record.json")


def claims_of(slug):
    return record.load_claims(paths.CLAIMS / f"{slug[:2]}.yaml")


def scores_of(value):
    """The names of scores in a claim's quantity or null."""
    if isinstance(value, str):
        return {value}
    return set().union(*map(scores_of, value.values() if isinstance(value, dict) else value))


def measured(content):
    return {section: content[section] for section in MEASURED}


def faults(found, folder, expected, figures):
    """What is wrong with the record of a smoke run whose claims and figures should be these."""
    there, judged = found["scores"].keys(), found["claims"]
    wrong = [f"claim {id_} is not in its file" for id_ in judged.keys() - expected.keys()]
    wrong += [f"claim {id_} is judged" for id_, claim in judged.items() if claim["verdict"] != claims.NOT_TESTED]
    # Of a kind of question smoke may have less than two: a claim about it has no scores then, as few of them have.
    missing = {id_: scores_of(expected[id_]["quantity"]) for id_ in expected.keys() - judged.keys()}
    skipped = found.get("skipped", {})
    wrong += [f"claim {id_} is forgotten" for id_, names in missing.items() if id_ not in skipped and names <= there]
    # What a preset leaves out, such as a data set that is downloaded, is said by `record.skip`.
    unsaid = missing.keys() - skipped.keys()
    if len(unsaid) > len(expected) / 10 or len(missing) > len(expected) / 3:
        wrong.append(f"{len(missing)} claims lack their scores")
    if list(found["figures"]) != list(figures):
        wrong.append(f"the figures are {list(found['figures'])}")
    files = [figure["file"] for figure in found["figures"].values()]
    return wrong + [f"there is no {file}" for file in files if not (folder / file).is_file()]


@pytest.mark.notebook
@pytest.mark.parametrize("slug", SLUGS)
def test_smoke_with_the_embedded_models(slug, smoke_run):
    """Every claim of its file is computed and none is judged, every figure of the committed record is a file."""
    (found, folder), tiny = smoke_run(slug), committed(slug)
    assert (found["notebook"], found["scale"]) == (slug, "smoke")
    assert faults(found, folder, claims_of(slug), tiny["figures"]) == []
    # The scale changes more than its own name.
    assert found["scores"] != tiny["scores"]


def test_what_a_run_misses_is_found_out(tmp_path):
    expected = {id_: {"quantity": {"difference": ["a", "b"]}} for id_ in ("98.one", "98.other")}
    outcome, figures = {"verdict": claims.NOT_TESTED}, {"main": {"file": "main.png"}}
    found = {"scores": {"a": {}, "b": {}}, "claims": dict.fromkeys(expected, outcome), "figures": figures}
    (tmp_path / "main.png").touch()
    assert faults(found, tmp_path, expected, figures) == []

    def faults_with(**changes):
        return faults({**found, **changes}, tmp_path, expected, figures)

    assert faults_with(claims={**found["claims"], "98.third": outcome}) == ["claim 98.third is not in its file"]
    assert faults_with(claims={**found["claims"], "98.one": {"verdict": "reproduced"}}) == ["claim 98.one is judged"]
    assert "claim 98.other is forgotten" in faults_with(claims={"98.one": outcome})
    assert faults_with(claims={"98.one": outcome}, scores={"a": {}}) == ["1 claims lack their scores"]
    assert faults_with(figures={}) == ["the figures are []"]
    (tmp_path / "main.png").unlink()
    assert faults_with() == ["there is no main.png"]


@pytest.mark.parametrize(("slug", "name"), EVERY)
def test_every_parameter_is_used(slug, name):
    used = {
        node.id
        for source in notebook_runs.cells(slug)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert name in used


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """Function slug -> (parameters of a small run, another value of each, its record); one run a notebook."""
    runs = {}

    def small_run(slug):
        if slug not in runs:
            folder = tmp_path_factory.mktemp(slug)
            parameters, others = notebook_runs.small_parameters(slug, folder)
            runs[slug] = parameters, others, notebook_runs.execute(slug, folder / "base", **parameters)[0]
        return runs[slug]

    return small_run


def in_every_suite(slug):
    """The first notebook is quick; of the others the same takes minutes."""
    return () if slug == SLUGS[0] else pytest.mark.slow


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("slug", "name"), [pytest.param(slug, name, marks=in_every_suite(slug)) for slug, name in EVERY]
)
def test_every_parameter_changes_what_is_measured(slug, name, small_run, smoke_run, tmp_path):
    """Not the parameter's own entry, but what was measured; of a model or a data set also its checksum."""
    parameters, others, base = small_run(slug)
    changed, _ = notebook_runs.execute(slug, tmp_path / "small", **{**parameters, name: others[name]})
    if measured(changed) == measured(base):  # random models fail alike: it takes one that can read
        changed, base = notebook_runs.results(slug, tmp_path / "read", **{name: others[name]}), smoke_run(slug)[0]
    assert measured(changed) != measured(base)


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("slug", SLUGS)
def test_two_runs_with_one_seed_give_one_record(slug, small_run, tmp_path, monkeypatch):
    parameters, _, base = small_run(slug)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")  # or the second run would read what the first has kept
    assert notebook_runs.execute(slug, tmp_path / "again", **parameters)[0] == base


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("slug", SLUGS)
def test_passages_without_titles_will_do(slug, small_run, tmp_path):
    parameters, _, base = small_run(slug)
    untitled = notebook_runs.without_titles(parameters["dataset"], tmp_path / "untitled")
    found, _ = notebook_runs.execute(slug, tmp_path / "out", **{**parameters, "dataset": untitled})
    assert found["scores"].keys() == base["scores"].keys()


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("slug", [slug for slug in SLUGS if slug not in NEED_GOLD])
def test_questions_without_gold_passages_will_do(slug, small_run, tmp_path):
    parameters, _, base = small_run(slug)
    open_ones = notebook_runs.without_gold(parameters["dataset"], tmp_path / "open")
    found, _ = notebook_runs.execute(slug, tmp_path / "out", **{**parameters, "dataset": open_ones})
    assert found["scores"] and not any(name.startswith("recall") for name in found["scores"])
    assert found["figures"].keys() <= base["figures"].keys()


@pytest.mark.slow
@pytest.mark.parametrize("slug", SLUGS)
def test_tiny_gives_the_committed_results_again(slug, tmp_path):
    """Each mean within the committed interval, and no verdict turned round: other hardware rounds differently."""
    if claim_files.load_file(claim_files.claims_path(slug)).status.startswith("on the former split"):
        pytest.skip("the committed results are of other test questions")  # test_committed checks that they are
    before, again = committed(slug), notebook_runs.results(slug, tmp_path, scale="tiny")
    assert again["metrics"].keys() == before["metrics"].keys()
    for name, metric in before["metrics"].items():
        if metric["interval"] == record.INTERVAL:
            assert metric["low"] <= again["metrics"][name]["value"] <= metric["high"], name
    decided = (claims.REPRODUCED, claims.NOT_REPRODUCED)
    verdicts = {id_: (before["claims"][id_]["verdict"], outcome["verdict"]) for id_, outcome in again["claims"].items()}
    assert {id_: pair for id_, pair in verdicts.items() if {*pair} == {*decided}} == {}
