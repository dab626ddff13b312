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
    assert method["kl"](p_r, p_lsr) == pytest.approx(loss, rel=1e-5)
    # Planted faults: the reversed divergence, the temperature dropped.
    assert method["kl"](p_lsr, p_r) != pytest.approx(loss, rel=1e-2)
    assert not np.allclose(method["p_LSR"](p_lm, 1.0), p_lsr, atol=1e-2)


def test_the_loss_of_ra_it_is_the_library_s(method):
    import torch

    token_logprobs = torch.log(torch.tensor([[[0.5, 0.25, 1.0]], [[0.1, 1.0, 1.0]]]))  # (B, 1, T)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    loss = method["negative_log_likelihood"](token_logprobs, mask)
    assert torch.allclose(loss, -torch.log(torch.tensor([0.125, 0.1])))


def test_gradient_norms_are_those_of_the_parts(method):
    import torch

    model = torch.nn.Linear(2, 2, bias=False)
    model.weight.grad = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    named = [("lora_A.weight", model.weight), ("lora_B.weight", torch.nn.Parameter(torch.ones(1)))]
    assert [method["gradient_norm"](named, part) for part in ("lora_A", "lora_B", "")] == [5.0, 0.0, 5.0]


@pytest.mark.notebook
def test_questions_alone_and_without_gold_passages_will_do(tmp_path):
    parameters, _ = notebook_runs.small_parameters(NOTEBOOK, tmp_path)
    open_questions = notebook_runs.without_gold(parameters["dataset"], tmp_path / "open")
    found, _ = notebook_runs.execute(NOTEBOOK, tmp_path / "out", **{**parameters, "dataset": open_questions})
    assert {"reading", "retrieval", "answers", "domains"} <= found["figures"].keys()
    assert {"03.rft_finds_more", "03.rait_repeats_more", "03.rait_over_it_human"} <= found["skipped"].keys()
    assert not any(name.startswith(("recall", "gold", "repeats")) for name in found["scores"])


@pytest.mark.slow
@pytest.mark.notebook
def test_questions_alone_and_a_seq2seq_generator_will_do(tmp_path):
    parameters, _ = notebook_runs.small_parameters(NOTEBOOK, tmp_path)
    generator = checkpoints.bart(tmp_path / "bart", positions=2048)
    found, _ = notebook_runs.execute(NOTEBOOK, tmp_path / "out", **{**parameters, "generator": generator})
    assert {"reading", "retrieval", "answers"} <= found["figures"].keys()
    assert not any("people" in name for name in found["scores"])
