"""Notebook 00 runs at smoke, twice alike; every parameter matters; its equations are what the library computes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import checkpoints
import notebook_runs
import numpy as np
import pytest

from nbutils import data, metrics, paths, record, run
from nbutils.record import claims

NOTEBOOK = paths.NOTEBOOKS / "00_start_here.ipynb"


def results(folder, scale="smoke", **parameters):
    return notebook_runs.results(NOTEBOOK.stem, folder, scale, **parameters)


def test_the_method_cell_is_what_the_library_computes():
    import faiss

    method, rng = notebook_runs.methods(NOTEBOOK.stem), np.random.default_rng(0)
    questions = rng.normal(size=(7, 16)).astype(np.float32)
    passages = rng.normal(size=(50, 16)).astype(np.float32)
    index = faiss.IndexFlatIP(16)
    index.add(passages)
    scores, positions = index.search(questions, 10)
    similarities = method["sim"](questions, passages)
    assert np.allclose(np.take_along_axis(similarities, positions, 1), scores, atol=1e-5)
    assert (method["top_k"](similarities, 10) == positions).all()
    ids = positions.astype(str)
    gold = [{str(i) for i in rng.choice(50, 3, replace=False)} for _ in range(7)]
    for k in (1, 5, 10):
        ours = [method["recall_at_k"](row[:k], relevant) for row, relevant in zip(ids, gold, strict=True)]
        assert np.allclose(ours, metrics.recall_curve(ids, gold, [k])[:, 0])
        # Planted fault: the nearest by Euclidean distance are others.
        wrong = np.argsort(((questions[:, None] - passages) ** 2).sum(-1), axis=1)[:, :k]
    assert not (wrong == positions).all()


@pytest.mark.notebook
def test_smoke_with_the_embedded_models(tmp_path):
    first = results(tmp_path / "first")
    folder = tmp_path / "first" / "smoke" / NOTEBOOK.stem
    assert first["notebook"] == NOTEBOOK.stem and first["models"].keys() == {"encoder", "generator"}
    assert all(outcome["verdict"] == claims.NOT_TESTED for outcome in first["claims"].values())
    assert first["figures"].keys() == {"retrieval", "answers"}
    assert all((folder / figure["file"]).is_file() for figure in first["figures"].values())
    # By plain papermill, from another folder than the repository's.
    command = [sys.executable, "-m", "papermill", str(NOTEBOOK), str(tmp_path / "out.ipynb")]
    command += ["-p", "scale", "smoke", "-p", "out_dir", str(tmp_path / "second")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=600)
    again = record.load_record(tmp_path / "second" / "smoke" / NOTEBOOK.stem / "record.json")
    assert record.without_volatile(again) == first
    for picture in folder.glob("*.png"):
        assert picture.read_bytes() == (tmp_path / "second" / "smoke" / NOTEBOOK.stem / picture.name).read_bytes()
    # Fewer examples give other answers; this takes a model that can read (the other parameters are tried below).
    assert results(tmp_path / "fewer", n_examples=1)["scores"] != first["scores"]
    # The scale changes more than its own name.
    committed = record.load_record(paths.results_dir(NOTEBOOK.stem, "tiny") / "record.json")
    assert committed["data"] != first["data"] and committed["scores"] != first["scores"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Parameters that name small random models and a small data set, the record of a run with them, and its folder."""
    folder = tmp_path_factory.mktemp("small")
    kinds = ("fact", "reverse")
    parameters = {
        "dataset": notebook_runs.small_data(folder / "one", kinds=kinds),
        "encoder": checkpoints.minilm(folder / "encoder"),
        "generator": checkpoints.llama(folder / "generator", positions=1024),
        "n_questions": 6,
        "n_examples": 2,
    }
    others = {
        "seed": 1,
        "dataset": notebook_runs.small_data(folder / "other", drop=1, kinds=kinds),
        "encoder": checkpoints.minilm(folder / "other_encoder", seed=1),
        "generator": checkpoints.llama(folder / "other_generator", seed=1, positions=1024),
        "n_questions": 5,
    }
    return parameters, others, results(folder / "base", **parameters), folder / "base"


def test_every_parameter_is_tried_in_this_file():
    assert notebook_runs.parameter_names(NOTEBOOK.stem) == {
        "scale", "seed", "dataset", "encoder", "generator", "n_questions", "n_examples", "out_dir",
    }  # fmt: skip


@pytest.mark.notebook
@pytest.mark.parametrize("name", ["seed", "dataset", "encoder", "generator", "n_questions"])
def test_every_parameter_changes_the_record(small, tmp_path, name):
    parameters, others, base, _ = small
    changed = results(tmp_path, **{**parameters, name: others[name]})
    # Not the parameter's own entry, but what was measured. Two random generators fail alike and two data sets may
    # share their test questions: there it is the checksum.
    section = {"generator": "models", "dataset": "data"}.get(name, "scores")
    assert changed[section] != base[section]


@pytest.mark.notebook
def test_a_seq2seq_generator_and_passages_without_titles_will_do(small, tmp_path):
    parameters, _, base, _ = small
    untitled = notebook_runs.without_titles(parameters["dataset"], tmp_path / "untitled")
    generator = checkpoints.bart(tmp_path / "bart", positions=1024)
    bart = results(tmp_path / "out", **{**parameters, "dataset": untitled, "generator": generator})
    assert bart["scores"].keys() == base["scores"].keys()


@pytest.mark.notebook
def test_a_data_set_without_test_questions_is_refused_in_one_line(small, tmp_path):
    parameters, _, _, _ = small
    whole = data.read_folder(parameters["dataset"])
    train = [question for question in whole.examples if question.split == "train"]
    data.write_folder(tmp_path / "train", data.Dataset("train", whole.corpus, train))
    with pytest.raises(run.NotebookFailed, match="no question of kind 'any' in split 'test'") as failure:
        results(tmp_path / "out", **{**parameters, "dataset": str(tmp_path / "train")})
    assert len(str(failure.value).splitlines()) == 1


@pytest.mark.notebook
def test_a_damaged_model_leaves_the_earlier_results(small, tmp_path):
    parameters, _, _, earlier = small
    shutil.copytree(earlier, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    damaged = Path(shutil.copytree(parameters["generator"], tmp_path / "damaged"))
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(run.NotebookFailed, match="damaged") as failure:
        results(tmp_path / "out", **{**parameters, "generator": str(damaged)})
    assert len(str(failure.value).splitlines()) == 1
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.slow
def test_tiny_gives_the_committed_results_again(tmp_path):
    """Each value within the committed interval, and the same verdicts: other hardware rounds differently."""
    committed = json.loads((paths.results_dir(NOTEBOOK.stem, "tiny") / "record.json").read_text())
    again = results(tmp_path, scale="tiny")
    assert again["metrics"].keys() == committed["metrics"].keys()
    for name, metric in committed["metrics"].items():
        assert metric["low"] <= again["metrics"][name]["value"] <= metric["high"], name
    assert {i: c["verdict"] for i, c in again["claims"].items()} == {
        i: c["verdict"] for i, c in committed["claims"].items()
    }
