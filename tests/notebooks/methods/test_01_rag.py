"""01: its method cells are what the library computes; a folder of questions and a BART will do."""

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
    # Planted faults: the two marginalizations swapped, the temperature dropped.
    assert np.log(method["p_rag_sequence"](p_z, p_y)) != pytest.approx(token, abs=1e-2)
    assert not np.allclose(np.log(method["prior"](scores, 1.0)), log_prior[0], atol=1e-2)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Parameters of a small run, and its record."""
    folder = tmp_path_factory.mktemp("small")
    parameters, _ = notebook_runs.small_parameters(NOTEBOOK, folder)
    return parameters, notebook_runs.execute(NOTEBOOK, folder / "base", **parameters)[0]


@pytest.mark.notebook
def test_a_data_set_of_questions_alone_will_do(small):
    """Offices of two years and people's questions are left out and said to be; all else is there."""
    _, base = small
    assert {"recall", "answers", "several_passages", "posterior"} <= base["figures"].keys()
    missing = {"01.swap_matched_over_mismatched", "01.weights_cannot_be_swapped", "01.rag_over_closed_book_human"}
    assert missing <= base["skipped"].keys()
    assert not any("holders" in name or "people" in name for name in base["scores"])


@pytest.mark.slow
@pytest.mark.notebook
def test_a_seq2seq_generator_will_do(small, tmp_path):
    parameters, base = small
    generator = checkpoints.bart(tmp_path / "bart", positions=1024)
    bart, _ = notebook_runs.execute(NOTEBOOK, tmp_path / "out", **{**parameters, "generator": generator})
    assert bart["scores"].keys() == base["scores"].keys()
