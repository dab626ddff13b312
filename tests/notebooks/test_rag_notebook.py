"""Notebook 01 at smoke and with small models; every parameter matters; its equations are what the library computes."""

import checkpoints
import notebook_runs
import numpy as np
import pytest

NOTEBOOK = "01_rag"


def test_the_method_cells_are_what_the_library_computes():
    import torch

    from nbutils import rag

    method, rng = notebook_runs.methods(NOTEBOOK), np.random.default_rng(0)
    scores, tau = rng.normal(size=4), 0.3
    token_logprobs = np.log(rng.uniform(0.05, 1, size=(4, 6)))  # K x N
    p_z, p_y = method["prior"](scores, tau), np.exp(token_logprobs)
    log_prior = rag.doc_logprobs(torch.tensor(scores)[None], tau)
    assert np.allclose(np.log(p_z), log_prior[0], atol=1e-5)
    batch = (log_prior, torch.tensor(token_logprobs)[None].float(), torch.ones(1, 6, dtype=torch.bool))
    sequence, token = rag.rag_sequence_logprob(*batch).item(), rag.rag_token_logprobs(*batch).sum().item()
    assert np.log(method["p_rag_sequence"](p_z, p_y)) == pytest.approx(sequence, abs=1e-5)
    assert np.log(method["p_rag_token"](p_z, p_y)) == pytest.approx(token, abs=1e-5)
    posterior = method["posterior"](p_z, p_y)
    assert np.allclose(np.log(posterior), rag.doc_posterior_logprobs(*batch[:2])[0], atol=1e-5)
    bits = method["entropy"](posterior)
    assert bits.shape == (6,) and np.allclose(method["entropy"](np.full((4, 1), 0.25)), 2)
    # Planted faults: the two marginalisations swapped, the temperature dropped.
    assert np.log(method["p_rag_sequence"](p_z, p_y)) != pytest.approx(token, abs=1e-2)
    assert not np.allclose(np.log(method["prior"](scores, 1.0)), log_prior[0], atol=1e-2)


@pytest.mark.notebook
def test_smoke_with_the_embedded_models(tmp_path):
    figures = {"learning", "questions", "passages", "posterior", "verification", "generation", "index_swap"}
    too_few = ("01.posterior_flattens", "01.answers_without_evidence")
    notebook_runs.check_smoke(NOTEBOOK, tmp_path, figures, too_few)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Parameters that name a small random model and a small data set, and the record of a run with them."""
    folder = tmp_path_factory.mktemp("small")
    parameters = {
        "dataset": notebook_runs.small_data(folder / "one"),
        "generator": checkpoints.llama(folder / "generator", positions=1024),
    }
    others = {
        "seed": 1,
        "dataset": notebook_runs.small_data(folder / "other", drop=1),
        "generator": checkpoints.bart(folder / "other_generator", positions=1024),
        "n_docs": 3,
        "n_seeds": 2,
        "train_steps": 3,
    }
    return parameters, others, notebook_runs.results(NOTEBOOK, folder / "base", **parameters)


def test_every_parameter_is_tried_in_this_file():
    assert notebook_runs.parameter_names(NOTEBOOK) == {
        "scale", "seed", "dataset", "generator", "n_docs", "n_seeds", "train_steps", "out_dir",
    }  # fmt: skip


@pytest.mark.slow  # half a minute: the suite has twelve, and 00 does the same
@pytest.mark.notebook
def test_two_runs_with_one_seed_give_one_record(small, tmp_path):
    parameters, _, base = small
    assert notebook_runs.results(NOTEBOOK, tmp_path, **parameters) == base


@pytest.mark.notebook
def test_a_data_set_of_questions_alone_will_do(small):
    _, _, base = small
    assert base["figures"].keys() == {"learning", "questions", "passages", "posterior"}
    assert not any("verification" in name or "clues" in name for name in base["scores"])


@pytest.mark.notebook
@pytest.mark.slow  # several minutes: the suite has twelve
@pytest.mark.parametrize("name", ["seed", "dataset", "generator", "n_docs", "n_seeds", "train_steps"])
def test_every_parameter_changes_the_record(small, tmp_path, name):
    """Not the parameter's own entry, but what was measured: the loss, or where random models fail alike, a checksum."""
    parameters, others, base = small
    changed = notebook_runs.results(NOTEBOOK, tmp_path, **{**parameters, name: others[name]})
    section = {"generator": "models", "dataset": "data"}.get(name, "series")
    assert changed[section] != base[section]
