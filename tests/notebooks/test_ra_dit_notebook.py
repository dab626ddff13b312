"""Notebook 03 at smoke and with small models; every parameter matters; its equations are what the library computes."""

import checkpoints
import notebook_runs
import numpy as np
import pytest

from nbutils import rag

NOTEBOOK = "03_ra_dit"


@pytest.fixture(scope="module")
def method():
    return notebook_runs.methods(NOTEBOOK)


def test_method_cells_are_the_library(method):
    import torch

    rng = np.random.default_rng(0)
    scores, p_lm, tau_r, tau = rng.normal(size=5), rng.uniform(0.01, 0.4, size=5), 0.3, 0.02
    p_r, p_lsr = method["p_R"](scores, tau_r), method["p_LSR"](p_lm, tau)
    log_prior = rag.doc_logprobs(torch.tensor(scores)[None], tau_r)
    lm = torch.tensor(np.log(p_lm))[None]
    assert np.allclose(p_r, log_prior[0].exp(), atol=1e-6)
    assert np.allclose(p_lsr, rag.lsr_logprobs(lm, tau)[0].exp(), atol=1e-6)
    loss = rag.lsr_loss(log_prior.double(), lm, tau).item()
    assert method["loss"](p_r, p_lsr) == pytest.approx(loss, rel=1e-5)
    # Planted faults: the reversed divergence, the temperature dropped.
    assert method["loss"](p_lsr, p_r) != pytest.approx(loss, rel=1e-2)
    assert not np.allclose(method["p_LSR"](p_lm, 1.0), p_lsr, atol=1e-2)


def test_the_ensemble_is_rag_sequence_s_sum(method):
    rng = np.random.default_rng(1)
    p_r, p_lm = rng.dirichlet(np.ones(4)), rng.uniform(0, 1, size=(3, 4))
    found = rag.Candidates(["a", "b", "c"], np.log(p_lm), np.ones((3, 4), dtype=bool))
    assert np.allclose(np.log(method["ensemble"](p_r, p_lm)), rag.marginal_logprobs(found, np.log(p_r)))


@pytest.mark.notebook
def test_smoke_with_the_embedded_models(tmp_path):
    figures = {
        "retriever", "retriever_variants", "systems", "concatenation", "wrong_passages", "choices", "preference",
    }  # fmt: skip
    notebook_runs.check_smoke(NOTEBOOK, tmp_path, figures)


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    """Parameters that name a small random model and a small data set."""
    folder = tmp_path_factory.mktemp("parameters")
    generator = checkpoints.llama(folder / "generator", positions=2048)
    return {"dataset": notebook_runs.small_data(folder / "one"), "generator": generator}


@pytest.fixture(scope="module")
def base(parameters, tmp_path_factory):
    """The record of a run with them: half a minute, so that only slow tests ask for it."""
    return notebook_runs.results(NOTEBOOK, tmp_path_factory.mktemp("base"), **parameters)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Another value of each parameter."""
    folder = tmp_path_factory.mktemp("others")
    return {
        "seed": 1,
        "dataset": notebook_runs.small_data(folder / "other", drop=1),
        "generator": checkpoints.bart(folder / "other_generator", positions=2048),
        "n_seeds": 2,
        "tuning_steps": 4,
        "retriever_steps": 4,
    }


def test_every_parameter_is_tried_in_this_file():
    assert notebook_runs.parameter_names(NOTEBOOK) == {
        "scale", "seed", "dataset", "generator", "n_seeds", "tuning_steps", "retriever_steps", "out_dir",
    }  # fmt: skip


@pytest.mark.slow  # half a minute: the suite has twelve, and 00 does the same
@pytest.mark.notebook
def test_two_runs_with_one_seed_give_one_record(parameters, base, tmp_path):
    assert notebook_runs.results(NOTEBOOK, tmp_path, **parameters) == base


@pytest.mark.slow
@pytest.mark.notebook
def test_a_data_set_of_questions_alone_will_do(base):
    assert {"retriever", "systems", "preference"} <= base["figures"].keys()
    assert not any("claims" in name for name in base["scores"])


@pytest.mark.notebook
def test_questions_alone_and_without_gold_passages_will_do(parameters, tmp_path):
    open_questions = notebook_runs.without_gold(parameters["dataset"], tmp_path / "open")
    found = notebook_runs.results(NOTEBOOK, tmp_path / "out", **{**parameters, "dataset": open_questions})
    assert {"systems", "concatenation", "retriever"} <= found["figures"].keys()
    assert not any(name.startswith(("recall", "mass")) or "claims" in name for name in found["scores"])


@pytest.mark.slow
@pytest.mark.notebook
def test_passages_without_titles_will_do(parameters, base, tmp_path):
    untitled = notebook_runs.without_titles(parameters["dataset"], tmp_path / "untitled")
    found = notebook_runs.results(NOTEBOOK, tmp_path / "out", **{**parameters, "dataset": untitled})
    assert found["scores"].keys() == base["scores"].keys()


@pytest.mark.slow  # several minutes: the suite has twelve
@pytest.mark.notebook
@pytest.mark.parametrize("name", ["seed", "dataset", "generator", "n_seeds", "tuning_steps", "retriever_steps"])
def test_every_parameter_changes_the_record(parameters, base, others, tmp_path, name):
    """Not the parameter's own entry, but what was measured: the loss, or where random models fail alike, a checksum."""
    changed = notebook_runs.results(NOTEBOOK, tmp_path, **{**parameters, name: others[name]})
    section = {"generator": "models", "dataset": "data"}.get(name, "series")
    assert changed[section] != base[section]
