"""03: its method cells are what the library computes; questions alone, without gold passages, and a BART will do."""

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
def test_questions_alone_and_without_gold_passages_will_do(tmp_path):
    parameters, _ = notebook_runs.small_parameters(NOTEBOOK, tmp_path)
    open_questions = notebook_runs.without_gold(parameters["dataset"], tmp_path / "open")
    found, _ = notebook_runs.execute(NOTEBOOK, tmp_path / "out", **{**parameters, "dataset": open_questions})
    assert {"systems", "concatenation", "retriever"} <= found["figures"].keys()
    assert not any(name.startswith(("recall", "mass")) or "claims" in name for name in found["scores"])


@pytest.mark.slow
@pytest.mark.notebook
def test_questions_alone_and_a_seq2seq_generator_will_do(tmp_path):
    parameters, _ = notebook_runs.small_parameters(NOTEBOOK, tmp_path)
    generator = checkpoints.bart(tmp_path / "bart", positions=2048)
    found, _ = notebook_runs.execute(NOTEBOOK, tmp_path / "out", **{**parameters, "generator": generator})
    assert {"retriever", "systems", "preference"} <= found["figures"].keys()
    assert not any("claims" in name for name in found["scores"])
