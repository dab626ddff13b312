"""00: its method cell is what the library computes; other models and data, and what is wrong with them."""

import shutil
import subprocess
import sys
from pathlib import Path

import checkpoints
import notebook_runs
import numpy as np
import pytest

from nbutils import data, metrics, run
from nbutils.errors import InputError

NOTEBOOK = "00_start_here"


def test_the_method_cell_is_what_the_library_computes():
    import faiss

    method, rng = notebook_runs.methods(NOTEBOOK), np.random.default_rng(0)
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


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Parameters of a small run, its record, and its folder."""
    folder = tmp_path_factory.mktemp("small")
    parameters, _ = notebook_runs.small_parameters(NOTEBOOK, folder)
    return parameters, notebook_runs.results(NOTEBOOK, folder / "base", **parameters), folder / "base"


@pytest.mark.notebook
def test_plain_papermill_gives_the_same_from_another_folder(small, tmp_path):
    parameters, base, folder = small
    given = {**parameters, "scale": "smoke", "out_dir": str(tmp_path / "second")}
    command = [sys.executable, "-m", "papermill", str(notebook_runs.notebook_path(NOTEBOOK)), str(tmp_path / "o.ipynb")]
    command += [text for name, value in given.items() for text in ("-p", name, str(value))]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=600)
    second = tmp_path / "second" / "smoke" / NOTEBOOK
    assert notebook_runs.kept(second / "record.json") == base
    pictures = list((folder / "smoke" / NOTEBOOK).glob("*.png"))
    assert pictures and all(picture.read_bytes() == (second / picture.name).read_bytes() for picture in pictures)


@pytest.mark.notebook
def test_a_seq2seq_generator_and_passages_without_titles_will_do(small, tmp_path):
    parameters, base, _ = small
    untitled = notebook_runs.without_titles(parameters["dataset"], tmp_path / "untitled")
    generator = checkpoints.bart(tmp_path / "bart", positions=1024)
    bart, _ = notebook_runs.execute(
        NOTEBOOK, tmp_path / "out", **{**parameters, "dataset": untitled, "generator": generator}
    )
    assert bart["scores"].keys() == base["scores"].keys()


@pytest.mark.notebook
def test_a_data_set_without_test_questions_is_refused(small, tmp_path):
    parameters, _, _ = small
    whole = data.read_folder(parameters["dataset"])
    train = [question for question in whole.examples if question.split == "train"]
    data.write_folder(tmp_path / "train", data.Dataset("train", whole.corpus, train))
    with pytest.raises(InputError, match="no question of kind 'any' in split 'test'") as failure:
        notebook_runs.execute(NOTEBOOK, tmp_path / "out", **{**parameters, "dataset": str(tmp_path / "train")})
    assert len(str(failure.value).splitlines()) == 1


@pytest.mark.notebook
def test_a_damaged_model_leaves_the_earlier_results(small, tmp_path):
    parameters, _, earlier = small
    shutil.copytree(earlier, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    damaged = Path(shutil.copytree(parameters["generator"], tmp_path / "damaged"))
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(run.NotebookFailed, match="damaged") as failure:
        notebook_runs.results(NOTEBOOK, tmp_path / "out", **{**parameters, "generator": str(damaged)})
    assert len(str(failure.value).splitlines()) == 1
    assert all(path.read_bytes() == content for path, content in before.items())
